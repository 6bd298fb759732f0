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


def _grouped(weight: Tensor, groups: int) -> Tensor:
    """[groups, channels of a group, ...] of a weight [channels, ...]."""
    return weight.view(groups, weight.shape[0] // groups, *weight.shape[1:])


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
    grouped = _grouped(weight, groups) * scale.view(groups, 1, -1, 1, 1)
    state[f"{layer}.weight"] = grouped.flatten(0, 1)
    state[f"{layer}.bias"] = bias * scale + shift


def fold_batch_norm_before(
    state: dict[str, Tensor], layer: str, norm: str, eps: float, groups: int
) -> None:
    """Replace a batch norm by other weights of the unpadded convolution behind it."""
    scale, shift = _affine(state, norm, eps)
    weight = _grouped(state[f"{layer}.weight"], groups)
    scale, shift = (v.view(groups, 1, -1, 1, 1) for v in (scale, shift))
    moved = (weight * shift).sum((2, 3, 4)).flatten()
    state[f"{layer}.weight"] = (weight * scale).flatten(0, 1)
    state[f"{layer}.bias"] = state.pop(f"{layer}.bias", torch.zeros_like(moved)) + moved


def scale_weights(state: dict[str, Tensor], layer: str, factor: float, bias: bool) -> None:
    """Put a constant factor into a layer: before it, or behind it, where the bias scales too."""
    state[f"{layer}.weight"] = state[f"{layer}.weight"] * factor
    if bias and f"{layer}.bias" in state:
        state[f"{layer}.bias"] = state[f"{layer}.bias"] * factor


def transpose_weights(state: dict[str, Tensor], layer: str, groups: int) -> None:
    """The weight of a convolution as that of a transposed one: mirrored, [in, out / groups]."""
    weight = _grouped(state[f"{layer}.weight"], groups).transpose(1, 2)
    state[f"{layer}.weight"] = weight.flatten(0, 1).flip(2, 3).contiguous()


def spread_weights(
    state: dict[str, Tensor],
    layer: str,
    groups: int,
    scale: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """A convolution of a map enlarged by copies as a transposed one of the small map.

    Taps (`dilation` pixels apart) that meet copies of one pixel add up.
    """
    weight = state[f"{layer}.weight"]
    rows, columns = (
        _copied(size, copies, rate).to(weight)
        for size, copies, rate in zip(weight.shape[2:], scale, dilation, strict=True)
    )
    state[f"{layer}.weight"] = torch.einsum("ut,vr,oitr->oiuv", rows, columns, weight)
    transpose_weights(state, layer, groups)


def _copied(taps: int, copies: int, rate: int) -> Tensor:
    """[copies + rate * (taps - 1), taps]: 1 where a tap meets a copy."""
    offset = torch.arange(copies + rate * (taps - 1))[:, None] - rate * torch.arange(taps)
    return (offset >= 0) & (offset < copies)


def shuffle_weights(state: dict[str, Tensor], layer: str) -> None:
    """A transposed convolution without overlap as a 1x1 one to all places of its window."""
    weight = state[f"{layer}.weight"].permute(1, 2, 3, 0)
    if f"{layer}.bias" in state:
        places = weight.shape[1] * weight.shape[2]
        state[f"{layer}.bias"] = state[f"{layer}.bias"].repeat_interleave(places)
    state[f"{layer}.weight"] = weight.flatten(0, 2)[:, :, None, None].contiguous()


def drop_bilinear(state: dict[str, Tensor], layer: str) -> None:
    """Take out a weight that interpolates bilinearly; raise ValueError if it does not."""
    weight = state.pop(f"{layer}.weight")
    kernel = torch.ones((), device=weight.device)
    for size in weight.shape[2:]:
        factor = (size + 1) // 2
        centre = factor - 1 if size % 2 else factor - 0.5
        taps = torch.arange(size, device=weight.device)
        kernel = kernel[..., None] * (1 - (taps - centre).abs() / factor)
    wanted = torch.zeros_like(weight)
    channel = torch.arange(weight.shape[0], device=weight.device)
    wanted[channel, channel % weight.shape[1]] = kernel.to(weight)
    if not torch.allclose(weight, wanted, rtol=0, atol=1e-6):
        text = f"the weights of {layer} do not interpolate bilinearly; build with"
        raise ValueError(f"{text} --rule bilinear_deconv=off")


def split_channels(
    state: dict[str, Tensor], layer: str, parts: tuple[str, ...], widths: tuple[int, ...]
) -> None:
    """One convolution for each stretch of input channels; the layer itself keeps the bias."""
    slices = torch.split(state.pop(f"{layer}.weight"), list(widths), dim=1)
    for name, weight in zip(parts, slices, strict=True):
        state[f"{name}.weight"] = weight.contiguous()


def tap_weights(state: dict[str, Tensor], layer: str) -> None:
    """The weight of a convolution as those of a 1x1 one for each of its taps (column, row, out)."""
    weight = state.pop(f"{layer}.weight").permute(3, 2, 0, 1)
    state[f"{layer}.taps.weight"] = weight.flatten(0, 2)[:, :, None, None].contiguous()


def stack_weights(state: dict[str, Tensor], stack: str, layers: tuple[str, ...]) -> None:
    """Several convolutions of one map as one with all their output channels."""
    for name in ("weight", "bias"):
        parts = [state.pop(f"{layer}.{name}") for layer in layers if f"{layer}.{name}" in state]
        if parts:
            state[f"{stack}.{name}"] = torch.cat(parts)
