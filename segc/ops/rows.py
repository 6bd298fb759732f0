"""Values of row sets: rows picked, values of the two phases joined, values by class."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from segc.code import At, ByPhase, Call, Expr, Helper, Method, X
from segc.dim import DimLike, text
from segc.op import Example, Field, Need, Op, PhaseInt, Problem, Style, attr, op
from segc.ops.common import sizes, whole
from segc.types import Boxes, Match, Pick, Tensor, Type


def phased(value: PhaseInt) -> int | ByPhase:
    """A number that may differ by phase, as code."""
    train, test = value
    return train if train == test else ByPhase(train, test)


def same_rows(need: Need, a: DimLike, b: DimLike, what: str, operand: int = 1) -> None:
    """Demand that two values have a row for each row of the same set."""
    if a == b:
        return
    message = f"{what}: one is of the rows `{text(a)}`, the other of `{text(b)}`"
    hint = "values of different row sets cannot be paired; `gather` both with the same choice"
    need.equal(a, b, Problem("SEG214", message, operand=operand, hint=hint))


class RowOp(Op):
    """Base of operators on rows: what they see of the image is not a window."""

    rowed = True

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[0]) if fields else Field(Fraction(0), Fraction(1), Fraction(0))

    @property
    def style(self) -> Style:
        return Style("region", self.name.replace("_", " "))


@op("gather")
class Gather(RowOp):
    """The rows that another operator picked (indexing with its result).

    y[r] = x[pick[r]]
    pick: rows R of S; x: [S, ...] values or boxes -> [R, ...]
    """

    operands = ("pick", "x")
    kinds = {"pick": "pick", "x": "any"}

    def infer(self, need: Need, pick: Pick, x: Type) -> Type:
        if not isinstance(x, (Tensor, Boxes, Match)):
            message = "gather picks rows of values, boxes or matches, not of another choice"
            hint = "gather the values themselves, with one choice after the other"
            raise Problem("SEG206", message, operand=1, hint=hint)
        message = f"the choice is among the rows `{text(pick.source)}`, the value has the rows "
        hint = "gather a value with the rows that the choice was made from"
        if x.shape[0] == pick.shape[0]:
            hint += "; this one has those that it makes"
        problem = Problem("SEG214", f"{message}`{text(x.shape[0])}`", operand=1, hint=hint)
        need.equal(pick.source, x.shape[0], problem)
        return replace(x, shape=(pick.shape[0], *x.shape[1:]))

    def expr(self, pick: Pick, x: Tensor) -> Expr:
        return At(X(1), X(0))


def _kind(x: Type) -> str:
    """A value in a few words."""
    if isinstance(x, Boxes):
        ends = "inclusive pixels (legacy)" if x.legacy else "continuous coordinates"
        return f"boxes of {ends}" + ("" if x.frame == "image" else " in shares of the image")
    if isinstance(x, Tensor):
        numbers = "whole" if x.dtype == "int" else "real"
        each = f"{sizes(x.shape[1:])} {numbers} numbers" if x.shape[1:] else f"one {numbers} number"
        return f"{each} for each row"
    return "a match" if isinstance(x, Match) else "a choice of rows"


@op("phase")
class Phase(RowOp):
    """One value in training, another one of the same type outside it.

    y = train in training, test otherwise
    train, test: [R1, ...] and [R2, ...], equal but for their rows -> [R, ...]
    """

    operands = ("in_training", "otherwise")
    kinds = {"in_training": "any", "otherwise": "any"}

    def infer(self, need: Need, train: Type, test: Type) -> Type:
        message = f"phase joins two values of one type, these are {_kind(train)} and {_kind(test)}"
        if type(train) is not type(test):
            raise Problem("SEG206", message, operand=1)
        if not isinstance(train, (Tensor, Boxes)) or not isinstance(test, (Tensor, Boxes)):
            message = f"phase joins values or boxes, this is {_kind(test)}"
            hint = "gather in each phase with its own choice, then join what was gathered"
            raise Problem("SEG206", message, operand=1, hint=hint)
        if not train.shape or not test.shape:
            raise Problem("SEG203", "phase joins values of rows, one number has none", operand=1)
        alike = replace(test, shape=train.shape) == train
        if not alike or train.shape[1:] != test.shape[1:]:
            raise Problem("SEG203", message, operand=1)
        rows = need.joined(train.shape[0], test.shape[0])
        if isinstance(train, Boxes) and train.images is None:
            train = test  # it may know of how many images they are
        return replace(train, shape=(rows, *train.shape[1:]))

    def operand_phase(self, index: int) -> str | None:
        return ("train", "test")[index]

    def at_test(self) -> Op | None:
        return None

    def expr(self, train: Tensor, test: Tensor) -> Expr:
        return ByPhase(X(0), X(1))


@op("by_class")
class ByClass(RowOp):
    """Of the values of all classes those of each row's class.

    y[r] = x[r, label[r] - first]
    x: [R, K, ...], label: [R] -> [R, ...]
    """

    operands = ("x", "label")
    examples = ()

    first: int = attr("the label of the first class: 1 where background has no values", 0, min=0)
    helpers = (
        Helper(
            "by_class",
            '''\
def by_class(x: Tensor, label: Tensor, first: int = 0) -> Tensor:
    """x[r, label[r] - first] of every row r."""
    return x[torch.arange(len(x), device=x.device), label - first]
''',
        ),
    )

    def infer(self, need: Need, x: Tensor, label: Tensor) -> Tensor:
        if len(x.shape) < 2 or label.dtype != "int" or len(label.shape) != 1:
            message = f"by_class takes [R, K, ...] and the class of each row, got {sizes(x.shape)}"
            raise Problem("SEG201", f"{message} and {sizes(label.shape)} ({label.dtype})")
        same_rows(need, x.shape[0], label.shape[0], "by_class pairs values with their classes")
        return Tensor((x.shape[0], *x.shape[2:]), x.dtype)

    def expr(self, x: Tensor, label: Tensor) -> Call:
        return Call("by_class", (X(0), X(1)), {"first": self.first}, {"first": 0})


@op("detach")
class Detach(RowOp):
    """Gradients stop here (torch.Tensor.detach): proposals are inputs of the heads, not learned.

    y = x
    x: any value -> the same
    """

    kinds = {"x": "any"}
    examples = (Example({}, ((2, 3),)),)

    def infer(self, need: Need, x: Type) -> Type:
        return x

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "detach")
