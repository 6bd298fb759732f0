"""Pointwise functions of one operand, and the softmax."""

from __future__ import annotations

from typing import Any, ClassVar

from segc.code import Call, Expr, X
from segc.op import Example, Need, Op, Param, Problem, Style, attr, op
from segc.ops.common import axis_of, known, ranked
from segc.types import Tensor

EXAMPLES: tuple[Example, ...] = (Example({}, ((2, 3, 4, 5),)),)


class _Pointwise(Op):
    """y = f(x), value by value; the attributes are the keyword arguments of torch's functions."""

    layer: ClassVar[str] = ""  # the torch.nn class
    function: ClassVar[str] = ""  # the torch.nn.functional one
    examples = EXAMPLES

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(1, 9)), "a tensor")
        return x

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values = {name: getattr(self, name) for name in self.attrs}
        return values, {name: a.default for name, a in self.attrs.items()}

    def module(self, x: Tensor) -> Call | None:
        return Call(self.layer, (), *self.options())

    def expr(self, x: Tensor) -> Expr:
        return Call(self.function, (X(0),), *self.options())

    @property
    def style(self) -> Style:
        return Style("act", self.name.replace("_", " "))


@op("relu")
class Relu(_Pointwise):
    """The positive part (torch.nn.ReLU).

    y = max(x, 0)
    x: any shape -> the same
    """

    layer, function = "nn.ReLU", "F.relu"


@op("relu6")
class Relu6(_Pointwise):
    """The positive part, at most 6 (torch.nn.ReLU6).

    y = min(max(x, 0), 6)
    x: any shape -> the same
    """

    layer, function = "nn.ReLU6", "F.relu6"


@op("leaky_relu")
class LeakyRelu(_Pointwise):
    """A small slope below zero (torch.nn.LeakyReLU).

    y = x if x > 0 else negative_slope * x
    x: any shape -> the same
    """

    layer, function = "nn.LeakyReLU", "F.leaky_relu"

    negative_slope: float = attr("slope below zero", 0.01)
    examples = (*EXAMPLES, Example({"negative_slope": 0.2}, ((2, 3),)))


@op("elu")
class Elu(_Pointwise):
    """An exponential below zero (torch.nn.ELU).

    y = x if x > 0 else alpha * (exp(x) - 1)
    x: any shape -> the same
    """

    layer, function = "nn.ELU", "F.elu"

    alpha: float = attr("minus the limit towards -inf", 1.0)


@op("selu")
class Selu(_Pointwise):
    """The self-normalising exponential unit (torch.nn.SELU).

    y = 1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1))
    x: any shape -> the same
    """

    layer, function = "nn.SELU", "F.selu"


@op("celu")
class Celu(_Pointwise):
    """An exponential below zero with a smooth joint (torch.nn.CELU).

    y = x if x > 0 else alpha * (exp(x / alpha) - 1)
    x: any shape -> the same
    """

    layer, function = "nn.CELU", "F.celu"

    alpha: float = attr("minus the limit towards -inf", 1.0)

    def validate(self) -> None:
        if self.alpha == 0:
            raise Problem("SEG210", "celu divides by alpha, which is 0", attr="alpha")


@op("gelu")
class Gelu(_Pointwise):
    """x times the normal distribution function (torch.nn.GELU).

    y = x * (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh
    x: any shape -> the same
    """

    layer, function = "nn.GELU", "F.gelu"

    approximate: str = attr("use the formula with tanh", "none", choices=("none", "tanh"))


@op("silu")
class Silu(_Pointwise):
    """x times its sigmoid, also called swish (torch.nn.SiLU).

    y = x / (1 + exp(-x))
    x: any shape -> the same
    """

    layer, function = "nn.SiLU", "F.silu"


@op("mish")
class Mish(_Pointwise):
    """x times the tanh of its softplus (torch.nn.Mish).

    y = x * tanh(log(1 + exp(x)))
    x: any shape -> the same
    """

    layer, function = "nn.Mish", "F.mish"


@op("hardswish")
class Hardswish(_Pointwise):
    """Swish from straight pieces (torch.nn.Hardswish).

    y = x * min(max(x + 3, 0), 6) / 6
    x: any shape -> the same
    """

    layer, function = "nn.Hardswish", "F.hardswish"


@op("hardsigmoid")
class Hardsigmoid(_Pointwise):
    """A sigmoid from straight pieces (torch.nn.Hardsigmoid).

    y = min(max(x + 3, 0), 6) / 6
    x: any shape -> the same
    """

    layer, function = "nn.Hardsigmoid", "F.hardsigmoid"


@op("hardtanh")
class Hardtanh(_Pointwise):
    """Clip to an interval (torch.nn.Hardtanh).

    y = min(max(x, min_val), max_val)
    x: any shape -> the same
    """

    layer, function = "nn.Hardtanh", "F.hardtanh"

    min_val: float = attr("smallest output", -1.0)
    max_val: float = attr("largest output", 1.0)

    def validate(self) -> None:
        if not self.min_val < self.max_val:
            message = f"min_val {self.min_val} is not below max_val {self.max_val}"
            raise Problem("SEG210", message, attr="min_val")


@op("sigmoid")
class Sigmoid(_Pointwise):
    """The logistic function (torch.nn.Sigmoid).

    y = 1 / (1 + exp(-x))
    x: any shape -> the same
    """

    layer, function = "nn.Sigmoid", "torch.sigmoid"


@op("tanh")
class Tanh(_Pointwise):
    """The hyperbolic tangent (torch.nn.Tanh).

    y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))
    x: any shape -> the same
    """

    layer, function = "nn.Tanh", "torch.tanh"


@op("softplus")
class Softplus(_Pointwise):
    """A smooth positive part (torch.nn.Softplus).

    y = log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold
    x: any shape -> the same
    """

    layer, function = "nn.Softplus", "F.softplus"

    beta: float = attr("sharpness", 1.0)
    threshold: float = attr("above it the function is linear", 20.0)


class _Softmax(_Pointwise):
    """Distributions along an axis."""

    dim: int = attr("the axis that sums to one", 1)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        axis_of(self.dim, len(x.shape), "dim")
        return super().infer(need, x)

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"dim": self.dim}, {}

    @property
    def style(self) -> Style:
        return Style("predict", self.name.replace("_", " "))


@op("softmax")
class Softmax(_Softmax):
    """Scores to probabilities along an axis (torch.nn.Softmax).

    y[c] = exp(x[c]) / sum over c' of exp(x[c'])
    x: any shape -> the same
    """

    layer, function = "nn.Softmax", "F.softmax"


@op("log_softmax")
class LogSoftmax(_Softmax):
    """Scores to the logarithms of probabilities along an axis (torch.nn.LogSoftmax).

    y[c] = x[c] - log(sum over c' of exp(x[c']))
    x: any shape -> the same
    """

    layer, function = "nn.LogSoftmax", "F.log_softmax"


@op("prelu")
class Prelu(_Pointwise):
    """A learned slope below zero (torch.nn.PReLU).

    y[c] = x[c] if x[c] > 0 else weight[c] * x[c]
    x: [N, C, ...] -> the same
    """

    stateful = True
    weights = ("weight",)
    layer = "nn.PReLU"

    num_parameters: int = attr("slopes: 1, or one for each channel", 1, min=1)
    examples = (*EXAMPLES, Example({"num_parameters": 3}, ((2, 3, 4, 5),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        super().infer(need, x)
        if self.num_parameters == 1:
            return x
        channels = known(x.shape[1], self.name) if len(x.shape) > 1 else 1
        if channels != self.num_parameters:
            message = f"{self.num_parameters} slopes for {channels} channels"
            raise Problem("SEG202", message, attr="num_parameters", operand=0)
        return x

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return (Param("weight", (self.num_parameters,)),)

    def expr(self, x: Tensor) -> Expr:
        return Op.expr(self, x)


@op("logit")
class Logit(Op):
    """The inverse of the sigmoid (torch.logit), of probabilities that were mixed or pooled.

    y = log(p / (1 - p)) with p = x kept between eps and 1 - eps
    x: any shape -> the same
    """

    eps: float = attr("how near to 0 and 1 a probability may be", 1e-6, min=0, max=0.5)
    examples = (Example({}, ((2, 3, 4, 5),)),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        return x

    def expr(self, x: Tensor) -> Call:
        return Call("torch.logit", (X(0),), {"eps": self.eps})

    @property
    def style(self) -> Style:
        return Style("act", "logit")
