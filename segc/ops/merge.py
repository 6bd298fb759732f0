"""Joins of two or more tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from segc.code import Call, Expr, Infix, Listing, X
from segc.dim import DimLike
from segc.op import Example, Floats, Need, Op, Problem, Style, attr, op
from segc.ops.common import axis_of, count, equal, sizes
from segc.types import Tensor

PAIR = ((2, 3, 4, 5), (2, 3, 4, 5))
TRIPLE = (*PAIR, (2, 3, 4, 5))


def _same_rank(op: str, xs: Sequence[Tensor]) -> None:
    for i, x in enumerate(xs):
        if len(x.shape) != len(xs[0].shape):
            message = f"{op} joins tensors of different rank: "
            message += f"{sizes(xs[0].shape)} and {sizes(x.shape)}"
            raise Problem("SEG201", message, operand=i)


def _differ(op: str, axis: int, first: Tensor, other: Tensor, operand: int) -> Problem:
    """The message for a join that fails on `axis`; maps are described by pixels or channels."""
    a, b = first.shape, other.shape
    if len(a) == 4 and axis in (2, 3):
        message = f"{op} joins maps of different size: {sizes(a[2:])} and {sizes(b[2:])}"
        return Problem("SEG203", message, operand=operand)
    if len(a) == 4 and axis == 1:
        message = f"{op} joins maps of {count(a[1], 'channel')} and {count(b[1], 'channel')}"
        hint = "a 1×1 `conv2d` makes them agree"
        return Problem("SEG203", message, operand=operand, hint=hint)
    message = f"{op} joins tensors that differ on axis {axis}: {sizes(a)} and {sizes(b)}"
    return Problem("SEG203", message, operand=operand)


def _dtype(xs: Sequence[Tensor]) -> str:
    return "float" if any(x.dtype == "float" for x in xs) else xs[0].dtype


@op("concat")
class Concat(Op):
    """Stack along an axis (torch.cat).

    y = the operands one after the other along `dim`, in the order of `from`
    xs: [N, C1, H, W], [N, C2, H, W], ... -> [N, C1 + C2 + ..., H, W]
    """

    operands = ("*xs",)

    dim: int = attr("the axis that grows", 1)
    examples = (
        Example({}, ((2, 3, 4, 5), (2, 1, 4, 5))),
        Example({"dim": -1}, ((1, 2, 3, 4), (1, 2, 3, 1), (1, 2, 3, 2))),
    )

    def infer(self, need: Need, *xs: Tensor) -> Tensor:
        _same_rank(self.name, xs)
        dim = axis_of(self.dim, len(xs[0].shape), "dim")
        shape = list(xs[0].shape)
        for i, x in enumerate(xs[1:], 1):
            for axis, size in enumerate(x.shape):
                if axis == dim:
                    shape[axis] = shape[axis] + size
                else:
                    problem = _problem(self.name, axis, xs, i)
                    shape[axis] = equal(need, shape[axis], size, problem)
        return Tensor(tuple(shape), _dtype(xs))

    def expr(self, *xs: Tensor) -> Call:
        return Call("torch.cat", (Listing(tuple(X(i) for i in range(len(xs)))),), {"dim": self.dim})

    @property
    def style(self) -> Style:
        return Style("merge", "concat")


def _problem(op: str, axis: int, xs: Sequence[Tensor], i: int) -> Callable[[], Problem]:
    return lambda: _differ(op, axis, xs[0], xs[i], i)


class _Elementwise(Op):
    """Value by value; an axis of size 1 is repeated, as torch does."""

    operands = ("*xs",)

    def infer(self, need: Need, *xs: Tensor) -> Tensor:
        _same_rank(self.name, xs)
        shape = list(xs[0].shape)
        for i, x in enumerate(xs[1:], 1):
            for axis in sorted(range(len(shape)), key=lambda axis: axis == 1):  # channels last
                shape[axis] = self._join(need, axis, shape[axis], x.shape[axis], xs, i)
        return Tensor(tuple(shape), _dtype(xs))

    def _join(
        self, need: Need, axis: int, a: DimLike, b: DimLike, xs: Sequence[Tensor], i: int
    ) -> DimLike:
        if a == 1 or b == 1:
            return b if a == 1 else a
        return equal(need, a, b, _problem(self.name, axis, xs, i))

    @property
    def style(self) -> Style:
        return Style("merge", self.name)


@op("add")
class Add(_Elementwise):
    """The sum, weighted if asked (Caffe's Eltwise SUM with coefficients).

    y = coefficients[0] * x0 + coefficients[1] * x1 + ...
    xs: [N, C, H, W] each, or 1 on an axis to repeat it -> [N, C, H, W]
    """

    coefficients: Floats | None = attr("a factor for each operand; default: ones", None)
    examples = (
        Example({}, PAIR),
        Example({"coefficients": (0.5, 0.5, -1.0)}, TRIPLE),
        Example({}, ((2, 3, 4, 5), (2, 3, 1, 1))),
    )

    def infer(self, need: Need, *xs: Tensor) -> Tensor:
        if self.coefficients is not None and len(self.coefficients) != len(xs):
            message = f"{count(len(self.coefficients), 'coefficient')} for {len(xs)} operands"
            raise Problem("SEG210", message, attr="coefficients")
        return super().infer(need, *xs)

    def expr(self, *xs: Tensor) -> Infix:
        factors = self.coefficients or (1,) * len(xs)
        terms = ((f, X(i)) for i, f in enumerate(factors))
        return Infix("+", tuple(x if f == 1 else Infix("*", (f, x)) for f, x in terms))


@op("multiply")
class Multiply(_Elementwise):
    """The product (gates and attention maps).

    y = x0 * x1 * ...
    xs: [N, C, H, W] each, or 1 on an axis to repeat it -> [N, C, H, W]
    """

    examples = (
        Example({}, PAIR),
        Example({}, ((2, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1))),
    )

    def expr(self, *xs: Tensor) -> Infix:
        return Infix("*", tuple(X(i) for i in range(len(xs))))


@op("maximum")
class Maximum(_Elementwise):
    """The largest of the operands' values (maxout, multi-scale fusion).

    y = max(x0, x1, ...)
    xs: [N, C, H, W] each, or 1 on an axis to repeat it -> [N, C, H, W]
    """

    examples = (Example({}, PAIR), Example({}, TRIPLE))

    def expr(self, *xs: Tensor) -> Expr:
        values: list[Expr] = [X(i) for i in range(len(xs))]
        return reduce(lambda a, b: Call("torch.maximum", (a, b)), values)
