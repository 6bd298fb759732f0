"""Masks and keypoints of rows: targets from the ground truth, results back in the image."""

from __future__ import annotations

from segc.code import Call, Helper, SizeOf, X
from segc.dim import text
from segc.op import Field, Need, Pair, Problem, Style, attr, op
from segc.ops.common import by, feature_map, ranked, sizes, whole
from segc.ops.region import in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Tensor


@op("mask_targets")
class MaskTargets(RowOp):
    """The mask of each box's object inside the box, at the size the mask head predicts.

    y[r] = gt_masks[match[r]] pooled in box r by roi_align (stride 1, adaptive samples)
    boxes: [R, 5], match: [R], gt_masks: [G, H, W] -> [R, *size], 0 for rows without an object
    Shares of pixels, as torchvision has them, unless a threshold makes 0 and 1 of them.
    He et al., Mask R-CNN, ICCV 2017.
    """

    operands = ("boxes", "match", "gt_masks")
    kinds = {"boxes": "boxes", "match": "match"}
    helpers = (
        Helper(
            "mask_targets",
            '''\
def mask_targets(
    boxes: Tensor, match: Tensor, masks: Tensor, size: tuple[int, int], aligned: bool = False
) -> Tensor:
    """The part of its object's mask in each box: boxes [R, 5], masks [G, H, W] -> [R, *size]."""
    targets = boxes.new_zeros(len(boxes), *size)
    rows = torch.where(match >= 0)[0]  # the others have no object
    regions = torch.cat([match[rows, None].to(boxes.dtype), boxes[rows, 1:]], dim=1)
    found = ops.roi_align(masks[:, None].to(boxes.dtype), regions, size, aligned=aligned)
    targets[rows] = found[:, 0]
    return targets
''',
        ),
        Helper(
            "binary_mask_targets",
            '''\
def binary_mask_targets(
    boxes: Tensor,
    match: Tensor,
    masks: Tensor,
    size: tuple[int, int],
    threshold: float,
    aligned: bool = False,
) -> Tensor:
    """As mask_targets, 1 where the mask covers at least the share `threshold` of a pixel."""
    targets = mask_targets(boxes, match, masks, size, aligned)
    return (targets >= threshold).to(boxes.dtype)
''',
        ),
    )

    size: Pair = attr("height and width of a target", min=1)
    aligned: bool = attr("sample at pixel centres, as roi_align's `aligned`", False)
    threshold: float | None = attr("1 from this share on, else 0; default: shares", None, min=0)

    def infer(self, need: Need, boxes: Boxes, match: Match, gt_masks: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        same_rows(need, boxes.shape[0], match.shape[0], "mask_targets pairs boxes and matches")
        ranked(gt_masks, self.name, (3,), "masks [G, H, W], one for each object", 2)
        what = "mask_targets takes the masks of the matched objects"
        same_rows(need, match.target, gt_masks.shape[0], what, 2)
        return Tensor((boxes.shape[0], *self.size))

    def expr(self, boxes: Boxes, match: Match, gt_masks: Tensor) -> Call:
        options, defaults = {"aligned": self.aligned}, {"aligned": False}
        arguments = (X(0), X(1), X(2), self.size)
        if self.threshold is None:
            return Call("mask_targets", arguments, options, defaults)
        return Call("binary_mask_targets", (*arguments, self.threshold), options, defaults)

    @property
    def style(self) -> Style:
        return Style("region", f"mask targets {by(self.size)}")


@op("paste_masks")
class PasteMasks(RowOp):
    """The masks of boxes at their places in the image (torchvision's paste_masks_in_image).

    y[r] = mask r resized to box r, in an image of zeros
    masks: [R, h, w] or [R, 1, h, w], boxes: [R, 5], image: [N, C, H, W] -> [R, 1, H, W]
    A border of one zero is added to the mask and the box enlarged to match, corners are cut to
    whole pixels, and the mask is resized bilinearly to them. Values stay what they are:
    probabilities, to be held against a threshold.
    """

    operands = ("masks", "boxes", "image")
    kinds = {"boxes": "boxes"}
    helpers = (
        Helper(
            "paste_masks",
            '''\
def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [R, h, w] where their boxes [R, 5] are in an image of `size`: [R, 1, *size].

    A border of one zero is added to the masks and the boxes grow with them; corners are cut off
    to whole pixels, both of which belong to the box.
    """
    height, width = masks.shape[-2:]
    growth = boxes.new_tensor([(width + 2) / width, (height + 2) / height])
    padded = F.pad(masks, (1, 1, 1, 1))
    center = (boxes[:, 3:] + boxes[:, 1:3]) * 0.5
    half = (boxes[:, 3:] - boxes[:, 1:3]) * 0.5 * growth
    corners = torch.cat([center - half, center + half], dim=1).long().tolist()
    pasted = masks.new_zeros(len(masks), 1, *size)
    for row, (left, top, right, bottom) in enumerate(corners):
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(right + 1, size[1]), min(bottom + 1, size[0])
        if x1 < x2 and y1 < y2:  # some of it is in the image
            extent = (max(bottom - top + 1, 1), max(right - left + 1, 1))
            mask = F.interpolate(padded[row][None, None], extent, mode="bilinear")[0, 0]
            pasted[row, 0, y1:y2, x1:x2] = mask[y1 - top : y2 - top, x1 - left : x2 - left]
    return pasted
''',
        ),
    )

    def infer(self, need: Need, masks: Tensor, boxes: Boxes, image: Tensor) -> Tensor:
        ranked(masks, self.name, (3, 4), "a mask [R, h, w] or [R, 1, h, w] for each box")
        if len(masks.shape) == 4 and masks.shape[1] != 1:
            message = f"paste_masks takes one mask for each box, got {text(masks.shape[1])}"
            hint = "`by_class` picks the mask of each row's class"
            raise Problem("SEG201", f"{message}: {sizes(masks.shape)}", operand=0, hint=hint)
        same_rows(need, masks.shape[0], boxes.shape[0], "paste_masks pairs masks and boxes")
        in_pixels(boxes, self.name, 1)
        _, _, h, w = feature_map(image, self.name, 2)
        return Tensor((boxes.shape[0], 1, h, w))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[2])

    def expr(self, masks: Tensor, boxes: Boxes, image: Tensor) -> Call:
        flat = X(0) if len(masks.shape) == 3 else Call("torch.squeeze", (X(0), 1))
        return Call("paste_masks", (flat, X(1), SizeOf(2)))
