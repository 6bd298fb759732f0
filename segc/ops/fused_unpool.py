"""Max unpooling and the convolution behind it as one layer, with a kernel of its own on GPUs.

No spec names them: an optimisation or a transform puts them in. Their modules stand in
`unpool_conv.py`, beside the network's own file.
"""

from __future__ import annotations

from math import prod
from typing import Any

from segc.code import Call, Helper, Self, SizeOf, X
from segc.op import Field, Need, Op, Operand, Pair, Param, Style, attr, deploy_op
from segc.ops.common import by, one
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.ops.unpool import MaxUnpool2d
from segc.types import Index, Tensor

FILE = "unpool_conv"


class _Unpooled(Op):
    """A convolution of stride 1 over an unpooled map; mixed in before the convolution's class."""

    operands = ("x", "indices")
    index_operands = ("indices",)

    window: Pair = attr("of the pooling, and its step, pixels", 2, min=1)
    size: Operand | None = attr("the tensor whose height and width the unpooled map has", None)

    @property
    def unpooling(self) -> MaxUnpool2d:
        """The unpooling it contains."""
        named = {"size": self.size} if self.size else {}
        return MaxUnpool2d(kernel_size=self.window, **named)

    def infer(self, need: Need, x: Tensor, *others: Any) -> Any:
        return super().infer(need, self.unpooling.infer(need, x, *others))

    def parameters(self, x: Tensor, *others: Any) -> tuple[Param, ...]:
        return super().parameters(x)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return super().field(axis, (self.unpooling.field(axis, fields, lengths),))

    def scratch(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        """The unpooled map, written and read once."""
        return 2 * prod(self.unpooled(inputs, output))

    def unpooled(
        self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]
    ) -> tuple[int, ...]:
        """The shape of the unpooled map."""
        raise NotImplementedError

    def module(self, x: Tensor, *others: Any) -> Call:
        plain = super().module(x)
        assert plain is not None
        names = ("kernel_size", "padding", "dilation", "bias")
        values = {n: plain.kwargs[n] for n in names} | {"window": one(self.window)}
        defaults = {"padding": 0, "dilation": 1, "bias": True, "window": 2}
        return Call(self.helpers[0].name, plain.args, values, defaults)

    def expr(self, x: Tensor, indices: Index, *like: Tensor) -> Call:
        return Call(Self(), (X(0), X(1), *(SizeOf(2) for _ in like)))


@deploy_op("unpool_conv2d")
class UnpoolConv2d(_Unpooled, Conv2d):
    """conv2d at stride 1 over max_unpool2d of a pooled map.

    x: [N, C, h, w], indices of a pooling of [N, C, H, W] -> [N, out_channels, H + 2p - d(k-1), ...]
    """

    helpers = (Helper("UnpoolConv2d", file=FILE),)

    def unpooled(
        self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]
    ) -> tuple[int, ...]:
        sizes = (
            output[2 + n] - sum(self.sides(n)) + self.dilation[n] * (self.kernel_size[n] - 1)
            for n in range(2)
        )
        return (*inputs[0][:2], *sizes)

    @property
    def style(self) -> Style:
        return Style("up", f"unpool {by(self.window)}, {self.label('conv')}")


@deploy_op("unpool_conv_transpose2d")
class UnpoolConvTranspose2d(_Unpooled, ConvTranspose2d):
    """conv_transpose2d at stride 1 over max_unpool2d of a pooled map.

    x: [N, C, h, w], indices of a pooling of [N, C, H, W] -> [N, out_channels, H - 2p + d(k-1), ...]
    """

    helpers = (Helper("UnpoolConvTranspose2d", file=FILE),)

    def unpooled(
        self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]
    ) -> tuple[int, ...]:
        sizes = (
            output[2 + n] + 2 * self.padding[n] - self.dilation[n] * (self.kernel_size[n] - 1)
            for n in range(2)
        )
        return (*inputs[0][:2], *sizes)

    def macs(self, inputs: tuple[tuple[int, ...], ...], output: tuple[int, ...]) -> int:
        return super().macs((self.unpooled(inputs, output), *inputs[1:]), output)

    @property
    def style(self) -> Style:
        return Style("up", f"unpool {by(self.window)}, {self.label('up-conv')}")
