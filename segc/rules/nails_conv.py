"""bed_of_nails x s -> conv k, p, d => conv_transpose k, stride s

The map between is zero except for one pixel in s x s, so only every s-th product counts:

    y[o] = sum over t of w[t] x[i]  for  s i = o - p + d t,

which is a transposed convolution with stride s, the window mirrored, and padding d(k - 1) - p;
output_padding s - 1 gives the rows behind the last nail. Exact for stride 1, zeros around the
map and p <= d(k - 1); 1/(s s) of the products.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.ops.unpool import BedOfNails
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import convolution, maker, plain_window, reach, sides


def nails_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of a bed of nails as a transposed convolution of the small map."""
    op = convolution(node)
    nails = maker(checked, node.inputs[0], "bed_of_nails") if op else None
    if op is None or nails is None or not isinstance(nails.op, BedOfNails):
        return None
    why = plain_window(op) or _far(op)
    if why:
        return Skip(node.name, why)
    (top, _), (left, _) = sides(op)
    down, across = reach(op)
    scale = nails.op.scale_factor
    transposed = ConvTranspose2d(
        out_channels=op.out_channels,
        kernel_size=op.kernel_size,
        stride=scale,
        padding=(down - top, across - left),
        output_padding=(scale[0] - 1, scale[1] - 1),
        groups=op.groups,
        bias=op.bias,
        dilation=op.dilation,
    )
    new = replace(node, op=transposed, inputs=nails.inputs, init={})
    move = Move("transpose_weights", (node.name, op.groups))
    return Rewrite(put={node.name: (new,)}, moves=(move,))


def _far(op: Conv2d) -> str | None:
    """Why the padding does not fit a transposed convolution."""
    for (before, after), reaches in zip(sides(op), reach(op), strict=True):
        if before != after:
            return "it pads more on one side"
        if before > reaches:
            return "it pads by more than its window reaches"
    return None
