"""rows cut off, then a crop => one crop that starts further in

y[i] = x[i + cut] and z[i] = y[i + offset] give z[i] = x[i + cut + offset]; what is cut off at the
end does not matter, since the crop knows its size. Exact.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.ops.crop import Crop
from segc.ops.pad import Pad
from segc.rewrite import Rewrite, Skip
from segc.rules.common import maker


def merge_crops(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Let a crop do what a cut before it does."""
    cut = maker(checked, node.inputs[0], "pad") if isinstance(node.op, Crop) else None
    if cut is None or not isinstance(node.op, Crop) or not isinstance(cut.op, Pad):
        return None
    left, right, top, bottom = cut.op.padding
    if max(left, right, top, bottom) > 0:
        return Skip(node.name, f"`{cut.name}` adds pixels")
    down, across = node.op.offset
    op = node.op.replace(offset=(down - top, across - left))
    merged = replace(node, op=op, inputs=(cut.inputs[0], *node.inputs[1:]))
    return Rewrite(put={node.name: (merged,)})
