"""nearest upsampling x s -> conv k, p, d => conv_transpose s + d(k - 1), stride s

An enlarged map is a bed of nails in which every nail is copied over s pixels; a convolution of it
is one of the bed itself with the wider window

    v[u] = sum of w[t] over t with 0 <= u - d t < s,    u < s + d(k - 1):

taps that meet copies of one pixel add up. From there on it is nails_conv: a transposed convolution
with stride s and padding d(k - 1) - p. Rows outside the small map are exactly the rows outside the
enlarged one, so zeros around it are exact; output_padding is what is padded more behind than in
front. x2 with a 3x3 window: 4x4 taps a small pixel, 16 of 36 products.

One convolution to s s channels and a pixel shuffle has as many products or more and works on a rim
that is cut off. Measured on one x86 core in channels_last it ran, with a 3x3 window, at x0.9-1.1 of
this one's pace for s = 2, x0.4-0.6 for s = 3 and 4, x0.2 for s = 8; with 21 output channels and a
5x5 window at s = 4 it was the faster one, x1.4.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import convolution, integer_scale, plain_window, reach, resized, sides

COPIES = ("nearest", "nearest-exact")


def nearest_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of copies as a transposed convolution of what was copied."""
    op = convolution(node)
    found = resized(checked, node.inputs[0]) if op else None
    if op is None or found is None or found[1].mode not in COPIES:
        return None
    up = found[0]
    why = unfit(checked, op, up)
    if why:
        return Skip(node.name, why)
    new, move = of_small(checked, node, op, up)
    return Rewrite(put={node.name: (new,)}, moves=(move,))


def unfit(checked: Checked, op: Conv2d, up: Node) -> str | None:
    """Why a convolution of a map that `up` enlarges by copies cannot work on the small one."""
    scale, why = integer_scale(checked, up), plain_window(op)
    if scale is None or scale == (1, 1):
        return "the map is not enlarged by whole numbers"
    for (before, after), reaches, s in zip(sides(op), reach(op), scale, strict=True):
        if before > reaches:
            why = why or "it pads by more than its window reaches"
        if not 0 <= after - before < s:
            why = why or "it pads more on one side"
    return why


def of_small(checked: Checked, node: Node, op: Conv2d, up: Node) -> tuple[Node, Move]:
    """The layer that convolves the map before `up`, and how its weights are made."""
    scale = integer_scale(checked, up)
    assert scale is not None
    (top, bottom), (left, right) = sides(op)
    down, across = reach(op)
    spread = ConvTranspose2d(
        out_channels=op.out_channels,
        kernel_size=(scale[0] + down, scale[1] + across),
        stride=scale,
        padding=(down - top, across - left),
        output_padding=(bottom - top, right - left),
        groups=op.groups,
        bias=op.bias,
    )
    new = replace(node, op=spread, inputs=up.inputs[:1], init={})
    return new, Move("spread_weights", (node.name, op.groups, scale, op.dilation))
