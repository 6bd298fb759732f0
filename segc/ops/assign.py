"""Boxes assigned to ground truth: matching, and what rows take from the object they match."""

from __future__ import annotations

from dataclasses import replace

from segc.code import Call, Helper, X
from segc.dim import DimLike, text
from segc.op import Need, Operand, Problem, attr, op
from segc.ops.boxes import image_sizes, same_geometry
from segc.ops.common import sizes as printed
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Tensor

IMAGES = Helper(
    "rows_per_image",
    '''\
def rows_per_image(boxes: Tensor) -> list[int]:
    """How many rows of boxes, [R, 5], each image has that has any, in their order."""
    return boxes[:, 0].unique_consecutive(return_counts=True)[1].tolist()
''',
)
OVERLAPS = Helper(
    "box_overlaps",
    '''\
def box_overlaps(boxes: Tensor, others: Tensor, legacy: bool = False) -> Tensor:
    """Intersection over union of boxes, [R, 4] and [G, 4] -> [R, G].

    legacy: corners are pixels that belong to the box
    """
    if legacy:
        closed = boxes.new_tensor([0, 0, 1, 1])
        boxes, others = boxes + closed, others + closed
    return ops.box_iou(boxes, others).nan_to_num()  # two boxes without area: 0 / 0
''',
)
INSIDE = Helper(
    "boxes_inside",
    '''\
def boxes_inside(boxes: Tensor, size: Tensor, legacy: bool = False) -> Tensor:
    """Which boxes, [R, 4], do not cross the border of an image of this height and width, [R]."""
    last = size.to(boxes.dtype).flip(0) - int(legacy)
    return (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= last).all(1)
''',
)
MATCH_OVERLAPS = Helper(
    "match_overlaps",
    '''\
def match_overlaps(
    overlap: Tensor,
    inside: Tensor | None,
    high: float,
    low: float,
    floor: float,
    strict: bool,
    low_quality: bool,
    best_always: bool,
    nearest: bool,
) -> Tensor:
    """The object each box of an image matches; -1: background, -2: left out.

    overlap: [R, G], inside: [R], boxes not inside are left out -> [R]
    """
    best, own = F.pad(overlap, (0, 1)).max(1)  # one column more: there may be no object
    match = torch.where(best > high if strict else best >= high, own, -2)
    match = match.masked_fill((best < low) & (best >= floor), -1)
    if low_quality:
        among = overlap if inside is None else overlap.masked_fill(~inside[:, None], -1)
        match = torch.where((among == among.max(0).values).any(1), own, match)
    if inside is not None:
        match = match.masked_fill(~inside, -2)
    if best_always:
        forced = torch.full_like(match, -1)
        objects = torch.arange(overlap.shape[1], device=match.device)
        forced = forced.scatter_reduce(0, overlap.max(0).indices, objects, "amax")
        match = torch.where(forced >= 0, own if nearest else forced, match)
    return match
''',
)
MATCH_BOXES = Helper(
    "match_boxes",
    '''\
def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    high: float,
    low: float,
    sizes: Tensor | None = None,
    floor: float = 0.0,
    strict: bool = False,
    low_quality: bool = False,
    best_always: bool = False,
    nearest: bool = False,
    legacy: bool = False,
) -> Tensor:
    """The row of `gt_boxes` each box matches; -1: background, -2: left out.

    boxes: [R, 5], gt_boxes: [G, 5], rows of an image together -> [R]
    high, low: overlaps of a match at least, of background at most; floor: of background at least
    sizes: [N, 2], boxes that cross the border are left out
    strict: a match overlaps by more than `high`
    low_quality: a box that overlaps an object as much as any other does matches
    best_always: so does the first of them, even outside; nearest: the object it overlaps most
    """
    matches = [boxes.new_zeros(0, dtype=torch.long)]
    for part in boxes.split(rows_per_image(boxes)):
        image = part[0, 0]
        rows = torch.where(gt_boxes[:, 0] == image)[0]
        overlap = box_overlaps(part[:, 1:], gt_boxes[rows, 1:], legacy)
        inside = None
        if sizes is not None:
            inside = boxes_inside(part[:, 1:], sizes[image.long()], legacy)
        match = match_overlaps(
            overlap, inside, high, low, floor, strict, low_quality, best_always, nearest
        )
        found = match >= 0
        match[found] = rows[match[found]]
        matches.append(match)
    return torch.cat(matches)
''',
)
MAX_OVERLAPS = Helper(
    "max_overlaps",
    '''\
def max_overlaps(boxes: Tensor, gt_boxes: Tensor, legacy: bool = False) -> Tensor:
    """The overlap of each box with the object of its image that it overlaps most, 0 without any.

    boxes: [R, 5], gt_boxes: [G, 5], rows of an image together -> [R]
    """
    found = [boxes.new_zeros(0)]
    for part in boxes.split(rows_per_image(boxes)):
        objects = gt_boxes[gt_boxes[:, 0] == part[0, 0]]
        overlap = box_overlaps(part[:, 1:], objects[:, 1:], legacy)
        found.append(F.pad(overlap, (0, 1)).amax(1))
    return torch.cat(found)
''',
)
MATCHED_ROWS = Helper(
    "matched_rows",
    '''\
def matched_rows(match: Tensor, x: Tensor) -> Tensor:
    """The row of x, [G, ...], that each row matches, zeros for those without: [R, ...]."""
    found = match >= 0
    y = x.new_zeros(len(match), *x.shape[1:])
    y[found] = x[match[found]]
    return y
''',
)
MATCHED_LABELS = Helper(
    "matched_labels",
    '''\
def matched_labels(match: Tensor, gt_labels: Tensor, classes: int | None = None) -> Tensor:
    """The class of the object each row matches, 0 for background and -1 for rows left out.

    match: [R], gt_labels: [G], classes from 1 -> [R]
    classes: how many there are with background, which is then the last, the others from 0
    """
    first, background = (0, 0) if classes is None else (1, classes - 1)
    labels = torch.full_like(match, background).masked_fill(match == -2, -1)
    found = match >= 0
    labels[found] = gt_labels[match[found]] - first
    return labels
''',
)


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
    helpers = (IMAGES, OVERLAPS, INSIDE, MATCH_OVERLAPS, MATCH_BOXES)

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
        "what `best_always` matches a box to: the object it is the best box of, or that nearest to "
        "it, which may be another one (DenseCap)",
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


@op("max_overlaps")
class MaxOverlaps(RowOp):
    """How much each box overlaps the object of its image that it overlaps most.

    y[r] = max_g iou(boxes[r], gt_boxes[g]), 0 where the image has no object
    boxes: [R, 5], gt_boxes: [G, 5] -> [R]
    """

    operands = ("boxes", "gt_boxes")
    kinds = {"boxes": "boxes", "gt_boxes": "boxes"}
    helpers = (IMAGES, OVERLAPS, MAX_OVERLAPS)

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
    helpers = (MATCHED_LABELS,)

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
    helpers = (MATCHED_ROWS,)

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
    helpers = (MATCHED_ROWS,)

    def infer(self, need: Need, match: Match, x: Tensor) -> Tensor:
        of_target(need, match, x.shape[0], self.name)
        return Tensor((match.shape[0], *x.shape[1:]), x.dtype)

    def expr(self, match: Match, x: Tensor) -> Call:
        return Call("matched_rows", (X(0), X(1)))


@op("positives")
class Positives(RowOp):
    """Which rows match an object, as numbers: 1 for those, 0 for the others.

    match: [R] -> [R]
    """

    operands = ("match",)
    kinds = {"match": "match"}
    helpers = (
        Helper(
            "is_matched",
            '''\
def is_matched(match: Tensor) -> Tensor:
    """1 for each row that matches an object, 0 for the others, [R]."""
    return (match >= 0).float()
''',
        ),
    )

    def infer(self, need: Need, match: Match) -> Tensor:
        return Tensor(match.shape)

    def expr(self, match: Match) -> Call:
        return Call("is_matched", (X(0),))
