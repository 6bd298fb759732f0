"""conv_transpose k = stride s => 1x1 conv to s s C channels -> pixel shuffle

The windows do not overlap: output s i + a is w[:, :, a] x[i] + b, so each of the s x s places of a
window is a 1x1 convolution, and pixel_shuffle puts them side by side. Exact for padding 0, one
group, the same s along both axes. As many products, and one more pass over the result: whether it
pays depends on how well a machine does transposed convolutions (x0.5 on an x86 core in
channels_last, so the cost model refuses it there).
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, layer


def shuffle_deconv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A transposed convolution without overlap as a matrix multiplication."""
    op = node.op
    if not isinstance(op, ConvTranspose2d) or op.kernel_size != op.stride:
        return None
    s, other = op.stride
    if s != other or s == 1:
        return Skip(node.name, "its window differs along the axes, or is one pixel")
    if (op.padding, op.output_padding, op.dilation) != ((0, 0), (0, 0), (1, 1)) or op.groups != 1:
        return Skip(node.name, "it has padding, a dilation or groups")
    conv = Conv2d(out_channels=s * s * op.out_channels, kernel_size=1, bias=op.bias)
    shuffle = REGISTRY["pixel_shuffle"](upscale_factor=s)
    name = beside(checked.graph, node, "shuffle")
    new = (replace(node, op=conv, init={}), layer(node, name, shuffle, Ref(node.name)))
    return Rewrite(put={node.name: new}, moves=(Move("shuffle_weights", (node.name,)),))
