"""nearest upsampling x s -> conv k, p, d => conv of the small map to s s C channels -> pixel shuffle

Output o = s j + a + p reads the enlarged map at s j + a + d t, which is pixel j + floor((a + d t) / s)
of the small one. Taps that fall on the same small pixel add up: phase a is a convolution with

    w_a[u] = sum of w[t] over the t with floor((a + d t) / s) = u,   0 <= u <= floor((s - 1 + d(k - 1)) / s),

the s s phases are channels of one convolution, and pixel_shuffle puts them side by side. Rows
outside the small map are exactly the rows outside the enlarged one, so padding P = ceil(p / s)
with zeros is exact; the s P - p rows too many in front and those behind are cut off.
x2 with a 3x3 window: 2x2 windows, 16 of 36 products.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, integer_scale, layer, maker, plain_window, sides


def nearest_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of copies as convolutions of what was copied."""
    if node.op.name != "conv2d":
        return None
    up = maker(checked, node.inputs[0], "interpolate")
    if up is None or up.op.mode not in ("nearest", "nearest-exact"):  # type: ignore[attr-defined]
        return None
    scale, why = integer_scale(checked, up), plain_window(node)
    if scale is None or scale[0] != scale[1]:
        return Skip(node.name, "the map is not enlarged by one whole number")
    if scale[0] == 1 or why:
        return Skip(node.name, why or "the map is not enlarged")
    return phases(checked, node, up.inputs[0], scale[0])


def phases(checked: Checked, node: Node, source: Ref, s: int) -> Rewrite:
    """The layers in the place of a plain convolution of `source` enlarged `s` times."""
    graph, op = checked.graph, node.op
    axes = [
        phase_window(k, d, p, s)
        for k, d, p in zip(op.kernel_size, op.dilation, sides(node), strict=True)  # type: ignore[attr-defined]
    ]
    small = op.replace(
        out_channels=s * s * op.out_channels,  # type: ignore[attr-defined]
        kernel_size=tuple(a[0] for a in axes),
        padding=tuple(a[1] for a in axes),
        dilation=1,
    )
    conv = replace(node, op=small, inputs=(source,), init={})
    shuffle = REGISTRY["pixel_shuffle"](upscale_factor=s)
    new = [conv, layer(node, beside(graph, node, "shuffle"), shuffle, Ref(node.name))]
    (top, bottom), (left, right) = (a[2] for a in axes)
    if (top, bottom, left, right) != (0, 0, 0, 0):
        rim = REGISTRY["pad"](padding=[-left, -right, -top, -bottom])
        new.append(layer(node, beside(graph, node, "rim"), rim, Ref(new[-1].name)))
    move = Move("phase_weights", (node.name, s, *op.dilation))  # type: ignore[attr-defined]
    return Rewrite(put={node.name: tuple(new)}, moves=(move,))


def phase_window(k: int, d: int, p: tuple[int, int], s: int) -> tuple[int, int, tuple[int, int]]:
    """Along one axis: taps of the phases, padding of the small map, rows to cut off the result."""
    taps = (s - 1 + d * (k - 1)) // s + 1
    before = -(-p[0] // s)
    last = (p[1] - d * (k - 1) - 1) // s  # of the positions, counted from the last pixel
    padding = max(before, last + taps)
    front = s * padding - p[0]
    whole = s * (2 * padding - taps + 1)  # rows of the shuffled map beyond s times the small one
    return taps, padding, (front, whole - front - (p[0] + p[1] - d * (k - 1)))
