"""Keypoints of rows: cells of a heat map as targets, places in the image as results."""

from __future__ import annotations

from segc.code import Call, Helper, X
from segc.dim import text
from segc.op import Need, Problem, Style, attr, op
from segc.ops.common import ranked, sizes
from segc.ops.region import in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Tensor


@op("keypoint_targets")
class KeypointTargets(RowOp):
    """The cell of a grid over its box that each keypoint is in (torchvision's keypoint heads).

    y[r,k] = row * size + column of keypoint k of object match[r]; -1 if not labelled or outside
    boxes: [R, 5], match: [R], keypoints: [G, K, 3] (x, y, visibility) -> int [R, K]
    Targets of a cross-entropy over the size * size cells of each keypoint's map, -1 ignored.
    He et al., Mask R-CNN, ICCV 2017.
    """

    operands = ("boxes", "match", "keypoints")
    kinds = {"boxes": "boxes", "match": "match"}

    size: int = attr("cells along each side of the grid", min=1)
    helpers = (
        Helper(
            "keypoint_targets",
            '''\
def keypoint_targets(boxes: Tensor, match: Tensor, keypoints: Tensor, size: int) -> Tensor:
    """The cell of its box [R, 5] that each of the object's keypoints [G, K, 3] is in: int64 [R, K].

    Cells of a size x size grid, row by row; -1 for keypoints not labelled or outside the box.
    """
    targets = match.new_full((len(match), keypoints.shape[1]), -1)
    rows = torch.where(match >= 0)[0]  # the others have no object
    points, corners = keypoints[match[rows]], boxes[rows, None, 1:]
    place, low, high = points[:, :, :2], corners[:, :, :2], corners[:, :, 2:]
    cells = ((place - low) * (size / (high - low))).floor().long()
    cells = torch.where(place == high, size - 1, cells)  # the far edge is of the last cell
    found = ((cells >= 0) & (cells < size)).all(dim=2) & (points[:, :, 2] > 0)
    targets[rows] = torch.where(found, cells[:, :, 1] * size + cells[:, :, 0], -1)
    return targets
''',
        ),
    )

    def infer(self, need: Need, boxes: Boxes, match: Match, keypoints: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        same_rows(need, boxes.shape[0], match.shape[0], f"{self.name} pairs boxes and matches")
        ranked(keypoints, self.name, (3,), "keypoints [G, K, 3]", 2)
        if keypoints.shape[2] != 3:
            message = f"a keypoint is x, y and visibility, these have {text(keypoints.shape[2])}"
            raise Problem("SEG201", f"{message} values", operand=2)
        what = f"{self.name} takes the keypoints of the matched objects"
        same_rows(need, match.target, keypoints.shape[0], what, 2)
        return Tensor((boxes.shape[0], keypoints.shape[1]), "int")

    def expr(self, boxes: Boxes, match: Match, keypoints: Tensor) -> Call:
        return Call("keypoint_targets", (X(0), X(1), X(2), self.size))

    @property
    def style(self) -> Style:
        return Style("region", f"keypoint targets {self.size}")


@op("keypoint_decode")
class KeypointDecode(RowOp):
    """Keypoints where their heat maps are largest (torchvision's heatmaps_to_keypoints).

    y[r,k] = the place of the largest value of map k resized to box r; its visibility is 1
    heatmaps: [R, K, h, w], boxes: [R, 5] -> [R, K, 3] (x, y, 1); port `scores`: the value, [R, K]
    Maps are resized bicubically to whole pixels of the box, at least one.
    """

    operands = ("heatmaps", "boxes")
    kinds = {"boxes": "boxes"}
    helpers = (
        Helper(
            "keypoint_decode",
            '''\
def keypoint_decode(heatmaps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Where heat maps [R, K, h, w] are largest inside boxes [R, 5]: x, y, 1 [R, K, 3] and the
    value there [R, K], in the precision of the boxes."""
    heatmaps = heatmaps.to(boxes.dtype)
    extent = (boxes[:, 3:] - boxes[:, 1:3]).clamp(min=1)
    pixels = extent.ceil()
    points = heatmaps.new_ones(*heatmaps.shape[:2], 3)
    scores = heatmaps.new_zeros(heatmaps.shape[:2])
    for row, (width, height) in enumerate(pixels.long().tolist()):
        inside = F.interpolate(heatmaps[row, :, None], (height, width), mode="bicubic")
        scores[row], place = inside.flatten(1).max(dim=1)
        cell = torch.stack([place % width, place // width], dim=1)
        points[row, :, :2] = (cell + 0.5) * (extent[row] / pixels[row]) + boxes[row, 1:3]
    return points, scores
''',
        ),
    )

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "scores")

    def infer(self, need: Need, heatmaps: Tensor, boxes: Boxes) -> tuple[Tensor, Tensor]:
        form = f"heat maps [R, K, h, w], got {sizes(heatmaps.shape)}"
        ranked(heatmaps, self.name, (4,), form)
        in_pixels(boxes, self.name, 1)
        what = f"{self.name} pairs heat maps and boxes"
        same_rows(need, heatmaps.shape[0], boxes.shape[0], what)
        rows, points, *_ = heatmaps.shape
        return Tensor((rows, points, 3)), Tensor((rows, points))

    def expr(self, heatmaps: Tensor, boxes: Boxes) -> Call:
        return Call("keypoint_decode", (X(0), X(1)))
