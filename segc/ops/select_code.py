"""The functions by which emitted models choose rows."""

from __future__ import annotations

from segc.code import Helper

TOP_K = Helper(
    "top_k",
    '''\
def top_k(boxes: Tensor, scores: Tensor, k: int, per: Tensor | None = None) -> Tensor:
    """The rows of the k best scores [R] of each image, or of each group of an image, best first.

    boxes: [R, 5]; per: the group of each row [R], a level or a class.
    """
    group = boxes[:, 0].long()
    if per is not None and len(per):
        group = group * (per.max() + 1) + per
    order = scores.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    group = group[order]
    rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
    return order[rank < k]
''',
)

NMS = Helper(
    "nms",
    '''\
def nms(
    boxes: Tensor,
    scores: Tensor,
    iou: float,
    per: Tensor | None = None,
    keep: int | None = None,
    legacy: bool = False,
) -> Tensor:
    """The rows that no better one of their image overlaps by more than `iou`, best first.

    boxes: [R, 5]; scores: [R]; per: boxes of different groups do not compete [R]; keep: so many of
    each image; legacy: the boxes are of inclusive pixels.
    """
    corners = boxes[:, 1:]
    if legacy:
        corners = corners + corners.new_tensor((0, 0, 1, 1))
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.device)]
    for image in boxes[:, 0].unique():
        rows = torch.where(boxes[:, 0] == image)[0]
        if per is None:
            best = ops.nms(corners[rows], scores[rows], iou)
        else:
            best = ops.batched_nms(corners[rows], scores[rows], per[rows], iou)
        kept.append(rows[best[:keep]])
    return torch.cat(kept)
''',
)

LARGE_ENOUGH = Helper(
    "large_enough",
    '''\
def large_enough(boxes: Tensor, side: float, legacy: bool = False) -> Tensor:
    """The rows of the boxes [R, 5] that are `side` or more wide and high.

    legacy: the boxes are of inclusive pixels.
    """
    extent = boxes[:, 3:] - boxes[:, 1:3] + int(legacy)
    return torch.where((extent >= side).all(dim=1))[0]
''',
)

CANDIDATES = Helper(
    "candidates",
    '''\
def candidates(
    scores: Tensor, threshold: float, background: str = "first"
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores [R, C] above the threshold but the background's, row by row.

    Returns the row of each, the score and its column, each [D].
    """
    above = scores > threshold
    if background != "none":
        above[:, 0 if background == "first" else -1] = False
    rows, labels = torch.where(above)
    return rows, scores[rows, labels], labels
''',
)
