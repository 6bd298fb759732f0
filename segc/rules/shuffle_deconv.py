"""conv_transpose k = stride s => 1x1 conv to s s C channels -> pixel shuffle

The windows do not overlap: output s i + a is w[:, :, a] x[i] + b, so each of the s x s places of a
window is a 1x1 convolution, and pixel_shuffle puts them side by side. Exact for padding 0, one
group, the same s along both axes; the same products in one matrix multiplication.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, layer


def shuffle_deconv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A transposed convolution without overlap as a matrix multiplication."""
    op = node.op
    if op.name != "conv_transpose2d" or op.kernel_size != op.stride:  # type: ignore[attr-defined]
        return None
    s, other = op.stride  # type: ignore[attr-defined]
    plain = (op.padding, op.output_padding, op.dilation, op.groups)  # type: ignore[attr-defined]
    if s != other or s == 1 or plain != ((0, 0), (0, 0), (1, 1), 1):
        return Skip(node.name, "it has padding, groups, or differs along the axes")
    conv = REGISTRY["conv2d"](out_channels=s * s * op.out_channels, kernel_size=1, bias=op.bias)  # type: ignore[attr-defined]
    shuffle = REGISTRY["pixel_shuffle"](upscale_factor=s)
    name = beside(checked.graph, node, "shuffle")
    new = (replace(node, op=conv, init={}), layer(node, name, shuffle, Ref(node.name)))
    return Rewrite(put={node.name: new}, moves=(Move("shuffle_weights", (node.name,)),))
