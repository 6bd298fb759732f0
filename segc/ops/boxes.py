"""Boxes: decoding and encoding, clipping, scaling, appending."""

from __future__ import annotations

from segc.code import At, Call, Listing, X
from segc.dim import DimLike, text
from segc.op import Floats, Need, Problem, attr, op
from segc.ops import boxes_code as code
from segc.ops.common import count, sizes
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Pick, Tensor, Type

ONES = (1.0, 1.0, 1.0, 1.0)


def same_geometry(op: str, a: Boxes, b: Boxes, operand: int = 1) -> None:
    """Demand boxes that are measured in the same way."""
    if a.frame != b.frame:
        message = f"{op} takes boxes of one frame, these are {_framed(a)} and {_framed(b)}"
        hint = "`scale_boxes` makes pixels of shares of the image"
        raise Problem("SEG206", message, operand=operand, hint=hint)
    if a.legacy != b.legacy:
        message = f"{op} takes boxes of one geometry, these have {_ended(a)} and {_ended(b)}"
        hint = "`legacy` of the anchors and of the ground truth has to be the same"
        raise Problem("SEG206", message, operand=operand, hint=hint)


def _framed(boxes: Boxes) -> str:
    return "in pixels" if boxes.frame == "image" else "in shares of the image"


def _ended(boxes: Boxes) -> str:
    return "inclusive pixels (legacy)" if boxes.legacy else "continuous coordinates"


def in_frame(op: str, boxes: Boxes, frame: str) -> None:
    """Demand boxes in pixels ("image") or in shares of the image ("normalised")."""
    if boxes.frame != frame:
        wanted = _framed(Boxes(boxes.shape, frame=frame))
        hint = "put `scale_boxes` before it" if frame == "image" else "they need no `scale_boxes`"
        message = f"{op} takes boxes {wanted}, these are {_framed(boxes)}"
        raise Problem("SEG206", message, operand=0, hint=hint)


def image_sizes(need: Need, op: str, boxes: Boxes, x: Tensor) -> None:
    """Demand the height and width of each image, [N, 2]."""
    if len(x.shape) != 2 or x.shape[1] != 2:
        message = f"{op} takes the height and width of each image, [N, 2], got {sizes(x.shape)}"
        hint = "an input `sizes: {type: sizes}` has them"
        raise Problem("SEG201", message, operand=1, hint=hint)
    same_images(need, op, boxes, x.shape[0])


def same_images(need: Need, op: str, boxes: Boxes, n: DimLike) -> None:
    if boxes.images not in (None, n):
        assert boxes.images is not None
        message = f"{op}: boxes of {count(boxes.images, 'image')}, but {text(n)} in the operand"
        hint = "both have to be of one batch"
        need.equal(boxes.images, n, Problem("SEG203", message, operand=1, hint=hint))


class _Coder(RowOp):
    """Base of operators that encode boxes relative to others."""

    delta_weights: Floats = attr("factors of x, y, log w and log h in the deltas", ONES, min=1e-6)

    def validate(self) -> None:
        if len(self.delta_weights) != 4:
            message = f"`delta_weights` are four, of x, y, w and h, got {len(self.delta_weights)}"
            hint = "for example `delta_weights: [10, 10, 5, 5]`"
            raise Problem("SEG210", message, attr="delta_weights", hint=hint)

    def options(self, boxes: Boxes) -> dict[str, object]:
        return {"weights": self.delta_weights, "legacy": boxes.legacy}

    @property
    def defaults(self) -> dict[str, object]:
        return {"weights": ONES, "max_log": None, "legacy": False, "background": "first"}


class _Decoder(_Coder):
    """Base of operators that decode."""

    kinds = {"boxes": "boxes"}

    max_log: float | None = attr(
        "logs of sizes are cut off above; torchvision: log(1000 / 16) = 4.135166556742356", None
    )

    def options(self, boxes: Boxes) -> dict[str, object]:
        return {**super().options(boxes), "max_log": self.max_log}


@op("decode_boxes")
class DecodeBoxes(_Decoder):
    """Boxes moved and resized by what a network answers for them (torchvision's BoxCoder.decode).

    centre = c + d[0:2] / weights * size, size = size * exp(min(d[2:4] / weights, max_log))
    boxes: [R, 5], deltas: [R, 4] -> boxes [R, 5]
    Of inclusive pixels if the boxes are: w = x2 - x1 + 1, and x2 = centre + w / 2 as py-faster-rcnn
    has it, one pixel more than what was encoded.
    """

    operands = ("boxes", "deltas")
    helpers = (code.DECODE_BOXES,)

    def infer(self, need: Need, boxes: Boxes, deltas: Tensor) -> Boxes:
        if len(deltas.shape) != 2 or deltas.shape[1] != 4:
            message = (
                f"decode_boxes takes four deltas of each box, [R, 4], got {sizes(deltas.shape)}"
            )
            hint = "`anchor_rows` with `per_row: 4` makes rows of a map, `by_class` picks a class"
            raise Problem("SEG201", message, operand=1, hint=hint)
        same_rows(need, boxes.shape[0], deltas.shape[0], "decode_boxes pairs boxes with deltas")
        return boxes

    def expr(self, boxes: Boxes, deltas: Tensor) -> Call:
        return Call("decode_boxes", (X(0), X(1)), self.options(boxes), self.defaults)


@op("encode_boxes")
class EncodeBoxes(_Coder):
    """The deltas that make one box of another (torchvision's BoxCoder.encode).

    d[0:2] = weights * (target centre - centre) / size, d[2:4] = weights * log(target size / size)
    boxes: [R, 5], targets: [R, 5] -> [R, 4]
    """

    operands = ("boxes", "targets")
    kinds = {"boxes": "boxes", "targets": "boxes"}
    helpers = (code.ENCODE_BOXES,)

    def infer(self, need: Need, boxes: Boxes, targets: Boxes) -> Tensor:
        same_geometry(self.name, boxes, targets)
        same_rows(need, boxes.shape[0], targets.shape[0], "encode_boxes pairs boxes with targets")
        return Tensor((boxes.shape[0], 4))

    def expr(self, boxes: Boxes, targets: Boxes) -> Call:
        return Call("encode_boxes", (X(0), X(1)), self.options(boxes), self.defaults)


@op("class_boxes")
class ClassBoxes(_Decoder):
    """A box of each row for each class, decoded, with its score: all that may be detections.

    box(r, c) = decode(boxes[r], deltas[r, c]), score(r, c) = scores[r, c] for all c but background
    boxes: [R, 5], deltas: [R, 4C], [R, C, 4], without the background's, or [R, 4] for all classes,
    scores: [R, C] -> boxes [R*K, 5], scores [R*K], labels [R*K], K = C - 1, or C if no background
    A label is `first` and the number of the column of `scores`.
    """

    operands = ("boxes", "deltas", "scores")

    background: str = attr(
        "which column of the scores is no class", "first", choices=("first", "last", "none")
    )
    first: int = attr("label of the first column", 0, min=0)
    helpers = (code.DECODE_BOXES, code.CLASS_BOXES)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "scores", "labels")

    def infer(self, need: Need, boxes: Boxes, deltas: Tensor, scores: Tensor) -> tuple[Type, ...]:
        columns = class_columns(self.name, scores, self.background, operand=2)
        kept = columns - (self.background != "none")
        values = _values(deltas)
        if values not in (4, 4 * columns, 4 * kept):
            message = f"deltas are {sizes(deltas.shape)}, the scores of {columns} columns need "
            message += f"[R, {4 * columns}], " + (f"[R, {4 * kept}] " if kept != columns else "")
            hint = "four of each class, or four for all"
            raise Problem("SEG202", f"{message}or [R, 4]", operand=1, hint=hint)
        same_rows(need, boxes.shape[0], deltas.shape[0], "class_boxes pairs boxes with deltas")
        what = "class_boxes pairs boxes with scores"
        same_rows(need, boxes.shape[0], scores.shape[0], what, operand=2)
        rows = boxes.shape[0] * kept
        found = Boxes((rows, 5), boxes.legacy, boxes.frame, boxes.images)
        return found, Tensor((rows,)), Tensor((rows,), "int")

    def expr(self, boxes: Boxes, deltas: Tensor, scores: Tensor) -> Call:
        options = {"background": self.background, "first": self.first, **self.options(boxes)}
        return Call("class_boxes", (X(0), X(1), X(2)), options, self.defaults | {"first": 0})


def class_columns(op: str, scores: Tensor, background: str, operand: int) -> int:
    """The number of columns of scores [R, C], of which one is a class at least."""
    columns = scores.shape[1] if len(scores.shape) == 2 else None
    if not isinstance(columns, int) or scores.dtype != "float":
        message = f"{op} takes the scores of all classes, [R, C], got {sizes(scores.shape)}"
        hint = "`anchor_rows` with `per_row: C` makes rows of a map"
        raise Problem("SEG201", message, operand=operand, hint=hint)
    if columns == 1 and background != "none":
        hint = "`background: none` if the only column is a class"
        message = f"{op}: one column of scores, the background's, leaves no class"
        raise Problem("SEG210", message, attr="background", hint=hint)
    return columns


def _values(deltas: Tensor) -> DimLike:
    """Deltas of a row: [R, 4C] or [R, C, 4]."""
    match deltas.shape:
        case (_, values):
            return values
        case (_, classes, 4):
            return classes * 4
    message = f"class_boxes takes deltas [R, 4C], [R, C, 4] or [R, 4], got {sizes(deltas.shape)}"
    raise Problem("SEG201", message, operand=1, hint="x, y, w and h of one class, then the next's")


@op("clip_boxes")
class ClipBoxes(RowOp):
    """Boxes cut off at the borders of their images (torchvision.ops.clip_boxes_to_image).

    x = min(max(x, 0), width), y = min(max(y, 0), height); - 1 where boxes are of inclusive pixels
    boxes: [R, 5], sizes: [N, 2] -> boxes [R, 5]
    """

    operands = ("boxes", "sizes")
    kinds = {"boxes": "boxes"}
    helpers = (code.CLIP_BOXES,)

    def infer(self, need: Need, boxes: Boxes, sizes: Tensor) -> Boxes:
        in_frame(self.name, boxes, "image")
        image_sizes(need, self.name, boxes, sizes)
        return Boxes(boxes.shape, boxes.legacy, boxes.frame, sizes.shape[0])

    def expr(self, boxes: Boxes, sizes: Tensor) -> Call:
        how = {"legacy": boxes.legacy}
        return Call("clip_boxes", (X(0), X(1)), how, {"legacy": False})


@op("scale_boxes")
class ScaleBoxes(RowOp):
    """Boxes in shares of the image, in its pixels.

    x = x * width, y = y * height
    boxes: [R, 5], of: [N, C, H, W] (the padded image) or sizes [N, 2] (each one's own)
    -> boxes [R, 5]
    """

    operands = ("boxes", "of")
    kinds = {"boxes": "boxes"}
    helpers = (code.SPREAD_BOXES, code.SCALE_BOXES)

    def infer(self, need: Need, boxes: Boxes, of: Tensor) -> Boxes:
        in_frame(self.name, boxes, "normalised")
        if len(of.shape) == 4:
            same_images(need, self.name, boxes, of.shape[0])
        else:
            image_sizes(need, self.name, boxes, of)
        return Boxes(boxes.shape, boxes.legacy, "image", of.shape[0])

    def expr(self, boxes: Boxes, of: Tensor) -> Call:
        return Call("spread_boxes" if len(of.shape) == 4 else "scale_boxes", (X(0), X(1)))


@op("append_rows")
class AppendRows(RowOp):
    """More boxes after those of each image: the ground truth among the proposals.

    out = the boxes of image 0, then those of `more` there, then both of image 1, ...
    boxes: [R, 5], more: [G, 5] -> boxes [S, 5] of R + G new rows,
    order [S]: which of the rows of the two, one after the other, these are (for `append_values`)
    """

    operands = ("boxes", "more")
    kinds = {"boxes": "boxes", "more": "boxes"}
    helpers = (code.APPEND_ROWS,)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "order")

    def infer(self, need: Need, boxes: Boxes, more: Boxes) -> tuple[Type, ...]:
        same_geometry(self.name, boxes, more)
        both = boxes.shape[0] + more.shape[0]
        rows = need.rows(both)
        images = more.images if boxes.images is None else boxes.images
        return Boxes((rows, 5), boxes.legacy, boxes.frame, images), Pick((rows,), both)

    def expr(self, boxes: Boxes, more: Boxes) -> Call:
        return Call("append_rows", (X(0), X(1)))


@op("append_values")
class AppendValues(RowOp):
    """What belongs to boxes that `append_rows` put together, in the same order.

    y = (a and b one after the other)[order]
    order: [S] of R + G rows, a: [R, ...], b: [G, ...] -> [S, ...]
    """

    operands = ("order", "a", "b")
    kinds = {"order": "pick"}

    def infer(self, need: Need, order: Pick, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype or not a.shape:
            message = f"append_values joins values of one kind, got {sizes(a.shape)} {a.dtype} and "
            hint = "they have to agree in all but their rows"
            raise Problem("SEG203", f"{message}{sizes(b.shape)} {b.dtype}", operand=2, hint=hint)
        what = "append_values takes the `order` of `append_rows`"
        same_rows(need, order.source, a.shape[0] + b.shape[0], what, operand=0)
        return Tensor((order.shape[0], *a.shape[1:]), a.dtype)

    def expr(self, order: Pick, a: Tensor, b: Tensor) -> At:
        return At(Call("torch.cat", (Listing((X(1), X(2))),)), X(0))
