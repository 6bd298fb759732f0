"""Bilinear samples inside boxes: warps, crops and upsampled categories.

They share one function, which reads a map at the rows and columns that each box asks for.
"""

from __future__ import annotations

from segc.code import Call, Expr, Helper, SizeOf, X
from segc.dim import text
from segc.op import Field, Need, Pair, Problem, Style, attr, op
from segc.ops.common import by, count, feature_map, known, sizes, whole
from segc.ops.region import Pooled, in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Tensor

SAMPLE = Helper(
    "sample_in_boxes",
    '''\
def sample_in_boxes(
    x: Tensor, number: Tensor, rows: Tensor, columns: Tensor, padding_mode: str = "zeros"
) -> Tensor:
    """Bilinear samples of the map number[r] of x [N, C, H, W], for each r: [R, C, h, w].

    They are taken at rows [R, h] and columns [R, w], in pixels with their centres at 0, 1, ...
    """
    height, width = x.shape[2:]
    v, u = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    shape = (len(rows), rows.shape[1], columns.shape[1])
    grid = torch.stack([u[:, None].expand(shape), v[:, :, None].expand(shape)], dim=3)
    sampled = x.new_zeros(len(rows), x.shape[1], *shape[1:])
    for n in range(len(x)):
        mine = torch.where(number == n)[0]
        places = grid[mine].flatten(0, 1)[None]
        found = F.grid_sample(x[n, None], places, padding_mode=padding_mode, align_corners=False)
        found = found[0].unflatten(1, (len(mine), shape[1])).transpose(0, 1)
        sampled[mine] = found.to(sampled.dtype)
    return sampled
''',
)
CROP = Helper(
    "crop_and_resize",
    '''\
def crop_and_resize(
    boxes: Tensor, x: Tensor, output_size: tuple[int, int], context: int = 0, border: int = 0
) -> Tensor:
    """What of x [N, C, H, W] is in each box [R, 5], resized to output_size: [R, C, h, w].

    Boxes are rounded to pixels. With `context` they grow until that many pixels of the result, on
    each side, are from around the box. Pixels outside x are 0. border: 1 for inclusive pixels.
    """
    (height, width), (h, w) = x.shape[2:], output_size
    boxes = boxes.detach()
    rows, in_rows = crop_axis(boxes[:, 2], boxes[:, 4] + border, height, h, context)
    columns, in_columns = crop_axis(boxes[:, 1], boxes[:, 3] + border, width, w, context)
    sampled = sample_in_boxes(x, boxes[:, 0], rows, columns, "border")
    return sampled * (in_rows[:, :, None] & in_columns[:, None])[:, None]
''',
)
CROP_AXIS = Helper(
    "crop_axis",
    '''\
def crop_axis(
    start: Tensor, end: Tensor, limit: int, size: int, context: int
) -> tuple[Tensor, Tensor]:
    """Along one axis of `limit` pixels: where the `size` samples of each box are taken, [R, size],
    and which of them are inside."""
    last = end - 1  # the last pixel of the box
    if context:
        center, half = (start + end) / 2, (end - start) / 2 * (size / (size - 2 * context))
        start, last = center - half, center + half
    start = (start + 0.5).floor()
    last = torch.maximum((last + 0.5).floor(), start)
    scale = size / (last - start + 1)
    first = start.clamp(min=0)
    inside = (last.clamp(max=limit - 1) - first + 1).clamp(min=0)  # pixels of it that there are
    skipped = ((first - start) * scale + 0.5).floor()
    kept = torch.minimum((inside * scale + 0.5).floor(), size - skipped)
    sample = torch.arange(size, device=start.device) - skipped[:, None]
    place = (sample + 0.5) * (inside / kept.clamp(min=1))[:, None] - 0.5
    place = torch.minimum(place.clamp(min=0), (inside - 1).clamp(min=0)[:, None])
    return first[:, None] + place, (sample >= 0) & (sample < kept[:, None])
''',
)


@op("roi_warp")
class RoiWarp(Pooled):
    """Samples at the start of each cell of a grid over each box, which learns too (MNC's warping).

    y[r,c,i,j] = x[c] at (y1 + i/h * (y2 - y1), x1 + j/w * (x2 - x1)), bilinear; 0 outside the map
    boxes: [R, 5], x: [N, C, H, W] -> [R, C, *output_size]
    Corners are rounded to pixels of the map; a box is x2 - x1 wide. The gradient reaches the map
    and all four coordinates, as if they were not rounded.
    Dai et al., Instance-aware Semantic Segmentation via Multi-task Network Cascades, CVPR 2016.
    """

    stride: int = attr("stride of the map, pixels of the input", min=1)
    helpers = (
        Helper(
            "roi_warp",
            '''\
def roi_warp(boxes: Tensor, x: Tensor, stride: int, output_size: tuple[int, int]) -> Tensor:
    """Bilinear samples at the start of each cell over boxes [R, 5]: [R, C, *output_size].

    Boxes are rounded to pixels of x [N, C, H, W]; the gradient passes as if they were not.
    """
    scaled = boxes[:, 1:] / stride
    corners = (scaled.detach() + 0.5).floor() + (scaled - scaled.detach())
    start, extent = corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp(min=0)
    columns, rows = (
        start[:, axis, None] + extent[:, axis, None] / n * torch.arange(n, device=x.device)
        for axis, n in enumerate(reversed(output_size))
    )
    height, width = x.shape[2:]
    in_rows = (rows >= -0.5) & (rows <= height - 0.5)
    in_columns = (columns >= -0.5) & (columns <= width - 0.5)
    sampled = sample_in_boxes(x, boxes[:, 0], rows, columns, "border")
    return sampled * (in_rows[:, :, None] & in_columns[:, None])[:, None]
''',
        ),
        SAMPLE,
    )

    def expr(self, boxes: Boxes, x: Tensor) -> Call:
        return Call("roi_warp", (X(0), X(1), self.stride, self.output_size))

    @property
    def style(self) -> Style:
        return Style("region", f"RoI warp {by(self.output_size)}")


@op("bilinear_roi_pool")
class BilinearRoiPool(Pooled):
    """Samples at the corners of a grid that spans each box, which learns too (DenseCap).

    y[r,c,i,j] = x[c] at the grid's point i, j, bilinear; 0 outside the map
    boxes: [R, 5], x: [N, C, H, W], image: [N, D, Hi, Wi] -> [R, C, *output_size]
    In coordinates from -1 to 1, the centres of the first and last pixel: the point v of -1 … 1 is
    2 yc / (Hi - 1) - 1 + v * h / Hi, in the map as in the image. Gradients reach map and boxes.
    Johnson, Karpathy, Fei-Fei, DenseCap, CVPR 2016.
    """

    operands = ("boxes", "x", "image")

    output_size: Pair = attr("height and width of each box's map", min=2)
    helpers = (
        Helper(
            "bilinear_roi_pool",
            '''\
def bilinear_roi_pool(
    boxes: Tensor,
    x: Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    border: int = 0,
) -> Tensor:
    """Bilinear samples at the points of a grid over boxes [R, 5]: [R, C, *output_size].

    Image and map x [N, C, H, W] both reach from -1 to 1, at the centres of their outermost pixels.
    border: 1 for boxes of inclusive pixels.
    """
    center = (boxes[:, 1:3] + boxes[:, 3:] - 1 + border) / 2  # pixels with centres at 0, 1, ...
    extent = boxes[:, 3:] - boxes[:, 1:3] + border
    columns, rows = (
        2 * center[:, axis, None] / (pixels - 1)
        + extent[:, axis, None] / pixels * torch.arange(1 - n, n, 2).to(boxes) / (n - 1)
        for axis, (pixels, n) in enumerate(zip(image_size[::-1], output_size[::-1], strict=True))
    )
    height, width = x.shape[2:]
    rows, columns = rows * (height - 1) / 2, columns * (width - 1) / 2
    return sample_in_boxes(x, boxes[:, 0], rows, columns)
''',
        ),
        SAMPLE,
    )

    def infer(self, need: Need, boxes: Boxes, x: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        for size in feature_map(image, self.name, 2)[2:]:
            message = f"{self.name} divides by the image's size less one, here {text(size)} - 1"
            need.at_least(size, 2, Problem("SEG205", message, operand=2))
        return super().infer(need, boxes, x)

    def expr(self, boxes: Boxes, x: Tensor, image: Tensor) -> Call:
        values = {"border": int(boxes.legacy)}
        arguments = (X(0), X(1), SizeOf(2), self.output_size)
        return Call("bilinear_roi_pool", arguments, values, {"border": 0})

    @property
    def style(self) -> Style:
        return Style("region", f"bilinear pool {by(self.output_size)}")


@op("crop_and_resize")
class CropAndResize(Pooled):
    """What is in each box, resized bilinearly without smoothing (R-CNN's warped regions, DeepPose).

    y[r] = the pixels of box r resized to output_size, 0 for those outside the image
    boxes: [R, 5], x: [N, C, H, W] -> [R, C, *output_size]
    Boxes are rounded to pixels. With `context` p they grow by size / (size - 2p) first, so that a
    border of p pixels of the result is from around the box. No gradient reaches the boxes.
    Girshick et al., Rich Feature Hierarchies, CVPR 2014 (its code: 227 pixels, context 16).
    """

    context: int = attr("pixels of the result around the box, on each side", 0, min=0)
    helpers = (CROP, CROP_AXIS, SAMPLE)

    def validate(self) -> None:
        if 2 * self.context >= min(self.output_size):
            message = f"{self.context} pixels of context on each side leave nothing of "
            message += f"{by(self.output_size)}"
            raise Problem("SEG210", message, attr="context")

    def expr(self, boxes: Boxes, x: Tensor) -> Call:
        values = {"context": self.context, "border": int(boxes.legacy)}
        arguments = (X(0), X(1), self.output_size)
        return Call("crop_and_resize", arguments, values, {"context": 0, "border": 0})

    @property
    def style(self) -> Style:
        return Style("region", f"crop to {by(self.output_size)}")


@op("box_upsample")
class BoxUpsample(RowOp):
    """The channels of each box's category inside the box, upsampled (hypercolumns' refinement).

    y[r,k,i,j] = x[channels * (category[r] - first) + k] at the centre of cell i, j of box r
    boxes: [R, 5], category: int [R], x: [N, G * channels, H, W], image: [N, D, Hi, Wi]
    -> [R, channels, *output_size]; bilinear, the outermost pixels go on beyond the map
    A box is (x1 - 1/2) / (Wi - 1) to (x2 + 1/2) / (Wi - 1) of the map's width, x1 and x2 being the
    centres of its first and last pixel. No gradient reaches the boxes.
    Hariharan et al., Hypercolumns, CVPR 2015 (the code for Fast R-CNN).
    """

    operands = ("boxes", "category", "x", "image")
    kinds = {"boxes": "boxes"}

    channels: int = attr("channels of each category", min=1)
    output_size: Pair = attr("height and width of each box's map", min=1)
    first: int = attr("the category of the first group of channels", 0, min=0)
    helpers = (
        Helper(
            "box_upsample",
            '''\
def box_upsample(
    boxes: Tensor,
    category: Tensor,
    x: Tensor,
    image_size: tuple[int, int],
    channels: int,
    output_size: tuple[int, int],
    border: int = 0,
) -> Tensor:
    """Bilinear samples of each category's channels in boxes [R, 5]: [R, channels, *output_size].

    x: [N, G * channels, H, W], category: int64 [R] from 0. border: 1 for inclusive pixels.
    """
    maps = x.unflatten(1, (-1, channels))
    number = boxes[:, 0].long() * maps.shape[1] + category
    low, high = boxes[:, 1:3].detach() - 0.5, boxes[:, 3:].detach() - 0.5 + border
    columns, rows = (
        (low[:, axis, None] + (high - low)[:, axis, None] * torch.arange(0.5, n).to(boxes) / n)
        * (x.shape[3 - axis] / (image_size[1 - axis] - 1))
        - 0.5
        for axis, n in enumerate(reversed(output_size))
    )
    return sample_in_boxes(maps.flatten(0, 1), number, rows, columns, "border")
''',
        ),
        SAMPLE,
    )

    def infer(self, need: Need, boxes: Boxes, category: Tensor, x: Tensor, image: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        if category.dtype != "int" or len(category.shape) != 1:
            message = f"{self.name} takes the category of each box, int [R], got "
            raise Problem("SEG201", message + sizes(category.shape), operand=1)
        same_rows(need, boxes.shape[0], category.shape[0], f"{self.name} pairs boxes, categories")
        c = known(feature_map(x, self.name, 2)[1], self.name)
        if c % self.channels:
            message = f"{count(c, 'channel')} do not divide into categories of {self.channels}"
            raise Problem("SEG202", message, attr="channels", operand=2)
        for size in feature_map(image, self.name, 3)[2:]:
            message = f"{self.name} divides by the image's size less one, here {text(size)} - 1"
            need.at_least(size, 2, Problem("SEG205", message, operand=3))
        return Tensor((boxes.shape[0], self.channels, *self.output_size))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[2])

    def expr(self, boxes: Boxes, category: Tensor, x: Tensor, image: Tensor) -> Expr:
        values = {"border": int(boxes.legacy)}
        group = X(1) if self.first == 0 else Call("torch.sub", (X(1), self.first))
        arguments = (X(0), group, X(2), SizeOf(3), self.channels, self.output_size)
        return Call("box_upsample", arguments, values, {"border": 0})

    @property
    def style(self) -> Style:
        return Style("region", f"box upsample {by(self.output_size)}")
