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
from segc.dim import DimLike
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.ops.fused import UpsampledConv2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, enlarges, integer_scale, layer, maker, plain_window
from segc.rules.nearest_conv import phase_window

SMOOTH = ("size", "scale_factor", "like", "grow", "align_corners")


@dataclass(frozen=True, slots=True)
class Branch:
    """Operands of the concatenation that one convolution takes: a single one that `up` enlarges,
    or neighbours that nobody does (`up` None); and their channels."""

    values: tuple[Ref, ...]
    channels: int
    up: Node | None


def split_concat_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Convolve enlarged branches of a concatenation before they are enlarged."""
    if node.op.name != "conv2d":
        return None
    concat = maker(checked, node.inputs[0], "concat")
    lone = maker(checked, node.inputs[0], "interpolate")
    if concat is None and (lone is None or node.op.kernel_size == (1, 1)):  # type: ignore[attr-defined]
        return None
    if concat is not None and concat.op.dim not in (1, -3):  # type: ignore[attr-defined]
        return None
    branches = _branches(checked, node, concat.inputs if concat else node.inputs)
    if all(b.up is None for b in branches):
        return None
    why = plain_window(node) or _lopsided(node)
    if node.op.groups != 1:  # type: ignore[attr-defined]
        why = why or "the convolution has groups"
    if why:
        return Skip(node.name, why)
    return _Split(checked, node, branches).rewrite()


def _branches(checked: Checked, node: Node, values: tuple[Ref, ...]) -> list[Branch]:
    found: list[Branch] = []
    for value in values:
        channels = checked.shape(value)[1]
        assert isinstance(channels, int)
        up = maker(checked, value, "interpolate")
        if up is not None and _can_move(checked, node, up):
            found.append(Branch((value,), channels, up))
        elif found and found[-1].up is None:
            last = found.pop()
            found.append(Branch((*last.values, value), last.channels + channels, None))
        else:
            found.append(Branch((value,), channels, None))
    return found


def _can_move(checked: Checked, node: Node, up: Node) -> bool:
    """The upsampling is one whose convolution is known at the small size."""
    if up.op.antialias or not enlarges(checked, up):  # type: ignore[attr-defined]
        return False
    mode, scale = up.op.mode, integer_scale(checked, up)  # type: ignore[attr-defined]
    if node.op.kernel_size == (1, 1):  # type: ignore[attr-defined]
        return mode in ("nearest", "nearest-exact", "bilinear")
    if mode in ("nearest", "nearest-exact"):
        return scale is not None and scale[0] == scale[1]
    if mode != "bilinear" or up.op.shrink:  # type: ignore[attr-defined]
        return False
    factor = up.op.scale_factor  # type: ignore[attr-defined]
    return not factor or (scale == tuple(factor) and scale[0] == scale[1])


def _lopsided(node: Node) -> str | None:
    """UpsampledConv2d has one number for both axes."""
    op = node.op
    if op.kernel_size == (1, 1):  # type: ignore[attr-defined]
        return None if op.padding == (0, 0) else "it pads"  # type: ignore[attr-defined]
    pairs = (op.kernel_size, op.padding, op.dilation)  # type: ignore[attr-defined]
    if any(isinstance(p, str) or p[0] != p[1] for p in pairs):
        return "its window differs along the axes"
    return None


class _Split:
    """Builds the layers in the place of the convolution."""

    def __init__(self, checked: Checked, node: Node, branches: list[Branch]) -> None:
        self.checked, self.node, self.branches = checked, node, branches
        self.names = self._names()
        self.new: list[Node] = []
        self.moves: list[Move] = []

    def _names(self) -> list[str]:
        """One for each convolution; the first of what stays at full size keeps the old one."""
        kept = next((n for n, b in enumerate(self.branches) if b.up is None), 0)
        names: list[str] = []
        for number, branch in enumerate(self.branches):
            source = branch.up.inputs[0].node if branch.up else "rest"
            words = source.split(".")
            suffix = next((w for w in reversed(words) if not w.isdigit()), "branch")
            free = beside(self.checked.graph, self.node, suffix, names)
            names.append(self.node.name if number == kept else free)
        return names

    def rewrite(self) -> Rewrite:
        """One convolution a branch, and their sum."""
        widths = tuple(b.channels for b in self.branches)
        if len(self.branches) > 1:
            args = (self.node.name, tuple(self.names), widths)
            self.moves.append(Move("split_channels", args))
        first = self.names.index(self.node.name)
        sums = [
            self._branch(branch, name, bool(self.node.op.bias) and number == first)  # type: ignore[attr-defined]
            for number, (branch, name) in enumerate(zip(self.branches, self.names, strict=True))
        ]
        if len(sums) > 1:
            ordered = sorted(sums, key=self._small)  # a map of one pixel is repeated for another
            name = self._free("sum")
            self.new.append(layer(self.node, name, REGISTRY["add"](), *ordered))
        return Rewrite(put={self.node.name: tuple(self.new)}, moves=tuple(self.moves))

    def _small(self, value: Ref) -> bool:
        return any(n.name == value.node and self._single(n) for n in self.new)

    def _free(self, suffix: str) -> str:
        return beside(self.checked.graph, self.node, suffix, [n.name for n in self.new])

    def _branch(self, branch: Branch, name: str, bias: bool) -> Ref:
        """The convolution of one branch; the value that is added."""
        node, up = self.node, branch.up
        op = node.op.replace(bias=bias)
        if up is None:
            self.new.append(replace(node, name=name, op=op, inputs=self._joined(branch), init={}))
            return Ref(name)
        if node.op.kernel_size == (1, 1):  # type: ignore[attr-defined]
            small = replace(node, name=name, op=op, inputs=up.inputs[:1], init={})
            self.new.append(small)
            return Ref(name) if self._single(small) else self._again(up, name)
        if up.op.mode == "bilinear":  # type: ignore[attr-defined]
            self.new.append(self._upsampled(up, name, bias))
            self.moves.append(Move("tap_weights", (name,)))
            return Ref(name)
        return self._phases(up, name, bias)

    def _joined(self, branch: Branch) -> tuple[Ref, ...]:
        if len(branch.values) == 1:
            return branch.values
        name = self._free("concat")
        self.new.append(layer(self.node, name, REGISTRY["concat"](), *branch.values))
        return (Ref(name),)

    def _single(self, conv: Node) -> bool:
        """It works on a map of one pixel, which adding repeats; something must be there to add."""
        size: tuple[DimLike, ...] = self.checked.shape(conv.inputs[0])[2:]
        return size == (1, 1) and any(self._full(b) for b in self.branches)

    def _full(self, branch: Branch) -> bool:
        """The branch gives a map of the full size."""
        return branch.up is None or self.checked.shape(branch.up.inputs[0])[2:] != (1, 1)

    def _again(self, up: Node, name: str) -> Ref:
        """The upsampling behind the convolution."""
        behind = self._free("up")
        self.new.append(layer(self.node, behind, up.op, Ref(name), *up.inputs[1:]))
        return Ref(behind)

    def _upsampled(self, up: Node, name: str, bias: bool) -> Node:
        op = self.node.op
        target = {n: up.op.values[n] for n in SMOOTH if up.op.values.get(n) is not None}
        fused = UpsampledConv2d(
            out_channels=op.out_channels,  # type: ignore[attr-defined]
            kernel_size=op.kernel_size[0],  # type: ignore[attr-defined]
            padding=op.padding[0],  # type: ignore[attr-defined]
            dilation=op.dilation[0],  # type: ignore[attr-defined]
            bias=bias,
            **target,
        )
        return replace(self.node, name=name, op=fused, inputs=up.inputs, init={})

    def _phases(self, up: Node, name: str, bias: bool) -> Ref:
        """Nearest: a convolution to all phases, shuffled, its rim cut off."""
        op = self.node.op
        scale = integer_scale(self.checked, up)
        assert scale is not None
        s, (k, p, d) = scale[0], (op.kernel_size[0], op.padding[0], op.dilation[0])  # type: ignore[attr-defined]
        taps, padding, (front, back) = phase_window(k, d, (p, p), s)
        small = op.replace(
            out_channels=s * s * op.out_channels,  # type: ignore[attr-defined]
            kernel_size=taps,
            padding=padding,
            dilation=1,
            bias=bias,
        )
        self.new.append(replace(self.node, name=name, op=small, inputs=up.inputs[:1], init={}))
        self.moves.append(Move("phase_weights", (name, s, d, d)))
        shuffled = self._free("shuffle")
        shuffle = REGISTRY["pixel_shuffle"](upscale_factor=s)
        self.new.append(layer(self.node, shuffled, shuffle, Ref(name)))
        if (front, back) == (0, 0):
            return Ref(shuffled)
        rim = self._free("rim")
        cut = REGISTRY["pad"](padding=[-front, -back, -front, -back])
        self.new.append(layer(self.node, rim, cut, Ref(shuffled)))
        return Ref(rim)
