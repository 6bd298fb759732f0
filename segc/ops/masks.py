"""Masks of rows: targets from the ground truth, results back in the image."""

from __future__ import annotations

from segc.code import Call, Expr, Helper, SizeOf, X
from segc.dim import text
from segc.op import Field, Need, Pair, Problem, Style, attr, op
from segc.ops.common import by, feature_map, ranked, sizes, whole
from segc.ops.region import in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.ops.warp import CROP, CROP_AXIS, SAMPLE
from segc.types import Boxes, Match, Tensor

FIT = Helper(
    "fit_masks",
    '''\
def fit_masks(
    masks: Tensor, corners: Tensor, size: tuple[int, int]
) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Masks [R, h, w] resized to whole pixels x1 to x2 and y1 to y2, corners [R, 4] included.

    Of each what is inside an image of `size`, and where that is: x1, y1 and the pixels after it.
    """
    fitted = []
    for mask, (left, top, right, bottom) in zip(masks, corners.long().tolist(), strict=True):
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = max(min(right + 1, size[1]), x1), max(min(bottom + 1, size[0]), y1)
        extent = (max(bottom - top + 1, 1), max(right - left + 1, 1))
        resized = F.interpolate(mask[None, None], extent, mode="bilinear")[0, 0]
        fitted.append((resized[y1 - top : y2 - top, x1 - left : x2 - left], (x1, y1, x2, y2)))
    return fitted
''',
)


def one_mask(masks: Tensor, op: str, operand: int = 0) -> Tensor:
    """Demand one mask for each row, [R, h, w] or [R, 1, h, w]."""
    ranked(masks, op, (3, 4), "a mask [R, h, w] or [R, 1, h, w] for each box", operand)
    if len(masks.shape) == 4 and masks.shape[1] != 1:
        message = f"{op} takes one mask for each box, got {text(masks.shape[1])}"
        hint = "`by_class` picks the mask of each row's class"
        raise Problem("SEG201", f"{message}: {sizes(masks.shape)}", operand=operand, hint=hint)
    return masks


def flat(masks: Tensor, index: int) -> Expr:
    """The masks as code, [R, h, w]."""
    return X(index) if len(masks.shape) == 3 else Call("torch.squeeze", (X(index), 1))


def matched_masks(need: Need, match: Match, masks: Tensor, op: str, operand: int) -> None:
    """Demand the masks [G, H, W] of the objects that rows are matched with."""
    ranked(masks, op, (3,), "masks [G, H, W], one for each object", operand)
    what = f"{op} takes the masks of the matched objects"
    same_rows(need, match.target, masks.shape[0], what, operand)


@op("mask_targets")
class MaskTargets(RowOp):
    """The mask of each box's object inside the box, at the size the mask head predicts.

    y[r] = gt_masks[match[r]] pooled in box r by roi_align (stride 1, adaptive samples)
    boxes: [R, 5], match: [R], gt_masks: [G, H, W] -> [R, *size], 0 for rows without an object
    Shares of pixels, as torchvision has them, unless a threshold makes 0 and 1 of them.
    `sampling: resize` resizes what is in the box instead, as crop_and_resize does (MNC's targets).
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
            "resized_mask_targets",
            '''\
def resized_mask_targets(
    boxes: Tensor, match: Tensor, masks: Tensor, size: tuple[int, int], border: int = 0
) -> Tensor:
    """The pixels of its object's mask in each box, resized: masks [G, H, W] -> [R, *size]."""
    targets = boxes.new_zeros(len(boxes), *size)
    rows = torch.where(match >= 0)[0]  # the others have no object
    regions = torch.cat([match[rows, None].to(boxes.dtype), boxes[rows, 1:]], dim=1)
    found = crop_and_resize(regions, masks[:, None].to(boxes.dtype), size, border=border)
    targets[rows] = found[:, 0]
    return targets
''',
        ),
        Helper(
            "at_least",
            '''\
def at_least(x: Tensor, threshold: float) -> Tensor:
    """1 where x is at least the threshold, else 0."""
    return (x >= threshold).to(x.dtype)
''',
        ),
        CROP,
        CROP_AXIS,
        SAMPLE,
    )

    size: Pair = attr("height and width of a target", min=1)
    aligned: bool = attr("sample at pixel centres, as roi_align's `aligned`", False)
    threshold: float | None = attr("1 from this share on, else 0; default: shares", None, min=0)
    sampling: str = attr("how the mask is brought to size", "align", choices=("align", "resize"))

    def validate(self) -> None:
        if self.aligned and self.sampling == "resize":
            message = "`aligned` says how roi_align samples, `sampling: resize` does not use it"
            raise Problem("SEG210", message, attr="aligned")

    def infer(self, need: Need, boxes: Boxes, match: Match, gt_masks: Tensor) -> Tensor:
        in_pixels(boxes, self.name)
        same_rows(need, boxes.shape[0], match.shape[0], f"{self.name} pairs boxes and matches")
        matched_masks(need, match, gt_masks, self.name, 2)
        return Tensor((boxes.shape[0], *self.size))

    def expr(self, boxes: Boxes, match: Match, gt_masks: Tensor) -> Call:
        arguments = (X(0), X(1), X(2), self.size)
        if self.sampling == "align":
            found = Call("mask_targets", arguments, {"aligned": self.aligned}, {"aligned": False})
        else:
            border = {"border": int(boxes.legacy)}
            found = Call("resized_mask_targets", arguments, border, {"border": 0})
        return found if self.threshold is None else Call("at_least", (found, self.threshold))

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
    fitted = fit_masks(padded, torch.cat([center - half, center + half], dim=1), size)
    pasted = masks.new_zeros(len(masks), 1, *size)
    for row, (mask, (x1, y1, x2, y2)) in enumerate(fitted):
        pasted[row, 0, y1:y2, x1:x2] = mask
    return pasted
''',
        ),
        FIT,
    )

    def infer(self, need: Need, masks: Tensor, boxes: Boxes, image: Tensor) -> Tensor:
        one_mask(masks, self.name)
        same_rows(need, masks.shape[0], boxes.shape[0], "paste_masks pairs masks and boxes")
        in_pixels(boxes, self.name, 1)
        _, _, h, w = feature_map(image, self.name, 2)
        return Tensor((boxes.shape[0], 1, h, w))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[2])

    def expr(self, masks: Tensor, boxes: Boxes, image: Tensor) -> Call:
        return Call("paste_masks", (flat(masks, 0), X(1), SizeOf(2)))
