"""A map for each box: what lies inside the box, brought to a size of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from segc.code import Call, Expr, Helper, Listing, X
from segc.dim import DimLike, text
from segc.op import Example, Field, Ints, Need, Op, Pair, Problem, Style, attr, op
from segc.ops.common import by, count, equal, feature_map, one, whole
from segc.ops.rows import RowOp
from segc.types import Boxes, Tensor

BOX_LEVELS = Helper(
    "box_levels",
    '''\
def box_levels(
    boxes: Tensor,
    strides: tuple[int, ...],
    canonical_size: int,
    canonical_level: int,
    border: int = 0,
) -> Tensor:
    """The map that each box is pooled from, int64 [R]: the larger the box, the coarser the map.

    A box of canonical_size pixels takes maps[canonical_level], one twice as large the next
    (Feature Pyramid Networks, equation 1). border: 1 for inclusive pixels, w = x2 - x1 + 1.
    """
    first = strides[0].bit_length() - 1  # the map of stride 4 is level 2
    size = (boxes[:, 3:] - boxes[:, 1:3] + border).prod(dim=1).sqrt()
    levels = torch.floor(first + canonical_level + torch.log2(size / canonical_size) + 1e-6)
    return levels.clamp(first, first + len(strides) - 1).long() - first
''',
)
ROI_ALIGN_LEVELS = Helper(
    "roi_align_levels",
    '''\
def roi_align_levels(
    boxes: Tensor,
    levels: Tensor,
    maps: list[Tensor],
    strides: tuple[int, ...],
    output_size: tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """Each box from the map of its level: boxes [R, 5], maps [N, C, H, W] -> [R, C, h, w]."""
    pooled = maps[0].new_zeros(len(boxes), maps[0].shape[1], *output_size)
    for level, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        rows = torch.where(levels == level)[0]
        found = ops.roi_align(x, boxes[rows], output_size, 1 / stride, sampling_ratio, aligned)
        pooled[rows] = found.to(pooled.dtype)
    return pooled
''',
)


def in_pixels(boxes: Boxes, op: str, operand: int = 0) -> Boxes:
    """Demand boxes in pixels of the network's input."""
    if boxes.frame == "image":
        return boxes
    message = f"{op} takes boxes in pixels, these are shares of the image"
    hint = "`scale_boxes` makes pixels of them"
    raise Problem("SEG201", message, operand=operand, hint=hint)


def increasing(values: Sequence[int]) -> bool:
    return all(a < b for a, b in zip(values, values[1:], strict=False))


class Pooled(RowOp):
    """Base of operators that read a map inside boxes."""

    operands: ClassVar[tuple[str, ...]] = ("boxes", "x")
    kinds = {"boxes": "boxes"}

    output_size: Pair = attr("height and width of each box's map", min=1)

    def infer(self, need: Need, boxes: Boxes, x: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        _, c, *_ = feature_map(x, self.name, 1)
        return Tensor((boxes.shape[0], c, *self.output_size))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[1])

    @property
    def style(self) -> Style:
        return Style("region", f"{self.name.replace('_', ' ')} {by(self.output_size)}")


class _Leveled(Op):
    """What choosing a level of a pyramid needs."""

    strides: Ints = attr("stride of each map, pixels of the input", min=1)
    canonical_size: int = attr("side of a box that takes the canonical level, pixels", 224, min=1)
    canonical_level: int | None = attr(
        "which map, counted from 0, such a box takes (several maps only)", None, min=0
    )

    def check_levels(self, maps: int) -> None:
        """Raise where strides and canonical level do not fit that many maps."""
        if len(self.strides) != maps:
            strides = count(len(self.strides), "stride")
            message = f"{self.name}: {strides} for {count(maps, 'map')}"
            raise Problem(
                "SEG210", message, attr="strides", hint="one for each map, in their order"
            )
        if maps == 1:
            return
        if not increasing(self.strides):
            message = f"{self.name}: large boxes take late maps, so strides go up"
            raise Problem(
                "SEG210", message, attr="strides", hint="list the maps from fine to coarse"
            )
        if self.canonical_level is None:
            message = f"{self.name}: which of {maps} maps does a box of {self.canonical_size} take?"
            hint = "`canonical_level: 2` for the third; the published level 4 of P2 to P5"
            raise Problem("SEG210", message, hint=hint)
        if self.canonical_level >= maps:
            message = f"{self.name}: level {self.canonical_level} of {maps} maps"
            hint = f"levels are counted from 0: from 0 to {maps - 1}"
            raise Problem("SEG210", message, attr="canonical_level", hint=hint)

    def levels(self, boxes: Boxes) -> Call:
        border = int(boxes.legacy)
        arguments = (X(0), self.strides, self.canonical_size, self.canonical_level)
        return Call("box_levels", arguments, {"border": border}, {"border": 0})


@op("assign_level")
class AssignLevel(RowOp, _Leveled):
    """The level of a pyramid that each box belongs to (Feature Pyramid Networks, equation 1).

    y[r] = floor(canonical_level + log2(sqrt(w * h) / canonical_size) + 1e-6), within the levels
    boxes: [R, 5] -> int [R], from 0
    Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017.
    """

    operands = ("boxes",)
    kinds = {"boxes": "boxes"}
    helpers = (BOX_LEVELS,)

    def infer(self, need: Need, boxes: Boxes) -> Tensor:
        in_pixels(boxes, self.name)
        if len(self.strides) < 2:
            message = "assign_level chooses among two or more maps"
            raise Problem("SEG210", message, attr="strides")
        self.check_levels(len(self.strides))
        return Tensor((boxes.shape[0],), "int")

    def expr(self, boxes: Boxes) -> Call:
        return self.levels(boxes)


@op("roi_align")
class RoiAlign(RowOp, _Leveled):
    """The mean of bilinear samples in each cell of a grid over each box (torchvision's roi_align).

    y[r,c,i,j] = mean of sampling_ratio**2 samples of the map in cell i, j of box r
    boxes: [R, 5], maps: [N, C, H, W] of one or several levels -> [R, C, *output_size]
    With several maps each box is pooled from that of its level, as assign_level has it.
    `aligned: false` (torchvision's networks) reads half a pixel further down and right than
    `aligned: true` (detectron2's), which takes pixel centres into account.
    He et al., Mask R-CNN, ICCV 2017.
    """

    operands = ("boxes", "*maps")
    kinds = {"boxes": "boxes"}
    least = 1
    helpers = (ROI_ALIGN_LEVELS, BOX_LEVELS)

    output_size: Pair = attr("height and width of each box's map", min=1)
    sampling_ratio: int = attr(
        "samples along each side of a cell; 0: as many as it has pixels", 2, min=0
    )
    aligned: bool = attr("shift samples by half a pixel, to pixel centres", False)

    def infer(self, need: Need, boxes: Boxes, *maps: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        self.check_levels(len(maps))
        n, c, *_ = feature_map(maps[0], self.name, 1)
        for i, x in enumerate(maps[1:], 2):
            batch, channels, *_ = feature_map(x, self.name, i)
            n = equal(need, n, batch, partial(self._differ, i, "images", n, batch))
            c = equal(need, c, channels, partial(self._differ, i, "channels", c, channels))
        return Tensor((boxes.shape[0], c, *self.output_size))

    def _differ(self, i: int, what: str, first: DimLike, other: DimLike) -> Problem:
        message = f"roi_align: the first map has {text(first)} {what}, map {i} has {text(other)}"
        hint = "a box takes its map by its size, so all have the same channels"
        return Problem("SEG203", message, operand=i, hint=hint)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[1])

    def expr(self, boxes: Boxes, *maps: Tensor) -> Expr:
        options = {"sampling_ratio": self.sampling_ratio, "aligned": self.aligned}
        if len(maps) == 1:
            one_map = (X(1), X(0), one(self.output_size), 1 / self.strides[0])
            return Call("ops.roi_align", one_map, options, {"sampling_ratio": -1, "aligned": False})
        listed = Listing(tuple(X(i + 1) for i in range(len(maps))))
        leveled = (X(0), self.levels(boxes), listed, self.strides, self.output_size)
        return Call("roi_align_levels", leveled, options, {"sampling_ratio": 2, "aligned": False})

    @property
    def style(self) -> Style:
        return Style("region", f"RoI align {by(self.output_size)}")


@op("roi_pool")
class RoiPool(Pooled):
    """The largest value in each cell of a grid over each box (torchvision.ops.roi_pool, Caffe's).

    y[r,c,i,j] = max of the map's pixels in cell i, j of box r; 0 where a cell has none
    boxes: [R, 5], x: [N, C, H, W] -> [R, C, *output_size]
    Corners are rounded to pixels of the map, which belong to the box: it is x2 - x1 + 1 wide, and
    cells, from the floor of their start to the ceiling of their end, share pixels. No gradient
    reaches the boxes.
    Girshick, Fast R-CNN, ICCV 2015.
    """

    stride: int = attr("stride of the map, pixels of the input", min=1)
    helpers = (
        Helper(
            "roi_pool",
            '''\
def roi_pool(boxes: Tensor, x: Tensor, output_size: tuple[int, int], stride: int) -> Tensor:
    """Maxima in a grid over boxes [R, 5] of x [N, C, H, W]: [R, C, *output_size].

    Boxes are more exact than a map of lower precision; they are pooled in that of the boxes.
    """
    return ops.roi_pool(x.to(boxes.dtype), boxes, output_size, 1 / stride).to(x.dtype)
''',
        ),
    )

    def expr(self, boxes: Boxes, x: Tensor) -> Call:
        return Call("roi_pool", (X(0), X(1), self.output_size, self.stride))

    @property
    def style(self) -> Style:
        return Style("region", f"RoI pool {by(self.output_size)}")


@op("spatial_pyramid_pool")
class SpatialPyramidPool(Op):
    """The largest values in the cells of several grids over the map, one after the other (SPP-net).

    y = concat over b of max(x in each of b * b cells), flattened channel by channel
    x: [N, C, H, W] -> [N, C * sum of b * b]
    A cell reaches from the floor of its start to the ceiling of its end, as in adaptive pooling.
    He et al., Spatial Pyramid Pooling in Deep Convolutional Networks, ECCV 2014.
    """

    bins: Ints = attr("cells along each side of the grids, in their order", (1, 2, 3, 6), min=1)
    examples = (
        Example({}, ((2, 3, 13, 9),)),
        Example({"bins": (4, 2, 1)}, ((1, 2, 5, 4),)),
    )
    helpers = (
        Helper(
            "spatial_pyramid_pool",
            '''\
def spatial_pyramid_pool(x: Tensor, bins: tuple[int, ...]) -> Tensor:
    """Maxima in grids of b x b cells: [N, C, H, W] -> [N, C * sum of b * b]."""
    return torch.cat([F.adaptive_max_pool2d(x, b).flatten(1) for b in bins], dim=1)
''',
        ),
    )

    def validate(self) -> None:
        if not self.bins:
            raise Problem("SEG210", "a pyramid needs a grid", attr="bins")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, *_ = feature_map(x, self.name)
        return Tensor((n, c * sum(b * b for b in self.bins)))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[0])

    def expr(self, x: Tensor) -> Call:
        return Call("spatial_pyramid_pool", (X(0), self.bins))

    @property
    def style(self) -> Style:
        return Style("context", f"SPP {', '.join(map(str, self.bins))}")


@op("spp_roi_pool")
class SppRoiPool(RowOp):
    """The largest values in the cells of several grids over each box (SPP-net's detector).

    y[r] = concat over b of max(x in each of b * b cells of box r), flattened channel by channel
    boxes: [R, 5], x: [N, C, H, W] -> [R, C * sum of b * b]
    The box takes the map's pixels from floor((x1 - origin + margin) / stride + 1/2) to
    ceil((x2 - origin - margin) / stride - 1/2), x1 and x2 being the centres of its first and last
    pixel; a box between two pixels takes the one in the middle. No gradient reaches the boxes.
    He et al., Spatial Pyramid Pooling in Deep Convolutional Networks, ECCV 2014.
    """

    operands = ("boxes", "x")
    kinds = {"boxes": "boxes"}

    stride: int = attr("stride of the map, pixels of the input", min=1)
    bins: Ints = attr("cells along each side of the grids, in their order", (1, 2, 3, 6), min=1)
    origin: float = attr("the pixel, counted from 0, under the map's first value", 0.0)
    margin: float = attr("pixels that a box is made smaller by on each side", 0.0)
    helpers = (
        Helper(
            "spp_roi_pool",
            '''\
def spp_roi_pool(
    boxes: Tensor,
    x: Tensor,
    stride: int,
    bins: tuple[int, ...],
    origin: float = 0.0,
    margin: float = 0.0,
    border: int = 0,
) -> Tensor:
    """Maxima in grids of b x b cells over boxes [R, 5] of x [N, C, H, W]: [R, C * sum of b * b].

    border: 1 for boxes of inclusive pixels.
    """
    low = ((boxes[:, 1:3] - origin + margin) / stride + 0.5).floor()
    high = ((boxes[:, 3:] - 1 + border - origin - margin) / stride - 0.5).ceil()
    middle = ((low + high) / 2).floor()
    limit = low.new_tensor([x.shape[3] - 1, x.shape[2] - 1])
    low, high = (torch.where(low > high, middle, side).clamp(min=0) for side in (low, high))
    cells = torch.cat([boxes[:, :1], torch.minimum(low, limit), torch.minimum(high, limit)], dim=1)
    pooled = (ops.roi_pool(x.to(boxes.dtype), cells, b).flatten(1) for b in bins)
    return torch.cat(list(pooled), dim=1).to(x.dtype)
''',
        ),
    )

    def validate(self) -> None:
        if not self.bins:
            raise Problem("SEG210", "a pyramid needs a grid", attr="bins")

    def infer(self, need: Need, boxes: Boxes, x: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        _, c, *_ = feature_map(x, self.name, 1)
        return Tensor((boxes.shape[0], c * sum(b * b for b in self.bins)))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[1])

    def expr(self, boxes: Boxes, x: Tensor) -> Call:
        values = {"origin": self.origin, "margin": self.margin, "border": int(boxes.legacy)}
        defaults = {"origin": 0.0, "margin": 0.0, "border": 0}
        return Call("spp_roi_pool", (X(0), X(1), self.stride, self.bins), values, defaults)

    @property
    def style(self) -> Style:
        return Style("region", f"SPP {', '.join(map(str, self.bins))}")
