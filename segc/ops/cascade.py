"""Masks inside a cascade of tasks: what later stages and the last step make of predicted ones."""

from __future__ import annotations

from fractions import Fraction

from segc.code import Call, Helper, SizeOf, X
from segc.op import Example, Field, Need, Op, Pair, Problem, Style, attr, op
from segc.ops.common import by, feature_map, gathered, ranked, sizes, whole
from segc.ops.masks import FIT, flat, matched_masks, one_mask
from segc.ops.region import in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Tensor


def integers(values: Tensor, op: str, operand: int) -> None:
    """Demand whole numbers, one for each row."""
    if values.dtype != "int" or len(values.shape) != 1:
        message = f"{op} takes a label for each row, int [R], got {sizes(values.shape)}"
        raise Problem("SEG201", f"{message} ({values.dtype})", operand=operand)


@op("mask_labels")
class MaskLabels(RowOp):
    """The class of each row whose predicted mask is good enough, 0 for others (MNC's third stage).

    y[r] = gt_labels[match[r]] if IoU(mask r in box r, gt_masks[match[r]]) >= overlap, else 0
    masks: [R, h, w] or [R, 1, h, w], boxes: [R, 5], match: [R], gt_masks: [G, H, W],
    gt_labels: int [G] -> int [R], -1 for rows left out. A mask is resized to its box, whose
    corners are rounded to pixels, and is what reaches the threshold.
    Dai et al., Instance-aware Semantic Segmentation via Multi-task Network Cascades, CVPR 2016.
    """

    operands = ("masks", "boxes", "match", "gt_masks", "gt_labels")
    kinds = {"boxes": "boxes", "match": "match"}

    threshold: float = attr("a pixel is of the object from this probability on", 0.4, min=0)
    overlap: float = attr("smallest IoU of a mask that is the object's", 0.5, min=0, max=1)
    helpers = (
        Helper(
            "mask_labels",
            '''\
def mask_labels(
    masks: Tensor,
    boxes: Tensor,
    match: Tensor,
    gt_masks: Tensor,
    gt_labels: Tensor,
    threshold: float,
    overlap: float,
    border: int = 0,
) -> Tensor:
    """The labels of rows whose masks [R, h, w] in boxes [R, 5] agree with their object's: [R].

    0 for rows without one, or whose mask has too small an IoU; -1 for rows left out.
    """
    labels = torch.where(match == -2, -1, 0)
    rows = torch.where(match >= 0)[0]
    corners = (boxes[rows, 1:] + 0.5).floor() - boxes.new_tensor([0, 0, 1 - border, 1 - border])
    fitted = fit_masks(masks[rows], corners, gt_masks.shape[1:])
    for row, (mask, (x1, y1, x2, y2)) in zip(rows.tolist(), fitted, strict=True):
        found, truth = mask >= threshold, gt_masks[match[row]] > 0.5
        shared = (found & truth[y1:y2, x1:x2]).sum()
        union = (found.sum() + truth.sum() - shared).clamp(min=1)
        labels[row] = torch.where(shared / union >= overlap, gt_labels[match[row]], 0)
    return labels
''',
        ),
        FIT,
    )

    def infer(
        self, need: Need, masks: Tensor, boxes: Boxes, match: Match, gt_masks: Tensor, gt: Tensor
    ) -> Tensor:
        one_mask(masks, self.name)
        in_pixels(boxes, self.name, 1)
        same_rows(need, masks.shape[0], boxes.shape[0], f"{self.name} pairs masks and boxes")
        what = f"{self.name} pairs boxes and matches"
        same_rows(need, boxes.shape[0], match.shape[0], what, 2)
        matched_masks(need, match, gt_masks, self.name, 3)
        integers(gt, self.name, 4)
        what = f"{self.name} takes the labels of the matched objects"
        same_rows(need, match.target, gt.shape[0], what, 4)
        return Tensor((boxes.shape[0],), "int")

    def expr(self, masks: Tensor, boxes: Boxes, match: Match, gt_masks: Tensor, gt: Tensor) -> Call:
        arguments = (flat(masks, 0), X(1), X(2), X(3), X(4), self.threshold, self.overlap)
        return Call("mask_labels", arguments, {"border": int(boxes.legacy)}, {"border": 0})


@op("vote_masks")
class VoteMasks(RowOp):
    """Each detection's mask as all instances near it have it, by their scores (MNC's voting).

    y[d] = 1 where sum over r of w[r] * (mask r >= threshold) >= threshold, else 0
    boxes: [D, 5] and labels: int [D] of the detections; instances: [R, 5], masks: [R, h, w] or
    [R, 1, h, w] and scores: [R, C] of all instances; image: [N, D, H, W]
    -> [D, 1, H, W]; port `boxes`: [D, 5], around the voted mask (as it was where that is empty)
    An instance votes if its box has an IoU of at least `iou` with the detection's; its weight is
    its score for the detection's class, and all weights add up to 1.
    Dai et al., Instance-aware Semantic Segmentation via Multi-task Network Cascades, CVPR 2016.
    """

    operands = ("boxes", "labels", "instances", "masks", "scores", "image")
    kinds = {"boxes": "boxes", "instances": "boxes"}

    iou: float = attr("smallest IoU of boxes that vote", 0.5, min=0, max=1)
    threshold: float = attr("a pixel is of the object from this probability on", 0.4, min=0)
    helpers = (
        Helper(
            "vote_masks",
            '''\
def vote_masks(
    boxes: Tensor,
    labels: Tensor,
    instances: Tensor,
    masks: Tensor,
    scores: Tensor,
    size: tuple[int, int],
    iou: float,
    threshold: float,
    border: int = 0,
) -> tuple[Tensor, Tensor]:
    """The masks of detections [D, 5] by the votes of instances [R, 5], and the boxes around them.

    masks [R, h, w], scores [R, C], size of the image -> [D, 1, *size] of 0 and 1, [D, 5].
    """
    end = boxes.new_tensor([0, 0, border, border])
    near = ops.box_iou(boxes[:, 1:] + end, instances[:, 1:] + end) >= iou
    near = near & (boxes[:, :1] == instances[:, 0])
    weights = scores[:, labels].t().to(boxes.dtype) * near
    weights = weights / weights.sum(dim=1, keepdim=True)
    corners = (instances[:, 1:] + 0.5).floor() + end - boxes.new_tensor([0, 0, 1, 1])
    fitted = fit_masks(masks, corners, size)
    voted, found = boxes.new_zeros(len(boxes), 1, *size), boxes.clone()
    for row, votes in enumerate(voted[:, 0]):
        for instance in torch.where(near[row])[0].tolist():
            mask, (x1, y1, x2, y2) = fitted[instance]
            votes[y1:y2, x1:x2] += weights[row, instance] * (mask >= threshold)
        votes.copy_(votes >= threshold)
        place = votes.nonzero().flip(1).to(boxes.dtype)  # x, y
        if len(place) > 0:
            found[row, 1:] = torch.cat([place.amin(dim=0), place.amax(dim=0) + 1 - border])
    return voted, found
''',
        ),
        FIT,
    )

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "boxes")

    def infer(
        self,
        need: Need,
        boxes: Boxes,
        labels: Tensor,
        instances: Boxes,
        masks: Tensor,
        scores: Tensor,
        image: Tensor,
    ) -> tuple[Tensor, Boxes]:
        in_pixels(boxes, self.name)
        in_pixels(instances, self.name, 2)
        if boxes.legacy != instances.legacy:
            message = f"{self.name}: one set of boxes has inclusive pixels, the other has not"
            raise Problem("SEG203", message, operand=2)
        integers(labels, self.name, 1)
        same_rows(need, boxes.shape[0], labels.shape[0], f"{self.name} pairs boxes and labels")
        one_mask(masks, self.name, 3)
        what = f"{self.name} pairs instances and their masks"
        same_rows(need, instances.shape[0], masks.shape[0], what, 3)
        ranked(scores, self.name, (2,), "a score for each class [R, C]", 4)
        what = f"{self.name} pairs instances and their scores"
        same_rows(need, instances.shape[0], scores.shape[0], what, 4)
        _, _, h, w = feature_map(image, self.name, 5)
        return Tensor((boxes.shape[0], 1, h, w)), boxes

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[5])

    def expr(
        self,
        boxes: Boxes,
        labels: Tensor,
        instances: Boxes,
        masks: Tensor,
        scores: Tensor,
        image: Tensor,
    ) -> Call:
        values = (X(0), X(1), X(2), flat(masks, 3), X(4), SizeOf(5))
        border = {"border": int(boxes.legacy)}
        return Call("vote_masks", (*values, self.iou, self.threshold), border, {"border": 0})


@op("mask_resize")
class MaskResize(Op):
    """Resize bilinearly with the first pixels, not the centres, in one place (MNC's masks).

    y[n,c,i,j] = x[n,c] at (i * H / size[0], j * W / size[1]); the last pixels go on
    x: [N, C, H, W] -> [N, C, *size]
    `interpolate` reads at (i + 1/2) * H / size[0] - 1/2 instead.
    """

    size: Pair = attr("height and width of the result, pixels", min=1)
    examples = (
        Example({"size": (4, 6)}, ((2, 3, 6, 9),)),
        Example({"size": 5}, ((1, 2, 3, 7),)),
    )
    helpers = (
        Helper(
            "mask_resize",
            '''\
def mask_resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear samples at whole multiples of the ratio of sizes: [N, C, H, W] -> [N, C, *size]."""
    for axis, n in ((2, size[0]), (3, size[1])):
        pixels = x.shape[axis]
        place = torch.arange(n, device=x.device) * pixels  # n to a pixel
        low = place // n
        high = (low + 1).clamp(max=pixels - 1)
        share = (place % n).to(x.dtype) / n
        share = share[:, None] if axis == 2 else share
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)
    return x
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, *_ = feature_map(x, self.name)
        return Tensor((n, c, *self.size))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        if not lengths:
            return whole(fields[0])
        ratio = Fraction(lengths[0], lengths[-1])
        reach = 1 - Fraction(1, ratio.denominator)  # to the pixels before and after a place
        return gathered(fields[0], ratio, -reach, reach)

    def expr(self, x: Tensor) -> Call:
        return Call("mask_resize", (X(0), self.size))

    @property
    def style(self) -> Style:
        return Style("region", f"resize {by(self.size)}")
