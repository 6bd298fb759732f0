"""The functions that losses of rows emit."""

from __future__ import annotations

from segc.code import Helper

SPREAD = Helper(
    "spread",
    '''\
def spread(weights: Tensor, loss: Tensor) -> Tensor:
    """Weights of the first axes of a loss, for each of its values."""
    axes = loss.dim() - weights.dim()
    return weights.to(loss.dtype).reshape(*weights.shape, *[1] * axes).expand_as(loss)
''',
)
SUM = Helper(
    "sum_loss",
    '''\
def sum_loss(loss: Tensor, weights: Tensor | None = None, per: int = 1) -> Tensor:
    """The sum of a loss of rows, [R, ...], each value times its weight, divided by `per`.

    weights: of the first axes of `loss`; per: taken as 1 if it is less
    """
    if weights is not None:
        loss = loss * spread(weights, loss)
    return loss.sum() / max(per, 1)
''',
)
MEAN = Helper(
    "mean_loss",
    '''\
def mean_loss(loss: Tensor, weights: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
    """The mean of a loss of rows, [R, ...], over its values or those kept; zero if there are none.

    weights: of the first axes of `loss`, factors that do not count in the mean; kept: likewise
    """
    if weights is not None:
        loss = loss * spread(weights, loss)
    if kept is None:
        return loss.sum() / max(loss.numel(), 1)
    return loss.sum() / spread(kept, loss).sum().clamp(min=1)
''',
)
WEIGHTED = Helper(
    "weighted_loss",
    '''\
def weighted_loss(loss: Tensor, weights: Tensor, kept: Tensor | None = None) -> Tensor:
    """The weighted mean of a loss of rows, [R, ...]; zero if all weights are.

    weights: of the first axes of `loss`; kept: which values count, likewise
    """
    weights = spread(weights, loss)
    if kept is not None:
        weights = weights * spread(kept, loss)
    return (loss * weights).sum() / weights.sum().clamp(min=torch.finfo(loss.dtype).tiny)
''',
)
BALANCED = Helper(
    "balanced_loss",
    '''\
def balanced_loss(loss: Tensor, labels: Tensor) -> Tensor:
    """The mean of a loss over background (label 0) and its mean over all else, added.

    loss, labels: [R, ...], negative labels do not count
    """
    parts = [spread(chosen, loss) for chosen in (labels == 0, labels > 0)]
    return sum((loss * part).sum() / part.sum().clamp(min=1) for part in parts)
''',
)
BCE = Helper(
    "bce_values",
    '''\
def bce_values(logits: Tensor, targets: Tensor, ignored: float | None = None) -> Tensor:
    """Binary cross entropy of each value, [R, ...], zero where the target is `ignored`."""
    targets = targets.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss if ignored is None else loss.masked_fill(targets == ignored, 0)
''',
)
OUTLIERS = Helper(
    "without_outliers",
    '''\
def without_outliers(loss: Tensor, targets: Tensor, limit: float) -> Tensor:
    """A loss of rows, [R, K], zero for rows with a target larger than the limit."""
    return loss.masked_fill((targets.abs() > limit).any(-1, keepdim=True), 0)
''',
)
FOCAL = Helper(
    "focal_values",
    '''\
def focal_values(logits: Tensor, labels: Tensor, alpha: float, gamma: float, first: int) -> Tensor:
    """Focal loss of each row and class, zero for rows whose label is negative.

    logits: [R, K], of classes from `first` on, labels: [R], 0 for background -> [R, K]
    """
    classes = torch.arange(first, first + logits.shape[1], device=logits.device)
    targets = (labels[:, None] == classes) & (classes > 0)
    loss = ops.sigmoid_focal_loss(logits, targets.to(logits.dtype), alpha, gamma)
    return loss.masked_fill(labels[:, None] < 0, 0)
''',
)
GIOU = Helper(
    "giou_values",
    '''\
def giou_values(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - generalised intersection over union of each box and its target: [R, 5] twice -> [R]."""
    return ops.generalized_box_iou_loss(boxes[:, 1:], targets[:, 1:])
''',
)
