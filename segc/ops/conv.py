"""Layers that multiply by learned matrices: convolutions and the linear layer."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

from segc.code import Call
from segc.op import Example, Field, Need, Op, Padding, Pair, Param, Problem, Style, attr, op
from segc.ops.common import by, feature_map, gathered, known, one, positive, ranked, reach, slide
from segc.types import Tensor


class _Grouped(Op):
    """What a convolution and its transpose share."""

    stateful = True
    weights = ("weight", "bias")

    out_channels: int = attr("output channels", min=1)
    kernel_size: Pair = attr("window, pixels", min=1)

    groups: int
    bias: bool
    dilation: Pair
    stride: Pair

    def split(self, channels: Any) -> int:
        """Input channels, once they and the output channels divide into the groups."""
        c = known(channels, self.name)
        for what, n, operand in (("input", c, 0), ("output", self.out_channels, None)):
            if n % self.groups:
                message = f"{n} {what} channels do not divide into {self.groups} groups"
                raise Problem("SEG202", message, attr="groups", operand=operand)
        return c

    def tensors(self, shape: tuple[int, int]) -> tuple[Param, ...]:
        weight = Param("weight", (*shape, *self.kernel_size))
        return (weight, Param("bias", (self.out_channels,))) if self.bias else (weight,)

    def label(self, word: str) -> str:
        parts = [f"{word} {by(self.kernel_size)}", str(self.out_channels)]
        if self.dilation != (1, 1):
            parts.append(f"rate {one(self.dilation)}")
        elif self.stride != (1, 1):
            parts.append(f"stride {one(self.stride)}")
        return ", ".join([*parts, *([f"groups {self.groups}"] if self.groups > 1 else [])])


@op("conv2d")
class Conv2d(_Grouped):
    """Slide learned windows over the map (cross-correlation, torch.nn.Conv2d).

    y[o,i,j] = bias[o] + sum over c,u,v of weight[o,c,u,v] * x[c, s*i + d*u - p, s*j + d*v - p]
    x: [N, C, H, W] -> [N, out_channels, floor((H + 2p - d(k-1) - 1)/s) + 1, ...]
    `padding: same` keeps H and W at stride 1; an even window then has its extra pixel at the end.
    """

    stride: Pair = attr("step between windows, pixels", 1, min=1)
    padding: Padding = attr("pixels added on each side, or `same`", 0, min=0)
    dilation: Pair = attr("step between the taps of a window, pixels", 1, min=1)
    groups: int = attr("channel groups that do not mix", 1, min=1)
    bias: bool = attr("add a learned number to each output channel", True)
    padding_mode: str = attr(
        "what the added pixels hold",
        "zeros",
        choices=("zeros", "reflect", "replicate", "circular"),
    )
    examples = (
        Example({"out_channels": 4, "kernel_size": 3, "padding": 1}, ((2, 3, 9, 8),)),
        Example(
            {"out_channels": 6, "kernel_size": (3, 5), "stride": (2, 1), "groups": 3,
             "padding": (0, 2), "bias": False},
            ((1, 3, 11, 12),),
        ),
        Example({"out_channels": 2, "kernel_size": 3, "dilation": 3}, ((1, 2, 15, 16),)),
        Example({"out_channels": 2, "kernel_size": 2, "padding": "same"}, ((1, 2, 7, 8),)),
        Example(
            {"out_channels": 2, "kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
            ((1, 2, 12, 9),),
        ),
    )  # fmt: skip

    def validate(self) -> None:
        if self.padding == "same" and self.stride != (1, 1):
            message = "`padding: same` keeps the size, a stride changes it"
            raise Problem("SEG210", message, attr="stride", hint="give the padding in pixels")

    def sides(self, axis: int) -> tuple[int, int]:
        """Pixels added before and after."""
        if isinstance(self.padding, str):
            total = reach(self.kernel_size[axis], self.dilation[axis]) - 1
            return total // 2, total - total // 2
        return self.padding[axis], self.padding[axis]

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, *_ = feature_map(x, self.name)
        self.split(c)
        return Tensor((n, self.out_channels, self._out(need, x, 0), self._out(need, x, 1)))

    def _out(self, need: Need, x: Tensor, axis: int) -> Any:
        size, sides = x.shape[2 + axis], self.sides(axis)
        least = {"reflect": max(sides) + 1, "circular": max(sides)}.get(self.padding_mode, 0)
        if least > 1:
            message = f"{self.padding_mode} padding of {max(sides)} needs a map of {least} pixels"
            problem = Problem("SEG205", message, attr="padding_mode", operand=0)
            need.at_least(size, least, problem)
        window = reach(self.kernel_size[axis], self.dilation[axis])
        return slide(need, self.name, axis, size, window, self.stride[axis], sum(sides) - window)

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return self.tensors((self.out_channels, known(x.shape[1], self.name) // self.groups))

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        return prod(output) * (inputs[0][1] // self.groups) * prod(self.kernel_size)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        window = reach(self.kernel_size[axis], self.dilation[axis])
        return fields[0].window(window, self.stride[axis], self.sides(axis)[0])

    def module(self, x: Tensor) -> Call:
        padding = self.padding if isinstance(self.padding, str) else one(self.padding)
        return Call(
            "nn.Conv2d",
            (x.shape[1], self.out_channels),
            {
                "kernel_size": one(self.kernel_size),
                "stride": one(self.stride),
                "padding": padding,
                "dilation": one(self.dilation),
                "groups": self.groups,
                "bias": self.bias,
                "padding_mode": self.padding_mode,
            },
            {
                "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True,
                "padding_mode": "zeros",
            },
        )  # fmt: skip

    @property
    def style(self) -> Style:
        family = "dilated" if self.dilation != (1, 1) else "conv"
        return Style(family, self.label("conv"))


@op("conv_transpose2d")
class ConvTranspose2d(_Grouped):
    """Spread each pixel over a learned window: the gradient of conv2d (torch.nn.ConvTranspose2d).

    y[o, s*i + d*u - p, s*j + d*v - p] += weight[c,o,u,v] * x[c,i,j], then + bias[o]
    x: [N, C, H, W] -> [N, out_channels, (H - 1)s - 2p + d(k-1) + output_padding + 1, ...]
    """

    stride: Pair = attr("step between the windows in the output, pixels", 1, min=1)
    padding: Pair = attr("pixels cut from each side of the output", 0, min=0)
    output_padding: Pair = attr("pixels added at the end of the output", 0, min=0)
    groups: int = attr("channel groups that do not mix", 1, min=1)
    bias: bool = attr("add a learned number to each output channel", True)
    dilation: Pair = attr("step between the taps of a window, pixels", 1, min=1)
    examples = (
        Example({"out_channels": 3, "kernel_size": 2, "stride": 2}, ((1, 4, 6, 7),)),
        Example({"out_channels": 2, "kernel_size": 4, "stride": 2, "padding": 1}, ((2, 3, 6, 7),)),
        Example(
            {"out_channels": 4, "kernel_size": (5, 3), "stride": (2, 3), "padding": (2, 0),
             "output_padding": (1, 2), "groups": 2, "bias": False},
            ((1, 2, 7, 6),),
        ),
        Example({"out_channels": 1, "kernel_size": 3, "dilation": 2}, ((1, 1, 8, 9),)),
    )  # fmt: skip

    def validate(self) -> None:
        for extra, stride, dilation in zip(
            self.output_padding, self.stride, self.dilation, strict=True
        ):
            if extra >= max(stride, dilation):
                message = f"output_padding {extra} is not below the stride {stride}" + (
                    f" or the dilation {dilation}" if dilation > 1 else ""
                )
                raise Problem("SEG210", message, attr="output_padding")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, *_ = feature_map(x, self.name)
        self.split(c)
        return Tensor((n, self.out_channels, self._out(need, x, 0), self._out(need, x, 1)))

    def _out(self, need: Need, x: Tensor, axis: int) -> Any:
        window = reach(self.kernel_size[axis], self.dilation[axis])
        rest = window - 2 * self.padding[axis] + self.output_padding[axis]
        size = (x.shape[2 + axis] - 1) * self.stride[axis] + rest
        if rest < 1:
            positive(need, self.name, axis, size, "padding")
        return size

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return self.tensors((known(x.shape[1], self.name), self.out_channels // self.groups))

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        return prod(inputs[0]) * (self.out_channels // self.groups) * prod(self.kernel_size)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        stride, padding = self.stride[axis], self.padding[axis]
        window = reach(self.kernel_size[axis], self.dilation[axis])
        low, high = Fraction(padding + 1 - window, stride), Fraction(padding, stride)
        return gathered(fields[0], Fraction(1, stride), low, high)

    def module(self, x: Tensor) -> Call:
        return Call(
            "nn.ConvTranspose2d",
            (x.shape[1], self.out_channels),
            {
                "kernel_size": one(self.kernel_size),
                "stride": one(self.stride),
                "padding": one(self.padding),
                "output_padding": one(self.output_padding),
                "groups": self.groups,
                "bias": self.bias,
                "dilation": one(self.dilation),
            },
            {
                "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "bias": True,
                "dilation": 1,
            },
        )  # fmt: skip

    @property
    def style(self) -> Style:
        return Style("up" if self.stride != (1, 1) else "conv", self.label("up-conv"))


@op("linear")
class Linear(Op):
    """Multiply the last axis by a learned matrix (torch.nn.Linear).

    y[..., o] = bias[o] + sum over i of weight[o,i] * x[..., i]
    x: [N, ..., F] -> [N, ..., out_features]
    """

    stateful = True
    weights = ("weight", "bias")

    out_features: int = attr("output features", min=1)
    bias: bool = attr("add a learned number to each output feature", True)
    examples = (
        Example({"out_features": 5}, ((2, 7),)),
        Example({"out_features": 3, "bias": False}, ((2, 4, 6),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(1, 9)), "a tensor [N, ..., features]")
        known(x.shape[-1], self.name, "features")
        return Tensor((*x.shape[:-1], self.out_features))

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        weight = Param("weight", (self.out_features, x.shape[-1]))
        return (weight, Param("bias", (self.out_features,))) if self.bias else (weight,)

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        return prod(inputs[0]) * self.out_features

    def module(self, x: Tensor) -> Call:
        sizes = (x.shape[-1], self.out_features)
        return Call("nn.Linear", sizes, {"bias": self.bias}, {"bias": True})

    @property
    def style(self) -> Style:
        return Style("conv", f"linear {self.out_features}")
