"""Locally connected layers and norms of pixels around against sums written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from op_torch import Built
from rows_kit import build, made, run, tensor
from torch.utils.flop_counter import FlopCounterMode

from segc.dim import symbol
from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


# --- locally_connected2d ----------------------------------------------------------------------

CASES = [
    ((2, 3, 5, 4), {"out_channels": 4, "kernel_size": (3, 3), "padding": (1, 1)}),
    ((3, 2, 8, 7), {"out_channels": 5, "kernel_size": (2, 3), "stride": (2, 1), "bias": False}),
]


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_each_place_has_a_convolution_of_its_own(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    op, types = build("locally_connected2d", **options), [tensor(*shape)]
    module = Built(op, types).double()
    x = torch.randn(*shape, dtype=torch.float64)
    found, layer = module(x), module.layer
    channels, (h, w) = options["out_channels"], options["kernel_size"]
    (down, right), (top, left) = options.get("stride", (1, 1)), options.get("padding", (0, 0))
    padded = F.pad(x, (left, left, top, top))
    for i in range(found.shape[2]):
        for j in range(found.shape[3]):
            window = padded[:, :, i * down : i * down + h, j * right : j * right + w]
            weight = layer.weight[i * found.shape[3] + j].reshape(channels, shape[1], h, w)
            expected = torch.einsum("ncuv,ocuv->no", window, weight)
            if layer.bias is not None:
                expected = expected + layer.bias[:, i, j]
            assert torch.allclose(found[:, :, i, j], expected, atol=1e-12)
    ours = [(p.name, p.shape) for p in op.parameters(*types)]
    assert ours == [(n, tuple(p.shape)) for n, p in layer.named_parameters()]
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() == 2 * op.macs((shape,), tuple(found.shape))
    run("locally_connected2d", [x[:0].float()], [tensor(symbol("N"), *shape[1:])], **options)


def test_equal_weights_are_a_convolution() -> None:
    """In the order in which torch.nn.Conv2d has its weights."""
    types = [tensor(2, 3, 6, 5)]
    options: dict[str, Any] = {"out_channels": 4, "kernel_size": 3, "padding": 1}
    module = Built(build("locally_connected2d", **options), types)
    conv, x = torch.nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 6, 5)
    with torch.no_grad():
        module.layer.weight.copy_(conv.weight.flatten(1))
        module.layer.bias.copy_(conv.bias[:, None, None])
    assert torch.allclose(module(x), conv(x), atol=1e-6)


def test_yolos_layer_has_its_published_size() -> None:
    op = build("locally_connected2d", out_channels=256, kernel_size=3, padding=1)
    shapes = [torch.Size(p.shape).numel() for p in op.parameters(tensor(1, 1024, 7, 7))]
    assert shapes == [49 * 3 * 3 * 1024 * 256, 12_544] and sum(shapes) == 115_618_048


def test_locally_connected_faults() -> None:
    options: dict[str, Any] = {"out_channels": 4, "kernel_size": 3}
    found = fault("locally_connected2d", [tensor(1, 3, symbol("H"), 5)], **options)
    assert found.code == "SEG202" and "depends on the input's size" in found.message
    found = fault("locally_connected2d", [tensor(1, 3, 2, 5)], **options)
    assert found.code == "SEG205"


# --- spatial_response_norm --------------------------------------------------------------------


def test_spatial_response_norm_is_caffes() -> None:
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    options: dict[str, Any] = {"size": 3, "alpha": 0.7, "beta": 0.75, "k": 2.0}
    types = [tensor(2, 3, 6, 5)]
    found = run("spatial_response_norm", [x], types, **options)
    for i in range(6):
        for j in range(5):
            around = x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            energy = around.square().sum(dim=(2, 3)) / 9  # pixels beyond the border count
            expected = x[:, :, i, j] / (2 + 0.7 * energy) ** 0.75
            assert torch.allclose(found[:, :, i, j], expected, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda x: run("spatial_response_norm", [x], types, **options), (x,)
    )
    assert fault("spatial_response_norm", types, size=4).attr == "size"
