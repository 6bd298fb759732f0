"""Operators of optimised networks: one layer that does the work of several, at less cost.

No spec names them; rules put them in. Their modules stand in `deploy.py` as classes of its own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from segc.code import Call, Helper, Method, Self, SizeOf, X
from segc.op import Field, Need, Op, Operand, Pair, Param, Scale, Style, attr, deploy_op
from segc.ops.act import Relu
from segc.ops.common import known, one
from segc.ops.conv import Conv2d
from segc.ops.resize import Interpolate
from segc.types import Tensor

TAPWISE = Fraction(1, 4)  # of the products on the map: below it each tap goes by itself

DILATED = '''\
class DilatedConv2d(nn.Conv2d):
    """A convolution that keeps the size and leaves out the taps that fall beside a small map.

    At a dilation near the size of the map most products of the outer taps are with padding. Then
    each tap is a 1x1 convolution of the part of the map that it meets. Not in channels_last on a
    CPU, where torch's convolution leaves these products out by itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        rows, columns = (self.offsets(axis, size[axis]) for axis in (0, 1))
        met = [sum(n - abs(d) for _, d in taps) for n, taps in zip(size, (rows, columns))]
        taps = self.kernel_size[0] * self.kernel_size[1]
        many = 4 * met[0] * met[1] >= taps * size[0] * size[1]
        if many or (x.is_cpu and not x.is_contiguous()):
            return F.conv2d(x, self.weight, self.bias, 1, self.padding, self.dilation)
        centre = self.weight[:, :, self.kernel_size[0] // 2, self.kernel_size[1] // 2]
        out = F.conv2d(x, centre[:, :, None, None], self.bias)
        for u, down in rows:
            for v, right in columns:
                if down or right:
                    part = shifted(shifted(x, 2, down), 3, right)
                    tap = self.weight[:, :, u : u + 1, v : v + 1]
                    shifted(shifted(out, 2, -down), 3, -right).add_(F.conv2d(part, tap))
        return out

    def offsets(self, axis: int, size: int) -> list[tuple[int, int]]:
        """The taps along one axis that meet a map of this size, with their offsets."""
        count, rate = self.kernel_size[axis], self.dilation[axis]
        every = [(n, rate * (n - count // 2)) for n in range(count)]
        return [(n, offset) for n, offset in every if abs(offset) < size]
'''
SHIFTED = '''\
def shifted(x: Tensor, axis: int, offset: int) -> Tensor:
    """The part of a map that a window moved by `offset` pixels still meets."""
    length = x.shape[axis] - abs(offset)
    return x.narrow(axis, max(offset, 0), length)
'''
SCALED_SIZE = '''\
def scaled_size(x: Tensor, scale: int) -> tuple[int, int]:
    """The size of a map enlarged by `scale`."""
    return scale * x.shape[-2], scale * x.shape[-1]
'''
UPSAMPLED = '''\
class UpsampledConv2d(nn.Module):
    """A convolution of a bilinearly enlarged map that multiplies by its weights before enlarging.

    Both steps are linear: every tap of the window is a 1x1 convolution of the small map, and one
    matrix along each axis enlarges, shifts and adds up. Exact at the border too.
    x [N, in_channels, h, w] -> [N, out_channels, H', W'] for an enlarged map of `size` (H, W)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int = 0,
        dilation: int = 1,
        align_corners: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.align_corners = align_corners
        self.taps = nn.Conv2d(in_channels, kernel_size**2 * out_channels, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        # In channels_last no step has to rearrange values: x is small, what follows is not.
        maps = self.taps(x.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        n, h, w, _ = maps.shape
        maps = maps.reshape(n, h, w * self.kernel_size, self.kernel_size, -1)  # [N, h, w*k, k, C]
        maps = self.matrix(x, 3, size[1]) @ maps.transpose(2, 3)  # [N, h, k, W', C]
        out = self.matrix(x, 2, size[0]) @ maps.flatten(3).flatten(1, 2)  # [N, H', W'*C]
        out = out.unflatten(2, maps.shape[3:]).permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias[:, None, None]

    def matrix(self, x: Tensor, axis: int, size: int) -> Tensor:
        """[H', h*k]: what the taps of each pixel of the small map give to each output."""
        length, real = x.shape[axis], torch.promote_types(x.dtype, torch.float32)
        taps = torch.arange(self.kernel_size, device=x.device) * self.dilation - self.padding
        count = size + 2 * self.padding - self.dilation * (self.kernel_size - 1)
        at = torch.arange(count, device=x.device)[:, None] + taps  # in the enlarged map
        if self.align_corners:
            source = at.to(real) * ((length - 1) / max(size - 1, 1))
        else:
            source = (at.to(real) + 0.5) * (length / size) - 0.5
        pixels = torch.arange(length, device=x.device)[:, None]
        share = 1 - (source.clamp(0, length - 1)[:, None] - pixels).abs()  # [H', h, k]
        inside = (at >= 0) & (at < size)
        return (share.clamp(min=0) * inside[:, None]).flatten(1).to(x.dtype)
'''


@deploy_op("dilated_conv2d")
class DilatedConv2d(Conv2d):
    """conv2d at stride 1 with padding that keeps the size, tap by tap where the map is small."""

    helpers = (Helper("DilatedConv2d", DILATED), Helper("shifted", SHIFTED))

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        share = Fraction(1)
        for axis, size in enumerate(inputs[0][2:]):
            count, rate = self.kernel_size[axis], self.dilation[axis]
            offsets = (abs(rate * (n - count // 2)) for n in range(count))
            share *= Fraction(sum(max(0, size - d) for d in offsets), count * size)
        full = super().macs(inputs, output)
        return full if share >= TAPWISE else int(full * share)

    def module(self, x: Tensor) -> Call:
        plain = super().module(x)
        return Call("DilatedConv2d", plain.args, plain.kwargs, plain.defaults)


@deploy_op("relu_in_place")
class ReluInPlace(Relu):
    """relu that writes over its operand.

    x: any shape -> the same
    """

    in_place = True

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"inplace": True}, {"inplace": False}


@deploy_op("narrow")
class Narrow(Op):
    """Some neighbouring channels of a map; nothing is copied.

    x: [N, C, H, W] -> [N, length, H, W]
    """

    view = True
    start: int = attr("the first channel", min=0)
    length: int = attr("how many", min=1)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        return Tensor((x.shape[0], self.length, *x.shape[2:]))

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "narrow", (1, self.start, self.length))

    @property
    def style(self) -> Style:
        return Style("shape", f"{self.length} channels")


@deploy_op("upsampled_conv2d")
class UpsampledConv2d(Op):
    """conv2d over a bilinearly enlarged map, multiplied by its weights at the small size.

    The attributes are those of conv2d (one number each) and of `interpolate`.
    x: [N, C, h, w] -> [N, out_channels, H + 2p - d(k-1), ...], (H, W) the enlarged size
    """

    stateful = True
    pace = 0.3  # 31-43 GMAC/s in three networks, 3x3 convolutions 129, on one x86 core
    weights = ("weight", "bias")
    helpers = (
        Helper("UpsampledConv2d", UPSAMPLED),
        Helper("scaled_size", SCALED_SIZE),
        *Interpolate.helpers,
    )

    out_channels: int = attr("output channels", min=1)
    kernel_size: int = attr("window, pixels", min=1)
    padding: int = attr("pixels added on each side", 0, min=0)
    dilation: int = attr("step between the taps of a window, pixels", 1, min=1)
    bias: bool = attr("add a learned number to each output channel", True)
    size: Pair | None = attr("of the enlarged map", None)
    scale_factor: Scale | None = attr("pixels of the enlarged map per pixel", None)
    like: Operand | None = attr("the tensor whose size the enlarged map has", None)
    grow: int | None = attr("z: the enlarged map has z(H - 1) + 1 pixels", None)
    align_corners: bool | None = attr("as interpolate's", None)

    @property
    def enlarged(self) -> Interpolate:
        """The interpolation it contains."""
        names = ("size", "scale_factor", "like", "grow", "align_corners")
        given = {n: self.values[n] for n in names if self.values.get(n) is not None}
        return Interpolate(mode="bilinear", **given)

    def infer(self, need: Need, x: Tensor, *like: Tensor) -> Tensor:
        n, _, h, w = self.enlarged.infer(need, x, *like).shape
        lost = self.dilation * (self.kernel_size - 1) - 2 * self.padding
        return Tensor((n, self.out_channels, h - lost, w - lost))

    def parameters(self, x: Tensor, *like: Tensor) -> tuple[Param, ...]:
        count = self.kernel_size**2 * self.out_channels
        taps = Param("taps.weight", (count, known(x.shape[1], self.name), 1, 1))
        return (Param("bias", (self.out_channels,)), taps) if self.bias else (taps,)

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        n, c, h, w = inputs[0]
        k, out = self.kernel_size, self.out_channels
        products = n * h * w * c * k * k * out
        columns = n * k * out * h * (k * w) * output[3]
        rows = n * out * output[2] * (k * h) * output[3]
        return products + columns + rows

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        field = self.enlarged.field(axis, fields, lengths)
        return field.window(self.dilation * (self.kernel_size - 1) + 1, 1, self.padding)

    def module(self, x: Tensor, *like: Tensor) -> Call:
        values = {
            "kernel_size": self.kernel_size,
            "padding": self.padding,
            "dilation": self.dilation,
            "align_corners": bool(self.align_corners),
            "bias": self.bias,
        }
        defaults = {"padding": 0, "dilation": 1, "align_corners": False, "bias": True}
        return Call("UpsampledConv2d", (x.shape[1], self.out_channels), values, defaults)

    def expr(self, x: Tensor, *like: Tensor) -> Call:
        return Call(Self(), (X(0), self._size(x)))

    def _size(self, x: Tensor) -> Any:
        if self.size:
            return self.size
        if self.scale_factor:
            return Call("scaled_size", (X(0), one(self.scale_factor)))
        return self.enlarged.expr(x).kwargs["size"] if self.grow else SizeOf(1)

    @property
    def style(self) -> Style:
        return Style("up", f"upsampled conv {self.kernel_size}, {self.out_channels}")
