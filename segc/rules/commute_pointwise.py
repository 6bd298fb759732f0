"""upsampling -> 1x1 conv => 1x1 conv -> upsampling

Both are linear, one over channels, one over pixels: conv(U x) = U conv(x). The shares with which
an upsampled pixel reads its neighbours sum to 1, so the bias passes. Exact for nearest, bilinear
and bicubic; the convolution then works on the small map. Only for a convolution with stride 1
and no padding; pays unless the channels grow more than the area.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.rewrite import Rewrite, Skip
from segc.rules.common import beside, convolution, layer, plain_window, resized, sides


def commute_pointwise(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Convolve the small map, then enlarge the result."""
    op = convolution(node)
    found = resized(checked, node.inputs[0]) if op else None
    if op is None or found is None or op.kernel_size != (1, 1):
        return None
    up, resize = found
    why = plain_window(op)
    if sides(op) != ((0, 0), (0, 0)):
        why = why or "it pads"
    if resize.antialias or resize.mode == "area":
        why = why or f"`{up.name}` averages over a window"
    if why:
        return Skip(node.name, why)
    conv = replace(node, inputs=up.inputs[:1])
    name = beside(checked.graph, node, "up")
    moved = layer(node, name, resize, Ref(node.name), *up.inputs[1:])
    return Rewrite(put={node.name: (conv, moved)})
