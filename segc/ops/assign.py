"""Boxes assigned to ground truth: matching, and what rows take from the object they match."""

from __future__ import annotations

from dataclasses import replace

from segc.code import Call, X
from segc.dim import DimLike, text
from segc.op import Need, Operand, Problem, attr, op
from segc.ops import assign_code as code
from segc.ops.boxes import image_sizes, in_frame, same_geometry
from segc.ops.common import sizes as printed
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Tensor


def integers(x: Tensor, what: str, operand: int) -> None:
    """Demand one whole number for each row."""
    if x.dtype != "int" or len(x.shape) != 1:
        message = f"{what} takes one whole number for each row; this has {x.dtype} values"
        raise Problem("SEG201", f"{message}, {printed(x.shape)}", operand=operand)


def of_target(need: Need, match: Match, rows: DimLike, op: str) -> None:
    """Demand the rows that a match points into."""
    what = f"{op} looks up rows of `{text(match.target)}`, which the match was made with"
    same_rows(need, match.target, rows, what)


@op("match")
class MatchBoxes(RowOp):
    """The object of its image that each box belongs to, by intersection over union.

    y[r] = argmax_g iou(boxes[r], gt_boxes[g]) where that is >= high; -1 (background) where it is
    < low; -2 (left out) otherwise
    boxes: [R, 5], gt_boxes: [G, 5] -> match [R]
    An image without objects is all background. Rules: Faster R-CNN and torchvision's Matcher
    (low_quality: ties for an object's best, at any overlap), SSD and DenseCap (best_always).
    """

    operands = ("boxes", "gt_boxes")
    kinds = {"boxes": "boxes", "gt_boxes": "boxes"}
    helpers = (code.IMAGES, code.OVERLAPS, code.INSIDE, code.MATCH_OVERLAPS, code.MATCH_BOXES)

    high: float = attr("the least overlap of a match", min=0, max=1)
    low: float | None = attr(
        "background overlaps less; what is between is left out. Default: `high`", None, min=0, max=1
    )
    floor: float = attr("background overlaps at least this much, or is left out", 0.0, min=0, max=1)
    strict: bool = attr("a match overlaps by more than `high`", False)
    low_quality: bool = attr(
        "boxes that overlap an object as much as any box does match too (Faster R-CNN)", False
    )
    best_always: bool = attr(
        "the first of the boxes that overlap an object most matches, inside or not (SSD)", False
    )
    best_takes: str = attr(
        "`best_always` matches to the object whose best box it is, or to the nearest one",
        "object",
        choices=("object", "nearest"),
    )
    inside: Operand | None = attr(
        "heights and widths of the images: boxes that cross the border are left out", None
    )

    @property
    def below(self) -> float:
        return self.high if self.low is None else self.low

    def validate(self) -> None:
        if not self.high:
            message = "with `high: 0` every box matches, even where an image has no object"
            raise Problem("SEG210", message, attr="high", hint="for example 0.5")
        if self.below > self.high:
            message = f"background would overlap up to {self.low}, matches from {self.high}"
            raise Problem("SEG210", message, attr="low", hint="low <= high")
        if self.floor and self.floor >= self.below:
            message = f"no box would be background: it overlaps at least {self.floor}"
            message += f" and less than {self.below}"
            raise Problem("SEG210", message, attr="floor", hint="floor < low")
        if self.best_takes != "object" and not self.best_always:
            message = "`best_takes` is about boxes that match by `best_always`"
            raise Problem("SEG210", message, attr="best_takes", hint="add `best_always: true`")

    def infer(
        self, need: Need, boxes: Boxes, gt_boxes: Boxes, sizes: Tensor | None = None
    ) -> Match:
        same_geometry("match", boxes, gt_boxes)
        if sizes is not None:
            image_sizes(need, "match", boxes, sizes)
        return Match((boxes.shape[0],), gt_boxes.shape[0])

    def expr(self, boxes: Boxes, gt_boxes: Boxes, sizes: Tensor | None = None) -> Call:
        given = {
            "sizes": None if sizes is None else X(2),
            "floor": self.floor,
            "strict": self.strict,
            "low_quality": self.low_quality,
            "best_always": self.best_always,
            "nearest": self.best_takes == "nearest",
            "legacy": boxes.legacy,
        }
        defaults = {name: None if name == "sizes" else False for name in given} | {"floor": 0.0}
        return Call("match_boxes", (X(0), X(1), self.high, self.below), given, defaults)


@op("inside")
class Inside(RowOp):
    """Which boxes do not cross the border of their image: 1 for those, 0 for others.

    y[r] = 1 if 0 <= x1, x2 <= width and 0 <= y1, y2 <= height (less 1 for inclusive pixels)
    boxes: [R, 5], sizes: [N, 2] -> int [R]
    """

    operands = ("boxes", "sizes")
    kinds = {"boxes": "boxes"}
    helpers = (code.ARE_INSIDE,)

    def infer(self, need: Need, boxes: Boxes, sizes: Tensor) -> Tensor:
        in_frame(self.name, boxes, "image")
        image_sizes(need, self.name, boxes, sizes)
        return Tensor((boxes.shape[0],), "int")

    def expr(self, boxes: Boxes, sizes: Tensor) -> Call:
        how = {"legacy": boxes.legacy}
        return Call("are_inside", (X(0), X(1)), how, {"legacy": False})


@op("max_overlaps")
class MaxOverlaps(RowOp):
    """How much each box overlaps the object of its image that it overlaps most.

    y[r] = max_g iou(boxes[r], gt_boxes[g]), 0 where the image has no object
    boxes: [R, 5], gt_boxes: [G, 5] -> [R]
    """

    operands = ("boxes", "gt_boxes")
    kinds = {"boxes": "boxes", "gt_boxes": "boxes"}
    helpers = (code.IMAGES, code.OVERLAPS, code.MAX_OVERLAPS)

    def infer(self, need: Need, boxes: Boxes, gt_boxes: Boxes) -> Tensor:
        same_geometry(self.name, boxes, gt_boxes)
        return Tensor((boxes.shape[0],))

    def expr(self, boxes: Boxes, gt_boxes: Boxes) -> Call:
        legacy = {"legacy": boxes.legacy}
        return Call("max_overlaps", (X(0), X(1)), legacy, {"legacy": False})


@op("matched_labels")
class MatchedLabels(RowOp):
    """The class of the object each row matches.

    y[r] = gt_labels[match[r]], background and -1 (left out) where there is none
    match: [R] into G, gt_labels: [G], classes from 1 -> [R]
    """

    operands = ("match", "gt_labels")
    kinds = {"match": "match"}
    helpers = (code.MATCHED_LABELS,)

    background: str = attr(
        "where the class of background stands: first (it is 0), or last, the others then from 0 "
        "(Detectron2)",
        "first",
        choices=("first", "last"),
    )
    classes: int | None = attr("how many there are with background, if that is last", None, min=2)

    def validate(self) -> None:
        if (self.background == "last") != (self.classes is not None):
            message = "the number of `classes` is the place of a background that is last"
            absent = self.classes is None
            hint = "add `classes`" if absent else "add `background: last`"
            raise Problem("SEG210", message, attr="background" if absent else "classes", hint=hint)

    def infer(self, need: Need, match: Match, gt_labels: Tensor) -> Tensor:
        integers(gt_labels, self.name, 1)
        of_target(need, match, gt_labels.shape[0], self.name)
        return Tensor(match.shape, "int")

    def expr(self, match: Match, gt_labels: Tensor) -> Call:
        classes = {"classes": self.classes}
        return Call("matched_labels", (X(0), X(1)), classes, {"classes": None})


@op("matched_boxes")
class MatchedBoxes(RowOp):
    """The box of the object each row matches, zeros for rows without.

    y[r] = gt_boxes[match[r]]
    match: [R] into G, gt_boxes: [G, 5] -> [R, 5]
    """

    operands = ("match", "gt_boxes")
    kinds = {"match": "match", "gt_boxes": "boxes"}
    helpers = (code.MATCHED_ROWS,)

    def infer(self, need: Need, match: Match, gt_boxes: Boxes) -> Boxes:
        of_target(need, match, gt_boxes.shape[0], self.name)
        return replace(gt_boxes, shape=(match.shape[0], 5))

    def expr(self, match: Match, gt_boxes: Boxes) -> Call:
        return Call("matched_rows", (X(0), X(1)))


@op("matched")
class Matched(RowOp):
    """What belongs to the object each row matches, zeros for rows without.

    y[r] = x[match[r]]
    match: [R] into G, x: [G, ...] -> [R, ...]
    """

    operands = ("match", "x")
    kinds = {"match": "match"}
    helpers = (code.MATCHED_ROWS,)

    def infer(self, need: Need, match: Match, x: Tensor) -> Tensor:
        of_target(need, match, x.shape[0], self.name)
        return Tensor((match.shape[0], *x.shape[1:]), x.dtype)

    def expr(self, match: Match, x: Tensor) -> Call:
        return Call("matched_rows", (X(0), X(1)))


@op("positives")
class Positives(RowOp):
    """Which rows match an object: as real numbers for a sigmoid's loss, 1 for those, 0 for others.

    match: [R] -> [R]
    As whole numbers they are the labels of a softmax over two: 0 for background, -1 for rows left
    out.
    """

    operands = ("match",)
    kinds = {"match": "match"}
    helpers = (code.IS_MATCHED, code.OBJECT_LABELS)

    dtype: str = attr("real or whole numbers", "float", choices=("float", "int"))
    background: str = attr(
        "with whole numbers: first, background is 0, or last, it is 1 and objects are 0",
        "first",
        choices=("first", "last"),
    )

    def validate(self) -> None:
        if self.background == "last" and self.dtype != "int":
            message = "`background` is about labels, which are whole numbers"
            raise Problem("SEG210", message, attr="background", hint="add `dtype: int`")

    def infer(self, need: Need, match: Match) -> Tensor:
        return Tensor(match.shape, self.dtype)

    def expr(self, match: Match) -> Call:
        if self.dtype == "float":
            return Call("is_matched", (X(0),))
        last = {"last": self.background == "last"}
        return Call("object_labels", (X(0),), last, {"last": False})
