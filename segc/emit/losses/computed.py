"""`computed`: a number that the network gives in training."""

from __future__ import annotations

from segc.emit.losses.pieces import Function, Loss


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """No function: `total_loss` adds the output itself."""
    return Function("", (loss["output"],), ())
