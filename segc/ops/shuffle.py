"""Values that change places between channels and pixels, or among channels."""

from __future__ import annotations

from fractions import Fraction

from segc.code import Call, X
from segc.dim import DimLike, text
from segc.op import Example, Field, Need, Op, Problem, Style, attr, op
from segc.ops.common import feature_map, gathered
from segc.types import Tensor


def _divides(need: Need, op: str, size: DimLike, by: int, what: str, attr_name: str) -> None:
    if by == 1 or (isinstance(size, int) and size % by == 0):
        return
    message = f"{op}: {what} {text(size)} does not divide by {by}"
    need.multiple(size, by, Problem("SEG202", message, attr=attr_name, operand=0))


@op("pixel_shuffle")
class PixelShuffle(Op):
    """Spread r*r channels over r x r pixels (torch.nn.PixelShuffle, sub-pixel convolution).

    y[c, r*i + a, r*j + b] = x[c*r*r + a*r + b, i, j]
    x: [N, C*r*r, H, W] -> [N, C, H*r, W*r]
    """

    upscale_factor: int = attr("r", min=1)
    examples = (Example({"upscale_factor": 2}, ((1, 8, 3, 4),)),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        r = self.upscale_factor
        _divides(need, self.name, c, r * r, "channels", "upscale_factor")
        return Tensor((n, c // (r * r), h * r, w * r))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        r = self.upscale_factor
        return gathered(fields[0], Fraction(1, r), Fraction(1 - r, r), Fraction(0))

    def module(self, x: Tensor) -> Call:
        return Call("nn.PixelShuffle", (self.upscale_factor,))

    def expr(self, x: Tensor) -> Call:
        return Call("F.pixel_shuffle", (X(0), self.upscale_factor))

    @property
    def style(self) -> Style:
        return Style("up", f"pixel shuffle ×{self.upscale_factor}")


@op("pixel_unshuffle")
class PixelUnshuffle(Op):
    """Gather r x r pixels into r*r channels (torch.nn.PixelUnshuffle, space to depth).

    y[c*r*r + a*r + b, i, j] = x[c, r*i + a, r*j + b]
    x: [N, C, H*r, W*r] -> [N, C*r*r, H, W]
    """

    downscale_factor: int = attr("r", min=1)
    examples = (Example({"downscale_factor": 2}, ((1, 2, 6, 4),)),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        r = self.downscale_factor
        _divides(need, self.name, h, r, "height", "downscale_factor")
        _divides(need, self.name, w, r, "width", "downscale_factor")
        return Tensor((n, c * r * r, h // r, w // r))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return fields[0].window(self.downscale_factor, self.downscale_factor, 0)

    def module(self, x: Tensor) -> Call:
        return Call("nn.PixelUnshuffle", (self.downscale_factor,))

    def expr(self, x: Tensor) -> Call:
        return Call("F.pixel_unshuffle", (X(0), self.downscale_factor))

    @property
    def style(self) -> Style:
        return Style("down", f"pixel unshuffle ÷{self.downscale_factor}")


@op("channel_shuffle")
class ChannelShuffle(Op):
    """Interleave the channels of groups (torch.nn.ChannelShuffle, ShuffleNet).

    y[k*g + a] = x[a*C/g + k]
    x: [N, C, H, W] -> the same
    """

    groups: int = attr("g", min=1)
    examples = (Example({"groups": 3}, ((1, 6, 2, 3),)),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        c = feature_map(x, self.name)[1]
        _divides(need, self.name, c, self.groups, "channels", "groups")
        return x

    def module(self, x: Tensor) -> Call:
        return Call("nn.ChannelShuffle", (self.groups,))

    def expr(self, x: Tensor) -> Call:
        return Call("F.channel_shuffle", (X(0), self.groups))

    @property
    def style(self) -> Style:
        return Style("shape", f"channel shuffle {self.groups}")
