"""Run by test_unpool_conv.py with TRITON_INTERPRET=1: Triton's interpreter runs the kernels on CPU
tensors, here for `unpool_conv` and for whole networks, and PyTorch's own operators are the oracle.

Prints one JSON object: case -> the largest difference of each of output, gradient of the input and
gradients of the weights, relative to the largest value (or 1).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segc
from segc.build import Maker
from segc.emit.module import model_source
from segc.source import Source
from segc.verify import import_source

sys.path.insert(0, str(Path(segc.__file__).parent / "emit" / "kernels"))
import unpool_conv as fused

# name -> (transposed, channels in, out, window of the pooling, map, options of the convolution)
LAYERS: dict[str, tuple[bool, int, int, Any, tuple[int, int], dict[str, Any]]] = {
    "3x3": (False, 3, 5, 2, (10, 8), {"kernel_size": 3, "padding": 1}),
    "3x3, odd map": (False, 3, 5, 2, (9, 7), {"kernel_size": 3, "padding": 1}),
    "3x3, no bias": (False, 3, 5, 2, (9, 7), {"kernel_size": 3, "padding": 1, "bias": False}),
    "7x7": (False, 3, 5, 2, (9, 11), {"kernel_size": 7, "padding": 3}),
    "same": (False, 2, 3, 2, (7, 9), {"kernel_size": (3, 5), "padding": "same"}),
    "same, even window": (False, 2, 3, 2, (7, 9), {"kernel_size": (2, 4), "padding": "same"}),
    "no padding": (False, 2, 3, 2, (7, 9), {"kernel_size": 3}),
    "padding beyond the window": (False, 2, 3, 2, (7, 9), {"kernel_size": 3, "padding": 4}),
    "dilated": (False, 2, 3, 2, (8, 9), {"kernel_size": 3, "padding": 2, "dilation": (2, 1)}),
    "1x1": (False, 2, 3, 2, (7, 9), {"kernel_size": 1}),
    "windows of 3": (False, 2, 3, 3, (10, 11), {"kernel_size": 3, "padding": 1}),
    "windows of 2x3": (False, 2, 3, (2, 3), (9, 10), {"kernel_size": 3, "padding": 1}),
    "map of one column": (False, 2, 3, 2, (9, 1), {"kernel_size": 3, "padding": 1}),
    "several tiles": (False, 37, 70, 2, (8, 9), {"kernel_size": 3, "padding": 1}),
    "transposed": (True, 3, 5, 2, (9, 8), {"kernel_size": 3, "padding": 1}),
    "transposed, cut": (True, 2, 3, 2, (11, 12), {"kernel_size": 3, "padding": 3}),
    "transposed, dilated": (True, 2, 3, 2, (7, 8), {"kernel_size": (3, 2), "dilation": 2}),
}


def compared(name: str, dtype: torch.dtype, form: torch.memory_format) -> list[float]:
    """One layer, forward and backward, with the kernels and without."""
    transposed, channels, out, window, size, options = LAYERS[name]
    torch.manual_seed(0)
    cls = fused.UnpoolConvTranspose2d if transposed else fused.UnpoolConv2d
    layer = cls(channels, out, window=window, **options).to(dtype)
    plain = nn.ConvTranspose2d if transposed else nn.Conv2d
    image = torch.randn(1 if size[0] > 40 else 2, channels, *size, dtype=dtype).to(
        memory_format=form
    )
    x, places = F.max_pool2d(image, window, ceil_mode=True, return_indices=True)

    def kernels(x: Tensor) -> Tensor:
        return layer(x, places, size)

    def operators(x: Tensor) -> Tensor:
        return plain.forward(layer, F.max_unpool2d(x, places, window, output_size=size))

    return differences(layer, [kernels, operators], x)


def differences(net: nn.Module, ways: Any, x: Tensor) -> list[float]:
    """Of the output and of all gradients between two ways to compute them."""
    found = [gradients(net, way, x) for way in ways]
    return [difference(a, b) for a, b in zip(*found, strict=True)]


def gradients(net: nn.Module, way: Any, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    net.zero_grad()
    y = way(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y))
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max().clamp(min=1))


NETWORK = """
segc: 1
model: Net
inputs: {image: [N, 3, H, W]}
layers:
  conv1: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  bn1: batch_norm2d
  pool1: {op: max_pool2d, kernel_size: 2, ceil_mode: true, return_indices: true}
  conv2: {op: conv2d, out_channels: 5, kernel_size: 3, padding: 1}
  pool2: {op: max_pool2d, kernel_size: 3, ceil_mode: true, return_indices: true}
  up2: {op: max_unpool2d, kernel_size: 3, from: [pool2, pool2.indices], size: pool2.input}
  deconv2: {op: conv_transpose2d, out_channels: 4, kernel_size: 3, padding: 1}
  bn2: batch_norm2d
  up1: {op: max_unpool2d, from: [bn2, pool1.indices], size: pool1.input}
  deconv1: {op: conv2d, out_channels: 3, kernel_size: 3, padding: 1, bias: false}
  bn3: batch_norm2d
outputs: {y: bn3}
"""


def network() -> list[float]:
    """A network that trains with fused layers, by the kernels, and as it is without them."""
    nets = []
    for more in ("", "transforms: [{fuse_unpool: {}}]\n"):
        source = model_source(Maker(Source.from_text(NETWORK + more), {}))
        nets.append(import_source(source, "net").Net().double())
    plain, quick = nets
    quick.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 11, 14, dtype=torch.float64)
    found = [gradients(net, net, x) for net in nets]
    return [difference(a, b) for a, b in zip(*found, strict=True)]


def main() -> None:
    fused.has_kernels = lambda layer, x: True  # the interpreter takes CPU tensors
    contiguous, last = torch.contiguous_format, torch.channels_last
    found = {name: compared(name, torch.float64, contiguous) for name in LAYERS}
    for name in ("3x3, odd map", "transposed"):
        found[f"{name}, channels_last"] = compared(name, torch.float64, last)
        found[f"{name}, float32"] = compared(name, torch.float32, contiguous)
        found[f"{name}, float16"] = compared(name, torch.float16, contiguous)
    LAYERS["45 x 60"] = (False, 2, 3, 2, (45, 60), {"kernel_size": 3, "padding": 1})
    found["45 x 60"] = compared("45 x 60", torch.float64, contiguous)
    found["network"] = network()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
