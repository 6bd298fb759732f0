"""Boxes around the cells of maps, and the values that convolutions make for them as rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from segc.code import Call, Listing, X
from segc.dim import DimLike, text
from segc.op import Example, Floats, Ints, Need, Problem, Style, attr, op
from segc.ops import boxes_code as code
from segc.ops.common import count, equal, feature_map, known
from segc.ops.rows import RowOp
from segc.types import Boxes, Tensor, Type

EACH = "in the order of the maps in `from`"


def _levels(need: Need, op: str, maps: Sequence[Tensor], first: int) -> list[tuple[DimLike, ...]]:
    """The shapes of the maps, of which there is one at least, all of one batch."""
    if not maps:
        message = f"{op} reads the maps of one level or of several, there is none in `from`"
        raise Problem("SEG201", message, hint="`from: [image, p2, p3]`, or the name of a pyramid")
    shapes = [feature_map(x, op, operand=first + k) for k, x in enumerate(maps)]
    for k, shape in enumerate(shapes[1:], start=1):
        _one_batch(need, op, shapes[0][0], shape[0], first + k)
    return shapes


def _one_batch(need: Need, op: str, n: DimLike, other: DimLike, operand: int) -> None:
    message = f"{op} reads maps of the same images, got {count(n, 'image')} and {text(other)}"
    hint = "all have to be of one batch"
    equal(need, n, other, lambda: Problem("SEG203", message, operand=operand, hint=hint))


def _rows(n: DimLike, shapes: Sequence[tuple[DimLike, ...]], boxes: Sequence[int]) -> DimLike:
    """n times the boxes of all cells: those of a cell are given for each map."""
    none: DimLike = 0
    cells = (shape[2] * shape[3] * a for shape, a in zip(shapes, boxes, strict=True))
    return n * reduce(lambda a, b: a + b, cells, none)


def _counted(found: int, wanted: int, name: str, what: str, levels: int, hint: str) -> None:
    """Demand that an attribute has a value for each thing of each level."""
    if found != wanted:
        message = f"{count(found, 'value')} in `{name}` where {wanted} are needed: {what} for "
        message += count(levels, "map")
        raise Problem("SEG210", message, attr=name, hint=hint)


class _Placed(RowOp):
    """Base of operators that place boxes around the cells of maps."""

    operands = ("image", "*maps")
    least = 1

    def boxes_per_cell(self, levels: int) -> list[int]:
        """How many boxes a cell of each map has; a Problem where values are missing."""
        raise NotImplementedError

    def made(self, rows: DimLike, images: DimLike) -> Boxes:
        return Boxes((rows, 5), images=images)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "level")

    def infer(self, need: Need, image: Tensor, *maps: Tensor) -> tuple[Type, ...]:
        n = feature_map(image, self.name)[0]
        shapes = _levels(need, self.name, maps, first=1)
        _one_batch(need, self.name, n, shapes[0][0], 1)
        rows = _rows(n, shapes, self.boxes_per_cell(len(maps)))
        return self.made(rows, n), Tensor((rows,), "int")


@op("anchors")
class Anchors(_Placed):
    """Boxes of the same sizes and ratios around every cell of each map (torchvision's anchors).

    box(y, x, a) = box a around (0, 0) + (x, y) * stride, stride = image size // map size
    image: [N, 3, H, W], maps: [N, C, h, w] of each level -> boxes [N*K, 5], level [N*K]
    Rows of an image: map by map, row by row, cell by cell; at a cell all sizes at the first ratio
    (height / width), then at the next. `form: caffe` are those of py-faster-rcnn: the box
    (0, 0, 15, 15) at each ratio in whole pixels, times size / 16, of inclusive pixels.
    """

    sizes: Floats | None = attr("sides of the squares of the same areas, pixels", None, min=1)
    ratios: Floats = attr("heights over widths", (0.5, 1.0, 2.0), min=0.001)
    shapes: Floats | None = attr(
        "in place of sizes and ratios: width and height of each box in turn, pixels", None, min=1
    )
    per_level: int = attr("how many of the sizes, or shapes, each map has", 1, min=1)
    strides: Ints | None = attr(
        "pixels from cell to cell of each map; default: image size // map size", None, min=1
    )
    offset: float = attr("where the first cell is, pixels from the corner", 0.0)
    rounded: bool = attr("boxes around (0, 0) of whole pixels", True)
    form: str = attr(
        "whose boxes they are, py-faster-rcnn's with `caffe`",
        "torchvision",
        choices=("torchvision", "caffe"),
    )
    legacy: bool = attr("boxes of inclusive pixels, as `form: caffe` always has", False)
    examples = (Example({"sizes": (32.0,)}, ()),)
    helpers = (
        code.EVERY_IMAGE,
        code.ANCHOR_BOXES,
        code.CELL_BOXES,
        code.SHAPED_BOXES,
        code.CAFFE_BOXES,
    )

    def validate(self) -> None:
        if (self.sizes is None) == (self.shapes is None):
            message = "anchors have either `sizes` and `ratios` or `shapes`"
            raise Problem("SEG210", message, hint="for example `sizes: [32, 64, 128, 256, 512]`")
        if self.shapes is not None and len(self.shapes) % 2:
            message = f"`shapes` are pairs of width and height, these are {len(self.shapes)} values"
            raise Problem("SEG210", message, attr="shapes", hint="`shapes: [45, 90, 90, 45]`")
        if not self.ratios:
            message = "anchors have one ratio at least"
            raise Problem("SEG210", message, attr="ratios", hint="`ratios: [1]` are squares")
        if self.form == "caffe" and (self.shapes is not None or self.strides is None):
            message = "`form: caffe` has `sizes`, `ratios` and the strides of the maps"
            hint = "for example `sizes: [128, 256, 512]` and `strides: [16]`"
            raise Problem("SEG210", message, attr="form", hint=hint)

    def boxes_per_cell(self, levels: int) -> list[int]:
        each, wanted = self.per_level, self.per_level * levels
        values = len(self.sizes or self.shapes or ()) // (1 if self.sizes else 2)
        hint = "`per_level` says how many each map has"
        if values > each and not values % levels:
            hint = f"`per_level: {values // levels}` if each map has as many"
        if self.sizes is not None:
            _counted(len(self.sizes), wanted, "sizes", f"{each} a map", levels, hint)
        if self.shapes is not None:
            what = f"{each} pairs a map"
            _counted(len(self.shapes), 2 * wanted, "shapes", what, levels, hint)
        if self.strides is not None:
            _counted(len(self.strides), levels, "strides", "one a map", levels, EACH)
        return [each if self.shapes is not None else each * len(self.ratios)] * levels

    def made(self, rows: DimLike, images: DimLike) -> Boxes:
        return Boxes((rows, 5), self.legacy or self.form == "caffe", images=images)

    def _cell(self, level: int) -> Call:
        """The boxes of a cell of one map."""
        here = slice(level * self.per_level, (level + 1) * self.per_level)
        how = {"rounded": self.rounded, "legacy": self.legacy}
        defaults = {"rounded": True, "legacy": False}
        if self.shapes is not None:
            pairs = self.shapes[2 * here.start : 2 * here.stop]
            return Call("shaped_boxes", (pairs,), how, defaults)
        assert self.sizes is not None
        if self.form == "caffe":
            return Call("caffe_boxes", (self.sizes[here], self.ratios))
        return Call("cell_boxes", (self.sizes[here], self.ratios), how, defaults)

    def expr(self, image: Tensor, *maps: Tensor) -> Call:
        read = Listing(tuple(X(1 + k) for k in range(len(maps))))
        cells = Listing(tuple(self._cell(k) for k in range(len(maps))))
        where = {"strides": self.strides, "offset": self.offset}
        defaults = {"strides": None, "offset": 0.0}
        return Call("anchor_boxes", (X(0), read, cells), where, defaults)


@op("priors")
class Priors(_Placed):
    """SSD's default boxes (torchvision's DefaultBoxGenerator, and the original's).

    around (x + .5, y + .5) * stride: s x s, m x m with m = sqrt(s * next s), and for each ratio r
    s sqrt(r) x s / sqrt(r) and its transpose; s: the map's scale, a share of the image
    image: [N, 3, H, W], maps: [N, C, h, w] of each level -> boxes [N*K, 5], level [N*K]
    Rows of an image: map by map, row by row, cell by cell. `clip: sizes` cuts widths and heights
    off at the image's as torchvision does, `all` the centres too (ssd.pytorch).
    """

    scales: Floats = attr("sides as shares of the image, one a map and the next one's", min=0)
    ratios: Floats = attr("widths over heights besides 1", (2, 3), min=0.001)
    used: Ints | None = attr("how many of the ratios each map has; default: all", None, min=0)
    strides: Ints | None = attr(
        "pixels from cell to cell of each map; default: the image's size / the map's", None, min=1
    )
    clip: str = attr("what is cut off at the image", "sizes", choices=("none", "sizes", "all"))
    frame: str = attr(
        "measured in pixels or in shares of the image", "image", choices=("image", "normalised")
    )
    helpers = (code.EVERY_IMAGE, code.PRIOR_BOXES)

    def validate(self) -> None:
        if self.used is not None and max(self.used, default=0) > len(self.ratios):
            message = f"`used` takes {max(self.used)} ratios of {len(self.ratios)}"
            hint = "a map uses the first ones of `ratios`"
            raise Problem("SEG210", message, attr="used", hint=hint)

    def boxes_per_cell(self, levels: int) -> list[int]:
        hint = "the last one is used for the mean with that of the last map"
        _counted(len(self.scales), levels + 1, "scales", "one a map and one", levels, hint)
        if self.used is not None:
            _counted(len(self.used), levels, "used", "one a map", levels, EACH)
        if self.strides is not None:
            _counted(len(self.strides), levels, "strides", "one a map", levels, EACH)
        return [2 + 2 * len(ratios) for ratios in self._ratios(levels)]

    def _ratios(self, levels: int) -> tuple[Floats, ...]:
        return tuple(self.ratios[:n] for n in self.used or (len(self.ratios),) * levels)

    def made(self, rows: DimLike, images: DimLike) -> Boxes:
        return Boxes((rows, 5), frame=self.frame, images=images)

    def expr(self, image: Tensor, *maps: Tensor) -> Call:
        read = Listing(tuple(X(1 + k) for k in range(len(maps))))
        how = {
            "strides": self.strides,
            "clip": self.clip,
            "normalised": self.frame == "normalised",
        }
        defaults = {"strides": None, "clip": "sizes", "normalised": False}
        arguments = (X(0), read, self.scales, self._ratios(len(maps)))
        return Call("prior_boxes", arguments, how, defaults)


@op("anchor_rows")
class AnchorRows(RowOp):
    """What a convolution answers for the anchors of each cell, as rows in the anchors' order.

    y[(n, map, i, j, a), v] = x[n, a * V + v, i, j], with `order: blocks` x[n, v * A + a, i, j]
    maps: [N, A*V, h, w] of each level -> [N*K] for one value a row, [N*K, V] for several
    """

    operands = ("*maps",)
    least = 1

    per_row: int = attr("V, values of an anchor", 1, min=1)
    order: str = attr(
        "the channels: all values of an anchor together, or all anchors' first values in front",
        "interleaved",
        choices=("interleaved", "blocks"),
    )
    examples = (Example({"per_row": 4}, ((2, 8, 4, 5),)), Example({}, ((2, 3, 4, 5),)))
    helpers = (code.ANCHOR_ROWS,)

    def infer(self, need: Need, *maps: Tensor) -> Tensor:
        shapes = _levels(need, self.name, maps, first=0)
        boxes = [self._anchors(shape[1], k) for k, shape in enumerate(shapes)]
        rows = _rows(shapes[0][0], shapes, boxes)
        return Tensor((rows,) if self.per_row == 1 else (rows, self.per_row))

    def _anchors(self, channels: DimLike, operand: int) -> int:
        number = known(channels, self.name)
        if number % self.per_row:
            message = f"{count(number, 'channel')} do not divide into {self.per_row} of each anchor"
            hint = "a map has anchors x `per_row` channels"
            raise Problem("SEG202", message, operand=operand, hint=hint)
        return number // self.per_row

    def expr(self, *maps: Tensor) -> Call:
        read = Listing(tuple(X(k) for k in range(len(maps))))
        how = {"values": self.per_row, "blocks": self.order == "blocks"}
        return Call("anchor_rows", (read,), how, {"values": 1, "blocks": False})

    @property
    def style(self) -> Style:
        return Style("region", "anchor rows")
