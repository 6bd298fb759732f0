"""conv over concat(a, U b) => conv(a) + conv(U b), the second computed at the size of b

A convolution is linear in its input channels: over a concatenation it is the sum of convolutions
with slices of the weights. A branch that was enlarged is then convolved before it is:

    1x1     conv(U b) = U conv(b); a map of one pixel needs no enlarging, it is added to all pixels
    k x k   conv(U b) = sum over taps of shift(U (w_tap b)): UpsampledConv2d does the products on
            the small map and enlarges, shifts and adds with one matrix along each axis
    nearest by a whole number: phases and a pixel shuffle, see nearest_conv

Exact at the border too: rows beside the map are zero in the matrices. For stride 1, zeros around
the map, one group. The cost model refuses it where the matrices cost more than the products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.ops.conv import Conv2d
from segc.ops.fused import UpsampledConv2d
from segc.ops.merge import Concat
from segc.ops.resize import Interpolate
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import (
    beside,
    convolution,
    enlarges,
    integer_scale,
    layer,
    maker,
    plain_window,
    resized,
    seen_from,
)
from segc.rules.nearest_conv import COPIES, of_small, unfit

TARGETS = ("size", "scale_factor", "like", "grow", "align_corners")


@dataclass(frozen=True, slots=True)
class Branch:
    """Operands of the concatenation that one convolution takes: a single one that `up` enlarges,
    or neighbours that nobody does (`up` None); and their channels."""

    values: tuple[Ref, ...]
    channels: int
    up: tuple[Node, Interpolate] | None


def split_concat_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Convolve enlarged branches of a concatenation before they are enlarged."""
    op = convolution(node)
    if op is None:
        return None
    concat = maker(checked, node.inputs[0], "concat")
    if concat is None and op.kernel_size == (1, 1):
        return None  # commute_pointwise is about these
    if concat is not None and (not isinstance(concat.op, Concat) or concat.op.dim not in (1, -3)):
        return None
    branches = _branches(checked, op, concat.inputs if concat else node.inputs)
    if all(b.up is None for b in branches):
        return None
    why = plain_window(op) or _lopsided(op)
    if op.groups != 1:
        why = why or "the convolution has groups"
    if why:
        return Skip(node.name, why)
    return _Split(checked, node, op, branches).rewrite()


def _branches(checked: Checked, op: Conv2d, values: tuple[Ref, ...]) -> list[Branch]:
    found: list[Branch] = []
    for value in values:
        channels = checked.shape(value)[1]
        assert isinstance(channels, int)
        up = resized(checked, value)
        if up is not None and _can_move(checked, op, *up):
            found.append(Branch((value,), channels, up))
        elif found and found[-1].up is None:
            last = found.pop()
            found.append(Branch((*last.values, value), last.channels + channels, None))
        else:
            found.append(Branch((value,), channels, None))
    return found


def _can_move(checked: Checked, op: Conv2d, up: Node, resize: Interpolate) -> bool:
    """The upsampling is one whose convolution is known at the small size."""
    if resize.antialias or not enlarges(checked, up):
        return False
    if op.kernel_size == (1, 1):
        return resize.mode in (*COPIES, "bilinear")
    if resize.mode in COPIES:
        return unfit(checked, op, up) is None
    scale = integer_scale(checked, up)
    if resize.mode != "bilinear" or resize.shrink:
        return False
    factor = resize.scale_factor
    return not factor or (scale == tuple(factor) and factor[0] == factor[1])


def _lopsided(op: Conv2d) -> str | None:
    """UpsampledConv2d has one number for both axes."""
    if op.kernel_size == (1, 1):
        return None if op.padding == (0, 0) else "it pads"
    pairs = (op.kernel_size, op.padding, op.dilation)
    if any(isinstance(p, str) or p[0] != p[1] for p in pairs):
        return "its window differs along the axes"
    return None


class _Split:
    """Builds the layers in the place of the convolution."""

    def __init__(self, checked: Checked, node: Node, op: Conv2d, branches: list[Branch]) -> None:
        self.checked, self.node, self.op, self.branches = checked, node, op, branches
        self.names = self._names()
        self.new: list[Node] = []
        self.moves: list[Move] = []

    def _names(self) -> list[str]:
        """One for each convolution; the first of what stays at full size keeps the old one."""
        kept = next((n for n, b in enumerate(self.branches) if b.up is None), 0)
        names: list[str] = []
        for number, branch in enumerate(self.branches):
            source = branch.up[0].inputs[0].node if branch.up else "rest"
            suffix = seen_from(self.node.name, source)
            free = beside(self.checked.graph, self.node, suffix, names)
            names.append(self.node.name if number == kept else free)
        return names

    def rewrite(self) -> Rewrite:
        """One convolution a branch, and their sum."""
        if len(self.branches) > 1:
            widths = tuple(b.channels for b in self.branches)
            args = (self.node.name, tuple(self.names), widths)
            self.moves.append(Move("split_channels", args))
        first = self.names.index(self.node.name)
        sums = [
            self._branch(branch, replace(self.node, name=name, init={}), number == first)
            for number, (branch, name) in enumerate(zip(self.branches, self.names, strict=True))
        ]
        if len(sums) > 1:
            pixel = {n.name for n in self.new if self._pixel(n)}
            ordered = sorted(sums, key=lambda r: r.node in pixel)  # a pixel is added to a map
            self.new.append(layer(self.node, self._free("sum"), REGISTRY["add"](), *ordered))
        return Rewrite(put={self.node.name: tuple(self.new)}, moves=tuple(self.moves))

    def _free(self, suffix: str) -> str:
        return beside(self.checked.graph, self.node, suffix, [n.name for n in self.new])

    def _branch(self, branch: Branch, conv: Node, first: bool) -> Ref:
        """The convolution of one branch; the value that is added."""
        op = self.op.replace(bias=self.op.bias and first)
        assert isinstance(op, Conv2d)
        if branch.up is None:
            self.new.append(replace(conv, op=op, inputs=self._joined(branch)))
            return Ref(conv.name)
        up, resize = branch.up
        if op.kernel_size == (1, 1):
            small = replace(conv, op=op, inputs=up.inputs[:1])
            self.new.append(small)
            return Ref(conv.name) if self._pixel(small) else self._again(conv, up)
        if resize.mode in COPIES:
            small, move = of_small(self.checked, conv, op, up)
            self.new.append(small)
            self.moves.append(move)
            return Ref(small.name)
        self.new.append(replace(conv, op=_upsampled(op, resize), inputs=up.inputs))
        self.moves.append(Move("tap_weights", (conv.name,)))
        return Ref(conv.name)

    def _joined(self, branch: Branch) -> tuple[Ref, ...]:
        if len(branch.values) == 1:
            return branch.values
        name = self._free("concat")
        self.new.append(layer(self.node, name, REGISTRY["concat"](), *branch.values))
        return (Ref(name),)

    def _pixel(self, conv: Node) -> bool:
        """It works on a map of one pixel, which adding repeats; something must be there to add."""
        alone = not any(self._whole(b) for b in self.branches)
        known = conv.inputs[0] in self.checked.types and conv.op.name == "conv2d"
        return known and not alone and self.checked.shape(conv.inputs[0])[2:] == (1, 1)

    def _whole(self, branch: Branch) -> bool:
        """The branch gives a map of the full size."""
        return branch.up is None or self.checked.shape(branch.up[0].inputs[0])[2:] != (1, 1)

    def _again(self, conv: Node, up: Node) -> Ref:
        """The upsampling behind the convolution."""
        name = self._free("up")
        self.new.append(layer(self.node, name, up.op, Ref(conv.name), *up.inputs[1:]))
        return Ref(name)


def _upsampled(op: Conv2d, resize: Interpolate) -> UpsampledConv2d:
    assert not isinstance(op.padding, str)
    target = {n: resize.values[n] for n in TARGETS if resize.values.get(n) is not None}
    return UpsampledConv2d(
        out_channels=op.out_channels,
        kernel_size=op.kernel_size[0],
        padding=op.padding[0],
        dilation=op.dilation[0],
        bias=op.bias,
        **target,
    )
