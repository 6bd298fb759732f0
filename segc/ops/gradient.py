"""What passes back through a layer in training; values stay what they are."""

from __future__ import annotations

from segc.code import Call, Helper, X
from segc.op import Example, Need, Op, Problem, attr, op
from segc.ops.assign import integers
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Tensor, Type


@op("detach_rows")
class DetachRows(RowOp):
    """Gradients stop here at some of the rows: those of a mask that is not the object's (MNC).

    y = x; the gradient of row r is 0 where kept[r] <= 0
    kept: int [R], x: values [R, ...] or boxes [R, 5] -> the same
    What is kept are labels, whose background is 0, or what `inside` says.
    """

    operands = ("kept", "x")
    kinds = {"x": "any"}
    helpers = (
        Helper(
            "detach_rows",
            '''\
def detach_rows(kept: Tensor, x: Tensor) -> Tensor:
    """x, [R, ...], without a gradient for the rows where kept, [R], is not above 0."""
    kept = kept.reshape(-1, *[1] * (x.dim() - 1)) > 0
    return torch.where(kept, x, x.detach())
''',
        ),
    )

    def infer(self, need: Need, kept: Tensor, x: Type) -> Type:
        integers(kept, self.name, 0)
        if not isinstance(x, (Boxes, Tensor)) or not x.shape:
            message = "detach_rows takes values or boxes of rows, this is a choice or a match"
            raise Problem("SEG201", message, operand=1, hint="they have no gradient")
        if isinstance(x, Tensor) and x.dtype != "float":
            raise Problem("SEG201", "whole numbers have no gradient", operand=1)
        what = "detach_rows pairs values with which of them keep their gradient"
        same_rows(need, kept.shape[0], x.shape[0], what)
        return x

    def expr(self, kept: Tensor, x: Tensor) -> Call:
        return Call("detach_rows", (X(0), X(1)))


@op("limit_gradient")
class LimitGradient(Op):
    """The gradient is cut off at a limit, value by value (MNC: that of boxes, at 1/512).

    y = x; dx = min(max(dy, -limit), limit)
    x: any shape -> the same
    """

    limit: float = attr("largest size of each value of the gradient", min=0)
    examples = (Example({"limit": 2.0}, ((2, 3, 4, 5),)),)
    helpers = (
        Helper(
            "limit_gradient",
            '''\
def limit_gradient(x: Tensor, limit: float) -> Tensor:
    """x, whose gradient is kept between -limit and limit."""

    def limited(gradient: Tensor) -> Tensor:
        return gradient.clamp(-limit, limit)

    y = x.view_as(x)
    if y.requires_grad:
        y.register_hook(limited)
    return y
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        if x.dtype != "float":
            raise Problem("SEG201", "whole numbers have no gradient", operand=0)
        return x

    def at_test(self) -> Op | None:
        return None

    def expr(self, x: Tensor) -> Call:
        return Call("limit_gradient", (X(0), self.limit))
