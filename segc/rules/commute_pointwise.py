"""upsampling -> 1x1 conv => 1x1 conv -> upsampling

Both are linear, one over channels, one over pixels: conv(U x) = U conv(x). The shares with which
an upsampled pixel reads its neighbours sum to 1, so the bias passes. Exact for nearest, bilinear
and bicubic; the convolution then works on the small map. Only for a convolution with stride 1 and no
padding, and where the map does not get smaller; pays unless the channels grow more than the area.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.rewrite import Rewrite, Skip
from segc.rules.common import beside, layer, maker, plain_window, sides


def commute_pointwise(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Convolve the small map, then enlarge the result."""
    if node.op.name != "conv2d" or node.op.kernel_size != (1, 1):  # type: ignore[attr-defined]
        return None
    up = maker(checked, node.inputs[0], "interpolate")
    if up is None:
        return None
    why = plain_window(node)
    if sides(node) != ((0, 0), (0, 0)):
        why = why or "it pads"
    if up.op.antialias or up.op.mode == "area":  # type: ignore[attr-defined]
        why = why or f"`{up.name}` averages over a window"
    if why:
        return Skip(node.name, why)
    conv = replace(node, inputs=up.inputs[:1])
    name = beside(checked.graph, node, "up")
    moved = layer(node, name, up.op, Ref(node.name), *up.inputs[1:])
    return Rewrite(put={node.name: (conv, moved)})
