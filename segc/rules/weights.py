"""How weights of the deploy network are made: functions over the state dict of the plain one.

`deploy.py` carries a copy of those it needs; nothing in segc calls them. Each takes tensors out
of `state` and puts new ones in, under the names of the deploy network's layers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _affine(state: dict[str, Tensor], norm: str, eps: float) -> tuple[Tensor, Tensor]:
    """Take a batch norm out of a state dict: y = x * scale + shift in evaluation."""
    mean, var = state.pop(f"{norm}.running_mean"), state.pop(f"{norm}.running_var")
    state.pop(f"{norm}.num_batches_tracked", None)
    weight = state.pop(f"{norm}.weight", torch.ones_like(var))
    bias = state.pop(f"{norm}.bias", torch.zeros_like(mean))
    scale = weight / torch.sqrt(var + eps)
    return scale, bias - mean * scale


def fold_batch_norm(state: dict[str, Tensor], layer: str, norm: str, eps: float) -> None:
    """Replace a batch norm in a state dict by other weights of the convolution before it."""
    scale, shift = _affine(state, norm, eps)
    weight = state[f"{layer}.weight"]
    bias = state.pop(f"{layer}.bias", torch.zeros_like(shift))
    state[f"{layer}.weight"] = weight * scale[:, None, None, None]
    state[f"{layer}.bias"] = bias * scale + shift


def fold_batch_norm_transposed(
    state: dict[str, Tensor], layer: str, norm: str, eps: float, groups: int
) -> None:
    """The same for a transposed convolution, whose weight is [in, out / groups, h, w]."""
    scale, shift = _affine(state, norm, eps)
    weight = state[f"{layer}.weight"]
    bias = state.pop(f"{layer}.bias", torch.zeros_like(shift))
    grouped = weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, 1, 1)
    state[f"{layer}.weight"] = grouped.flatten(0, 1)
    state[f"{layer}.bias"] = bias * scale + shift
