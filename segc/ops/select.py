"""Choices of rows: the best, those that do not overlap better ones, those above a threshold."""

from __future__ import annotations

from segc.code import At, Call, Infix, X
from segc.dim import DimLike, text
from segc.op import Need, Operand, PhaseInt, Problem, Style, attr, op
from segc.ops import select_code as code
from segc.ops.boxes import class_columns
from segc.ops.common import sizes
from segc.ops.rows import RowOp, phased, same_rows
from segc.types import Boxes, Pick, Tensor, Type


def one_a_row(op: str, x: Tensor, what: str, operand: int) -> None:
    """Demand a number of each row, [R]."""
    if len(x.shape) != 1 or x.dtype != "float":
        message = f"{op} takes {what}, [R], got {sizes(x.shape)} ({x.dtype})"
        hint = "`class_boxes` and `candidates` make a row of each class, `by_class` picks one"
        raise Problem("SEG201", message, operand=operand, hint=hint)


def _of_each_image(boxes: Boxes, most: PhaseInt | None) -> DimLike:
    """Rows at most: so many of each image, none more than there are."""
    rows = boxes.shape[0]
    if most is None or boxes.images is None:
        return rows
    bound = boxes.images * max(most)
    return min(bound, rows) if isinstance(bound, int) and isinstance(rows, int) else bound


def _picked(need: Need, boxes: Boxes, most: PhaseInt | None) -> Pick:
    source = boxes.shape[0]
    return Pick((need.rows(_of_each_image(boxes, most), of=source),), source)


def _shown(most: PhaseInt) -> str:
    return " | ".join(str(n) for n in dict.fromkeys(most))


class _Ranked(RowOp):
    """Base of choices among boxes by their scores."""

    operands = ("boxes", "scores")
    kinds = {"boxes": "boxes"}
    random = True

    def check(self, need: Need, boxes: Boxes, scores: Tensor, per: Tensor | None) -> None:
        one_a_row(self.name, scores, "a score of each box", operand=1)
        what = f"{self.name} pairs boxes with scores"
        same_rows(need, boxes.shape[0], scores.shape[0], what)
        if per is None:
            return
        if len(per.shape) != 1 or per.dtype != "int":
            message = "`per` is the level or class of each row, [R] of integers, got "
            message += f"{sizes(per.shape)} ({per.dtype})"
            hint = "for example `per: anchors.level`, of the same rows as the boxes"
            raise Problem("SEG201", message, attr="per", hint=hint)
        rows, others = boxes.shape[0], per.shape[0]
        message = f"`per` is of the rows `{text(others)}`, the boxes are of `{text(rows)}`"
        hint = "`gather` it with the choice that the boxes were gathered with"
        need.equal(rows, others, Problem("SEG214", message, attr="per", hint=hint))


@op("top_k")
class TopK(_Ranked):
    """The k boxes with the best scores of each image, or of each level or class in it.

    out = for each image (and group, in their order) the rows of the k largest scores, best first
    boxes: [R, 5], scores: [R], per: [R] -> a choice of rows of R
    Of equal scores the first row wins.
    """

    k: PhaseInt = attr("how many, of each image or group", min=1)
    per: Operand | None = attr("the level or class of each row: k of each one of an image", None)
    helpers = (code.TOP_K,)

    def infer(self, need: Need, boxes: Boxes, scores: Tensor, per: Tensor | None = None) -> Pick:
        self.check(need, boxes, scores, per)
        return _picked(need, boxes, self.k if per is None else None)

    def expr(self, boxes: Boxes, scores: Tensor, per: Tensor | None = None) -> Call:
        how = {"per": None if per is None else X(2)}
        return Call("top_k", (X(0), X(1), phased(self.k)), how, {"per": None})

    @property
    def style(self) -> Style:
        return Style("region", f"top {_shown(self.k)}")


@op("nms")
class Nms(_Ranked):
    """Non-maximum suppression of each image (torchvision.ops.batched_nms).

    out = best first, each row whose box overlaps none chosen before it by an IoU > `iou`
    boxes: [R, 5], scores: [R], per: [R] -> a choice of rows of R, image by image, best first
    """

    iou: float = attr("overlap with a better box, of the union, that a box may have", min=0, max=1)
    per: Operand | None = attr(
        "the level or class of each row: boxes of different ones do not compete", None
    )
    keep: PhaseInt | None = attr("how many of each image at most, the best", None, min=1)
    helpers = (code.NMS,)

    def infer(self, need: Need, boxes: Boxes, scores: Tensor, per: Tensor | None = None) -> Pick:
        self.check(need, boxes, scores, per)
        return _picked(need, boxes, self.keep)

    def expr(self, boxes: Boxes, scores: Tensor, per: Tensor | None = None) -> Call:
        how = {
            "per": None if per is None else X(2),
            "keep": None if self.keep is None else phased(self.keep),
            "legacy": boxes.legacy,
        }
        defaults = {"per": None, "keep": None, "legacy": False}
        return Call("nms", (X(0), X(1), self.iou), how, defaults)

    @property
    def style(self) -> Style:
        return Style("region", f"nms {self.iou:g}")


@op("above")
class Above(RowOp):
    """The rows with a value above a threshold.

    out = all r with scores[r] > threshold, in order
    scores: [R] -> a choice of rows of R
    """

    operands = ("scores",)
    random = True

    threshold: float = attr("the value that must be passed")

    def infer(self, need: Need, scores: Tensor) -> Pick:
        one_a_row(self.name, scores, "a score of each row", operand=0)
        rows = scores.shape[0]
        return Pick((need.rows(rows, of=rows),), rows)

    def expr(self, scores: Tensor) -> At:
        return At(Call("torch.where", (Infix(">", (X(0), self.threshold)),)), 0)

    @property
    def style(self) -> Style:
        return Style("region", f"> {self.threshold:g}")


@op("candidates")
class Candidates(RowOp):
    """Each class of each row with a score above a threshold: what may be a detection.

    out, scores, labels = (r, scores[r, c], c) of all scores[r, c] > threshold but the background's
    scores: [R, C] -> a choice of rows of R (one for each of its classes), scores [D], labels [D]
    As `class_boxes` and `above`, where most scores are low and a row has one box for all classes.
    """

    operands = ("scores",)
    random = True

    threshold: float = attr("the score that must be passed")
    background: str = attr(
        "which column of the scores is no class", "first", choices=("first", "last", "none")
    )
    helpers = (code.CANDIDATES,)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "scores", "labels")

    def infer(self, need: Need, scores: Tensor) -> tuple[Type, ...]:
        columns = class_columns(self.name, scores, self.background, operand=0)
        source = scores.shape[0]
        rows = need.rows(source * (columns - (self.background != "none")), of=source)
        return Pick((rows,), source), Tensor((rows,)), Tensor((rows,), "int")

    def expr(self, scores: Tensor) -> Call:
        how = {"background": self.background}
        return Call("candidates", (X(0), self.threshold), how, {"background": "first"})

    @property
    def style(self) -> Style:
        return Style("region", f"classes > {self.threshold:g}")


@op("large_enough")
class LargeEnough(RowOp):
    """The boxes that are not too small (torchvision.ops.remove_small_boxes).

    out = all r with x2 - x1 >= min_side and y2 - y1 >= min_side, in order (+ 1 if legacy)
    boxes: [R, 5] -> a choice of rows of R
    """

    operands = ("boxes",)
    kinds = {"boxes": "boxes"}
    random = True

    min_side: float = attr("width and height at least, in the boxes' units", min=0)
    helpers = (code.LARGE_ENOUGH,)

    def infer(self, need: Need, boxes: Boxes) -> Pick:
        return _picked(need, boxes, None)

    def expr(self, boxes: Boxes) -> Call:
        how = {"legacy": boxes.legacy}
        return Call("large_enough", (X(0), self.min_side), how, {"legacy": False})

    @property
    def style(self) -> Style:
        return Style("region", f"sides >= {self.min_side:g}")
