"""nearest upsampling x s -> conv k, p, d => conv of the small map to s s C channels -> shuffle

Output o = s j + a + p reads the enlarged map at s j + a + d t, which is a copy of pixel
j + floor((a + d t) / s) of the small one. Taps that fall on copies of one pixel add up, so phase
a is a convolution of the small map with

    w_a[u] = sum of w[t] over t with floor((a + d t) / s) = u,  u <= floor((s - 1 + d(k - 1)) / s);

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
from segc.ops.conv import Conv2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, convolution, integer_scale, layer, plain_window, resized

COPIES = ("nearest", "nearest-exact")


def nearest_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of copies as convolutions of what was copied."""
    op = convolution(node)
    found = resized(checked, node.inputs[0]) if op else None
    if op is None or found is None or found[1].mode not in COPIES:
        return None
    up, why = found[0], plain_window(op)
    scale = integer_scale(checked, up)
    if scale is None or scale[0] != scale[1] or scale[0] == 1:
        return Skip(node.name, "the map is not enlarged by one whole number")
    if why:
        return Skip(node.name, why)
    new, move = phases(checked, node, op, up.inputs[0], scale[0])
    return Rewrite(put={node.name: new}, moves=(move,))


def phases(
    checked: Checked, node: Node, op: Conv2d, source: Ref, s: int, taken: tuple[str, ...] = ()
) -> tuple[tuple[Node, ...], Move]:
    """The layers that convolve `source` enlarged `s` times; the first has the name of `node`."""
    axes = [
        phase_window(k, d, op.sides(n), s)
        for n, (k, d) in enumerate(zip(op.kernel_size, op.dilation, strict=True))
    ]
    small = op.replace(
        out_channels=s * s * op.out_channels,
        kernel_size=tuple(a[0] for a in axes),
        padding=tuple(a[1] for a in axes),
        dilation=1,
    )
    move = Move("phase_weights", (node.name, s, *op.dilation))
    shuffled = beside(checked.graph, node, "shuffle", taken)
    shuffle = layer(node, shuffled, REGISTRY["pixel_shuffle"](upscale_factor=s), Ref(node.name))
    conv = replace(node, op=small, inputs=(source,), init={})
    (top, bottom), (left, right) = (a[2] for a in axes)
    if (top, bottom, left, right) == (0, 0, 0, 0):
        return (conv, shuffle), move
    cut = REGISTRY["pad"](padding=[-left, -right, -top, -bottom])
    rim = layer(node, beside(checked.graph, node, "rim", taken), cut, Ref(shuffled))
    return (conv, shuffle, rim), move


def phase_window(k: int, d: int, p: tuple[int, int], s: int) -> tuple[int, int, tuple[int, int]]:
    """Along one axis: taps of the phases, padding of the small map, rows to cut off the result.

    k, d, p: the window, its dilation, its padding before and after; s: the factor.
    """
    taps = (s - 1 + d * (k - 1)) // s + 1
    before = -(-p[0] // s)
    last = (p[1] - d * (k - 1) - 1) // s  # of the positions, counted from the last pixel
    padding = max(before, last + taps)
    front = s * padding - p[0]
    whole = s * (2 * padding - taps + 1)  # rows of the shuffled map beyond s times the small one
    return taps, padding, (front, whole - front - (p[0] + p[1] - d * (k - 1)))
