"""Max unpooling and the convolution behind it as one step.

The unpooled map is zero but for one value in each window and channel. On a CUDA device Triton
kernels convolve it without ever writing it, forward and backward: they read the pooled values and
their indices, and a value takes part in the product of a tap where its index says so. Elsewhere,
in other precisions and where Triton is not installed, PyTorch's own operators do the same.

Both layers hold the weights of the plain convolution under the same names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    import unpool_kernels as kernels
except ImportError:  # Triton is not everywhere: see `has_kernels`
    kernels = None

__all__ = ["UnpoolConv2d", "UnpoolConvTranspose2d"]

BLOCK = 64  # pixels and output channels of a tile
CHANNELS = 32  # input channels of a tile at most
WARPS = 8  # with fewer the compiler runs out of registers
PROGRAMS = 512  # that the gradient of the weight is spread over, at least
Pair = tuple[int, ...]  # (height, width)


class Geometry(NamedTuple):
    """What an unpooling and a convolution do to places.

    window: of the pooling, and its step. taps, dilation: of the convolution. before: zeros it adds
    above and left of the unpooled map. full: size of that map. out: size of the result. mirrored:
    it is a transposed convolution, whose weight is [in, out, height, width] and read backwards.
    """

    window: Pair
    taps: Pair
    dilation: Pair
    before: Pair
    full: Pair
    out: Pair
    mirrored: bool

    def constants(self) -> dict[str, int]:
        """What the kernels are compiled for, and how many threads of 32 run each."""
        return {
            "SY": self.window[0], "SX": self.window[1],
            "KY": self.taps[0], "KX": self.taps[1],
            "DY": self.dilation[0], "DX": self.dilation[1],
            "TOP": self.before[0], "LEFT": self.before[1],
            "num_warps": WARPS,
        }  # fmt: skip

    def weight(self, weight: Tensor) -> tuple[Tensor, int, tuple[int, ...]]:
        """A weight, where its first tap is, and the steps to the next output and input channel,
        row and column."""
        first, second, row, column = weight.stride()
        if not self.mirrored:
            return weight, 0, (first, second, row, column)
        last = (self.taps[0] - 1) * row + (self.taps[1] - 1) * column
        return weight, last, (second, first, -row, -column)


# --- what the kernels are given ---------------------------------------------------------------


def tile(channels: int, most: int) -> int:
    """A power of two from 16 on, as tensor cores take them."""
    return max(16, min(most, 1 << (channels - 1).bit_length()))


def precision(x: Tensor) -> dict[str, Any]:
    """How products are rounded, as for the convolutions of PyTorch, and what sums are kept in."""
    tf32 = x.dtype == torch.float32 and torch.backends.cudnn.conv.fp32_precision == "tf32"
    total = kernels.tl.float64 if x.dtype == torch.float64 else kernels.tl.float32
    return {"PRECISION": "tf32" if tf32 else "ieee", "SUM": total}


def empty_map(like: Tensor, channels: int, size: Pair) -> Tensor:
    """A map in the memory format of another one."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    form = torch.channels_last if channels_last else torch.contiguous_format
    shape = (like.shape[0], channels, *size)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=form)


class UnpooledConvolution(torch.autograd.Function):
    """The convolution of an unpooled map; keeps the pooled map for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, places: Tensor, weight: Tensor, bias: Tensor | None, shape: Geometry
    ) -> Tensor:
        ctx.save_for_backward(x, places, weight)
        ctx.shape = shape
        return convolve(x, places, weight, bias, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, places, weight = ctx.saved_tensors
        pooled, _, weights, bias, _ = ctx.needs_input_grad
        return (
            pooled_gradient(gradient, x, places, weight, ctx.shape) if pooled else None,
            None,
            weight_gradient(gradient, x, places, weight, ctx.shape) if weights else None,
            gradient.sum((0, 2, 3)) if bias else None,
            None,
        )


def convolve(
    x: Tensor, places: Tensor, weight: Tensor, bias: Tensor | None, shape: Geometry
) -> Tensor:
    """The convolution of the unpooled map."""
    channels = x.shape[1], weight.shape[1 if shape.mirrored else 0]
    out = empty_map(x, channels[1], shape.out)
    (a, b), block = shape.window, tile(channels[1], BLOCK)
    pixels = x.shape[0] * -(-shape.out[0] // a) * -(-shape.out[1] // b)
    taps, first, steps = shape.weight(weight)
    with torch.cuda.device_of(x):
        kernels.convolve_kernel[-(-pixels // BLOCK), -(-channels[1] // block), a * b](
            out, x, places, taps, bias, out.stride(), x.stride(), places.stride(), steps, first,
            x.shape[0], tuple(x.shape[2:]), shape.full, shape.out, channels,
            **shape.constants(), **precision(x), BIASED=bias is not None,
            PIXELS=BLOCK, IN=tile(channels[0], CHANNELS), OUT=block,
        )  # fmt: skip
    return out


def pooled_gradient(
    gradient: Tensor, x: Tensor, places: Tensor, weight: Tensor, shape: Geometry
) -> Tensor:
    """The gradient of the pooled values."""
    channels = x.shape[1], gradient.shape[1]
    result = empty_map(x, channels[0], (x.shape[2], x.shape[3]))
    pixels, block = x.shape[0] * x.shape[2] * x.shape[3], tile(channels[0], BLOCK)
    taps, first, steps = shape.weight(weight)
    with torch.cuda.device_of(x):
        kernels.pooled_gradient_kernel[-(-pixels // BLOCK), -(-channels[0] // block)](
            gradient, places, taps, result, gradient.stride(), places.stride(), steps,
            result.stride(), first, x.shape[0], tuple(x.shape[2:]), shape.full, shape.out, channels,
            **shape.constants(), **precision(x),
            PIXELS=BLOCK, IN=block, OUT=tile(channels[1], CHANNELS),
        )  # fmt: skip
    return result


def weight_gradient(
    gradient: Tensor, x: Tensor, places: Tensor, weight: Tensor, shape: Geometry
) -> Tensor:
    """The gradient of the weight. Parts of the pixels are summed at the end, in one order."""
    channels = x.shape[1], gradient.shape[1]
    pixels, (height, width) = x.shape[0] * x.shape[2] * x.shape[3], shape.taps
    in_block, out_block = tile(channels[0], BLOCK), tile(channels[1], BLOCK)
    tiles = -(-channels[0] // in_block) * -(-channels[1] // out_block)
    blocks = -(-pixels // CHANNELS)
    blocks = -(-blocks // min(blocks, -(-PROGRAMS // (tiles * height * width))))  # of one part
    parts = -(-pixels // (CHANNELS * blocks))
    exact = torch.promote_types(x.dtype, torch.float32)
    result = x.new_empty((parts, height, width, channels[1], channels[0]), dtype=exact)
    with torch.cuda.device_of(x):
        kernels.weight_gradient_kernel[tiles, height * width, parts](
            gradient, x, places, result, gradient.stride(), x.stride(), places.stride(),
            x.shape[0], tuple(x.shape[2:]), shape.full, shape.out, channels, blocks,
            **shape.constants(), **precision(x), PIXELS=CHANNELS, IN=in_block, OUT=out_block,
        )  # fmt: skip
    total = result.sum(0).permute(2, 3, 0, 1).to(weight.dtype)
    return total.transpose(0, 1).flip(2, 3) if shape.mirrored else total


@torch.compiler.disable
def fused(
    x: Tensor, places: Tensor, weight: Tensor, bias: Tensor | None, shape: Geometry
) -> Tensor:
    """The convolution by the kernels, in the precision autocast asks for."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return UnpooledConvolution.apply(x, places, weight, bias, shape)


# --- layers -----------------------------------------------------------------------------------


class UnpoolConv2d(nn.Conv2d):
    """nn.Conv2d of an unpooled map; `window` is that of the pooling and its step."""

    def __init__(self, *sizes: Any, window: Pair | int = 2, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.window = (window, window) if isinstance(window, int) else window

    def forward(self, x: Tensor, indices: Tensor, size: Pair | None = None) -> Tensor:
        """x, indices: a pooled map and where its values were; size: of the map before pooling."""
        if not has_kernels(self, x):
            return super().forward(F.max_unpool2d(x, indices, self.window, output_size=size))
        if isinstance(self.padding, str):  # as many pixels as it loses, one less in front if odd
            down, right = reach(self)
            before, after = (down // 2, right // 2), (-(-down // 2), -(-right // 2))
        else:
            before = after = (self.padding[0], self.padding[1])
        return fused(x, indices, self.weight, self.bias, geometry(self, x, size, before, after))


class UnpoolConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d of an unpooled map; at stride 1 it is a mirrored convolution."""

    def __init__(self, *sizes: Any, window: Pair | int = 2, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.window = (window, window) if isinstance(window, int) else window

    def forward(self, x: Tensor, indices: Tensor, size: Pair | None = None) -> Tensor:
        """x, indices: a pooled map and where its values were; size: of the map before pooling."""
        if not has_kernels(self, x):
            return super().forward(F.max_unpool2d(x, indices, self.window, output_size=size))
        down, right = reach(self)
        around = down - int(self.padding[0]), right - int(self.padding[1])
        shape = geometry(self, x, size, around, around, mirrored=True)
        return fused(x, indices, self.weight, self.bias, shape)


Layer = UnpoolConv2d | UnpoolConvTranspose2d


def has_kernels(layer: Layer, x: Tensor) -> bool:
    """Whether the kernels can do what a layer does to this map."""
    single = x.dtype in (torch.float32, torch.float16, torch.bfloat16)
    plain = layer.padding_mode == "zeros" and layer.output_padding == (0, 0) and layer.groups == 1
    return kernels is not None and x.is_cuda and single and plain and layer.stride == (1, 1)


def reach(layer: Layer) -> Pair:
    """Pixels from the first tap of a window to the last, along both axes."""
    (down, right), (height, width) = layer.dilation, layer.kernel_size
    return down * (height - 1), right * (width - 1)


def geometry(
    layer: Layer, x: Tensor, size: Pair | None, before: Pair, after: Pair, mirrored: bool = False
) -> Geometry:
    """What a layer does to the places of a map, with zeros added before and after it."""
    down, right = reach(layer)
    height, width = size or (n * s for n, s in zip(x.shape[2:], layer.window, strict=True))
    out = height + before[0] + after[0] - down, width + before[1] + after[1] - right
    kernel, dilation = layer.kernel_size, layer.dilation
    return Geometry(layer.window, kernel, dilation, before, (height, width), out, mirrored)
