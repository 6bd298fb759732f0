"""`dual_task`: the borders of the predicted class map against those of the labels (Gated-SCNN)."""

from __future__ import annotations

from segc.emit.losses.pieces import Function, Loss, definition, enlarged
from segc.emit.pieces import number


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """The source of one `dual_task`; `coarse` names the outputs smaller than the labels."""
    grid = enlarged("logits", loss["output"] in coarse)
    outputs = (loss["output"],)
    if loss["released"]:
        tau = number(loss["tau"] or 0.5)
        lines = [grid, *_RELEASED.format(tau=tau).splitlines()]
        source = definition(name, ["logits", "mask"], _RELEASED_DOC, lines)
        return Function(source, outputs, helpers=("gumbel_softmax", "apart"))
    tau = number(loss["tau"] or 1)
    lines = [grid, *_PAPER.format(tau=tau).splitlines()]
    source = definition(name, ["logits", "mask"], _PAPER_DOC, lines)
    return Function(source, outputs, helpers=("gumbel_softmax", "border_strength", "apart"))


_PAPER_DOC = (
    "Difference between the borders of the predicted classes and those of the labels.",
    "The prediction is the argmax, so that its borders are sharp; the gradient is that of a Gumbel "
    "softmax. Pixels that are IGNORE are no class in either map, and do not count.",
)
_PAPER = """\
    valid = (mask != IGNORE)[:, None]
    classes = torch.arange(logits.shape[1], device=mask.device).view(1, -1, 1, 1)
    hard = (logits.argmax(1, keepdim=True) == classes).float()
    soft = gumbel_softmax(logits, {tau})
    predicted = border_strength((hard + soft - soft.detach()) * valid)
    truth = border_strength((mask[:, None] == classes) * valid.float())
    return apart(predicted, truth, (predicted > 1e-4) & valid, (truth > 1e-4) & valid)"""

_RELEASED_DOC = (
    "The loss of Gated-SCNN's released code: no spatial gradient, but sqrt(2 x^2 + 1e-6) / max.",
    "Pixels that are IGNORE are class 0 with equal logits.",
)
_RELEASED = """\
    valid = mask != IGNORE
    classes = torch.arange(logits.shape[1], device=mask.device).view(1, -1, 1, 1)
    x = gumbel_softmax(logits.where(valid[:, None], 0), {tau})
    y = (mask.where(valid, 0)[:, None] == classes).float()
    predicted, truth = ((2 * each * each + 1e-6).sqrt() for each in (x, y))
    predicted, truth = predicted / predicted.max(), truth / truth.max()
    return apart(predicted, truth, predicted >= 1e-8, truth >= 1e-8)"""
