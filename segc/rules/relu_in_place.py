"""relu of a value that nobody else reads => relu that writes over it

max(x, 0) at each place needs nothing but x at that place, so the result may take the memory of x.
Exact; it saves no multiplication but one of the maps that live at the same time, which is the
most a network holds at its largest layer. Only behind layers that make a new tensor: a crop or a
part of another value would be written into that value, and the image belongs to the caller.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.ops.fused import ReluInPlace
from segc.rewrite import Rewrite, Skip
from segc.rules.common import maker, read_elsewhere

NEW = (
    "conv2d",
    "conv_transpose2d",
    "dilated_conv2d",
    "upsampled_conv2d",
    "batch_norm2d",
    "add",
)


def relu_in_place(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Let a relu write over what it reads."""
    if node.op.name != "relu":
        return None
    before = maker(checked, node.inputs[0], *NEW)
    if before is None:
        return Skip(node.name, "what it reads may be part of another value")
    if read_elsewhere(checked.graph, before, node):
        return Skip(node.name, f"the value of `{before.name}` is read elsewhere too")
    return Rewrite(put={node.name: (replace(node, op=ReluInPlace()),)})
