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
from segc.op import REGISTRY
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import maker, plain_window, sides


def nails_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of a bed of nails as a transposed convolution of the small map."""
    if node.op.name != "conv2d":
        return None
    nails = maker(checked, node.inputs[0], "bed_of_nails")
    if nails is None:
        return None
    op, ((top, bottom), (left, right)) = node.op, sides(node)
    reach = tuple(d * (k - 1) for d, k in zip(op.dilation, op.kernel_size, strict=True))  # type: ignore[attr-defined]
    why = plain_window(node)
    if (top, left) != (bottom, right):
        why = why or "it pads more on one side"
    if top > reach[0] or left > reach[1]:
        why = why or "it pads by more than its window reaches"
    if why:
        return Skip(node.name, why)
    scale = nails.op.scale_factor  # type: ignore[attr-defined]
    transposed = REGISTRY["conv_transpose2d"](
        out_channels=op.out_channels,  # type: ignore[attr-defined]
        kernel_size=op.kernel_size,  # type: ignore[attr-defined]
        stride=scale,
        padding=(reach[0] - top, reach[1] - left),
        output_padding=(scale[0] - 1, scale[1] - 1),
        groups=op.groups,  # type: ignore[attr-defined]
        bias=op.bias,  # type: ignore[attr-defined]
        dilation=op.dilation,  # type: ignore[attr-defined]
    )
    new = replace(node, op=transposed, inputs=nails.inputs, init={})
    move = Move("transpose_weights", (node.name, op.groups))  # type: ignore[attr-defined]
    return Rewrite(put={node.name: (new,)}, moves=(move,))
