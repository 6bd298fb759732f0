"""Constants, factors, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from operator import eq
from typing import Any

from segc.code import Call, Expr, Helper, Infix, Method, Self, X
from segc.dim import DimLike
from segc.op import Example, Field, Ints, Need, Op, Param, Problem, Style, attr, op
from segc.ops.common import axis_of, feature_map, known, ranked
from segc.types import Tensor, Type


@op("identity")
class Identity(Op):
    """The operand itself (torch.nn.Identity): a name for a tap or for a branch that does nothing.

    y = x
    x: any shape -> the same
    """

    kinds = {"x": "any"}
    examples = (Example({}, ((2, 3, 4, 5),)),)

    def infer(self, need: Need, x: Type) -> Type:
        return x

    def module(self, x: Tensor) -> Call:
        return Call("nn.Identity")

    def expr(self, x: Tensor) -> X:
        return X(0)

    def identity(self, *types: Any, same: Callable[[DimLike, DimLike], bool] = eq) -> bool:
        return True


@op("scale")
class ScaleBy(Op):
    """Multiply by a constant, or with `learned` by a weight for each channel (Caffe's Scale).

    y[c] = value * x[c], or weight[c] * x[c] + bias[c]
    x: [N, C, H, W] -> the same; a constant takes any shape
    """

    weights = ("weight", "bias")

    value: float = attr("the factor; if learned, the factor at first", 1.0)
    learned: bool = attr("learn a factor for each channel", False)
    bias: bool = attr("learn a number to add to each channel too", False)
    examples = (
        Example({"value": 0.01}, ((2, 3, 4, 5),)),
        Example({"learned": True, "value": 0.5}, ((2, 3, 4, 5),)),
        Example({"learned": True, "bias": True}, ((2, 3, 4, 5),)),
    )
    helpers = (
        Helper(
            "ChannelScale",
            '''\
class ChannelScale(nn.Module):
    """Multiply each channel by a learned weight and, if asked, add a learned bias."""

    def __init__(self, channels: int, value: float = 1.0, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(value)))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight[:, None, None]
        return y if self.bias is None else y + self.bias[:, None, None]
''',
        ),
    )

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        return bool(self.learned)

    def validate(self) -> None:
        if self.bias and not self.learned:
            message = "the bias is learned, so the factor must be too"
            raise Problem("SEG210", message, attr="bias", hint="add `learned: true`")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        if self.learned:
            known(feature_map(x, self.name)[1], self.name)
        else:
            ranked(x, self.name, tuple(range(1, 9)), "a tensor")
        return x

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        names = ("weight", "bias") if self.bias else ("weight",)
        return tuple(Param(n, (x.shape[1],)) for n in names) if self.learned else ()

    def module(self, x: Tensor) -> Call | None:
        if not self.learned:
            return None
        values = {"value": self.value, "bias": self.bias}
        return Call("ChannelScale", (x.shape[1],), values, {"value": 1.0, "bias": False})

    def expr(self, x: Tensor) -> Expr:
        return Call(Self(), (X(0),)) if self.learned else Infix("*", (self.value, X(0)))

    @property
    def style(self) -> Style:
        return Style("norm", "learned scale" if self.learned else f"× {self.value:g}")


@op("constant")
class Constant(Op):
    """A tensor that never changes and is no part of the checkpoint (Caffe's DummyData).

    y = value everywhere
    -> shape
    """

    operands = ()
    stateful = True

    shape: Ints = attr("its sizes", min=1)
    value: float = attr("what it holds", 0.0)
    examples = (Example({"shape": (1, 2, 3), "value": 0.5}, ()),)
    helpers = (
        Helper(
            "Constant",
            '''\
class Constant(nn.Module):
    """A tensor that holds `value` everywhere."""

    def __init__(self, shape: tuple[int, ...], value: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("tensor", torch.full(shape, float(value)), persistent=False)

    def forward(self) -> Tensor:
        return self.tensor
''',
        ),
    )

    def infer(self, need: Need) -> Tensor:
        return Tensor(self.shape)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return Field(Fraction(0), Fraction(1), Fraction(0))

    def module(self) -> Call:
        return Call("Constant", (self.shape,), {"value": self.value}, {"value": 0.0})

    @property
    def style(self) -> Style:
        return Style("input", f"constant {self.value:g}")


@op("parameter")
class Parameter(Op):
    """A learned tensor that no layer holds (torch.nn.Parameter), saved under the layer's own name.

    y = the tensor, `value` everywhere at first
    -> shape
    """

    operands = ()
    stateful = True
    bare = True

    shape: Ints = attr("its sizes", min=1)
    value: float = attr("what it holds at first", 0.0)
    examples = (Example({"shape": (1, 2, 3), "value": 0.5}, ()),)

    def infer(self, need: Need) -> Tensor:
        return Tensor(self.shape)

    def parameters(self) -> tuple[Param, ...]:
        return (Param("", self.shape),)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return Field(Fraction(0), Fraction(1), Fraction(0))

    def module(self) -> Call:
        return Call("nn.Parameter", (Call("torch.full", (self.shape, float(self.value))),))

    def expr(self) -> Self:
        return Self()

    @property
    def style(self) -> Style:
        return Style("input", "learned tensor")


@op("argmax")
class Argmax(Op):
    """The position of the largest value along an axis: classes from scores (torch.argmax).

    y[i,j] = the c with the largest x[c,i,j]
    x: [N, C, H, W] -> [N, H, W] of integers, or [N, 1, H, W] with keepdim
    """

    dim: int = attr("the axis searched", 1)
    keepdim: bool = attr("keep that axis, with size 1", False)
    examples = (Example({}, ((2, 3, 4, 5),)), Example({"keepdim": True}, ((2, 3, 4, 5),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(1, 9)), "a tensor")
        dim = axis_of(self.dim, len(x.shape), "dim")
        kept = (1,) if self.keepdim else ()
        return Tensor((*x.shape[:dim], *kept, *x.shape[dim + 1 :]), "int")

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "argmax", (self.dim, *((True,) if self.keepdim else ())))

    @property
    def style(self) -> Style:
        return Style("predict", "argmax")
