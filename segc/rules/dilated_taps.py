"""dilated conv => the same, its taps one by one where the map is small

At dilation d the tap n steps from the centre meets an H x W map in max(0, H - d n) rows; the other
products are with the zeros around it. Where less than a quarter of all products are on the map,
each tap is a 1x1 convolution of the part it meets, added to the result; one that meets nothing is
left out. Which way is decided when it runs, from the size of the map, so it is exact for every
size. For stride 1, an odd window, one group, and padding that keeps the size.

Measured on an x86 core, 2048 -> 256 channels at 32 x 32, contiguous: rate 12 (0.56 on the map)
x0.7, rate 24 (0.25) x1.4, rate 36 (0.11) x3.8; at 64 x 64 rate 36 (0.39) x1.1. In channels_last
oneDNN leaves out the products with padding by itself (rate 36 x0.7), so the layer stays as it was.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.ops.conv import Conv2d
from segc.ops.fused import DilatedConv2d
from segc.rewrite import Rewrite, Skip
from segc.rules.common import convolution, plain_window, sides


def dilated_taps(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A dilated convolution that leaves out products with padding."""
    op = convolution(node)
    if op is None or max(op.dilation) == 1:
        return None
    why = plain_window(op) or ("it has groups" if op.groups > 1 else None) or _resizing(op)
    if why:
        return Skip(node.name, why)
    return Rewrite(put={node.name: (replace(node, op=DilatedConv2d(**op.values)),)})


def _resizing(op: Conv2d) -> str | None:
    """Why its result has another size than its map."""
    for k, d, pads in zip(op.kernel_size, op.dilation, sides(op), strict=True):
        if k % 2 == 0 or pads != (d * (k // 2),) * 2:
            return "its padding does not keep the size"
    return None
