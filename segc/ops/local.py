"""Layers that only detection networks have: locally connected convolution, norm within a map."""

from __future__ import annotations

from math import prod
from typing import Any

from segc.code import Call, Helper, X
from segc.op import Example, Field, Need, Op, Pair, Param, Problem, Style, attr, op
from segc.ops.common import by, feature_map, known, slide
from segc.types import Tensor

LOCALLY_CONNECTED = Helper(
    "LocallyConnected2d",
    '''\
class LocallyConnected2d(nn.Module):
    """A convolution with other weights at every place of its result.

    weight: [places, out_channels, in_channels * window], places row by row; bias: [out_channels,
    *output_size]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        output_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        bias: bool = True,
    ) -> None:
        super().__init__()
        values = in_channels * kernel_size[0] * kernel_size[1]
        bound = values**-0.5
        weight = torch.empty(output_size[0] * output_size[1], out_channels, values)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        shift = torch.empty(out_channels, *output_size).uniform_(-bound, bound)
        self.bias = nn.Parameter(shift) if bias else None
        self.output_size = output_size
        self.window = {"kernel_size": kernel_size, "stride": stride, "padding": padding}

    def forward(self, x: Tensor) -> Tensor:
        windows = F.unfold(x, **self.window).permute(2, 1, 0)  # [places, values, N]
        y = torch.bmm(self.weight, windows).permute(2, 1, 0).unflatten(2, self.output_size)
        return y if self.bias is None else y + self.bias
''',
)


@op("locally_connected2d")
class LocallyConnected2d(Op):
    """A convolution whose weights are others at every place of the map (YOLO v1's later form).

    y[o,i,j] = bias[o,i,j] + sum over c,u,v of weight[(i,j), o, (c,u,v)] * x[c, s*i + u - p, ...]
    x: [N, C, H, W] of a known size -> [N, out_channels, floor((H + 2p - k)/s) + 1, ...]
    """

    stateful = True
    weights = ("weight", "bias")

    out_channels: int = attr("output channels", min=1)
    kernel_size: Pair = attr("window, pixels", min=1)
    stride: Pair = attr("step between windows, pixels", 1, min=1)
    padding: Pair = attr("pixels added on each side", 0, min=0)
    bias: bool = attr("add a learned number to every value", True)
    examples = (
        Example({"out_channels": 4, "kernel_size": 3, "padding": 1}, ((2, 3, 5, 4),)),
        Example(
            {"out_channels": 2, "kernel_size": (3, 1), "stride": 2, "bias": False}, ((1, 2, 7, 6),)
        ),
    )
    helpers = (LOCALLY_CONNECTED,)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        known(c, self.name)
        size = [self._out(need, known(d, self.name, "pixels"), k) for k, d in enumerate((h, w))]
        return Tensor((n, self.out_channels, *size))

    def _out(self, need: Need, size: int, axis: int) -> Any:
        window = self.kernel_size[axis]
        more = 2 * self.padding[axis] - window
        return slide(need, self.name, axis, size, window, self.stride[axis], more)

    def _size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the result."""
        height, width = (
            (known(x.shape[2 + k], self.name) + 2 * self.padding[k] - self.kernel_size[k])
            // self.stride[k]
            + 1
            for k in (0, 1)
        )
        return height, width

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        size = self._size(x)
        values = known(x.shape[1], self.name) * prod(self.kernel_size)
        weight = Param("weight", (prod(size), self.out_channels, values))
        bias = Param("bias", (self.out_channels, *size))
        return (weight, bias) if self.bias else (weight,)

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        return prod(output) * inputs[0][1] * prod(self.kernel_size)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return fields[0].window(self.kernel_size[axis], self.stride[axis], self.padding[axis])

    def module(self, x: Tensor) -> Call:
        channels = (x.shape[1], self.out_channels, self.kernel_size, self._size(x))
        values = {"stride": self.stride, "padding": self.padding, "bias": self.bias}
        defaults = {"stride": (1, 1), "padding": (0, 0), "bias": True}
        return Call("LocallyConnected2d", channels, values, defaults)

    @property
    def style(self) -> Style:
        return Style("conv", f"local {by(self.kernel_size)}, {self.out_channels}")


@op("spatial_response_norm")
class SpatialResponseNorm(Op):
    """Divide by the energy of the pixels around, channel by channel (Caffe's LRN WITHIN_CHANNEL).

    y = x / (k + alpha * mean of x**2 over the size x size pixels around) ** beta
    x: [N, C, H, W] -> [N, C, H, W]; pixels beyond the border are 0 and count
    """

    size: int = attr("side of the window, odd", min=1)
    alpha: float = attr("weight of the energy", 1e-4)
    beta: float = attr("exponent", 0.75)
    k: float = attr("added to the energy", 1.0)
    examples = (Example({"size": 3}, ((2, 3, 5, 4),)), Example({"size": 5}, ((1, 2, 6, 7),)))
    helpers = (
        Helper(
            "spatial_response_norm",
            '''\
def spatial_response_norm(
    x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x [N, C, H, W] over (k + alpha * mean square of the size x size pixels around) ** beta."""
    energy = F.avg_pool2d(x.square(), size, stride=1, padding=size // 2)
    return x / (k + alpha * energy) ** beta
''',
        ),
    )

    def validate(self) -> None:
        if self.size % 2 == 0:
            message = f"a window of {self.size} pixels has no centre"
            raise Problem("SEG210", message, attr="size", hint="an odd number")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        feature_map(x, self.name)
        return x

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return fields[0].window(self.size, 1, self.size // 2)

    def expr(self, x: Tensor) -> Call:
        names = ("alpha", "beta", "k")
        values = {name: getattr(self, name) for name in names}
        defaults = {name: self.attrs[name].default for name in names}
        return Call("spatial_response_norm", (X(0), self.size), values, defaults)

    @property
    def style(self) -> Style:
        return Style("norm", f"LRN {by((self.size, self.size))}")
