"""rows cut off, then a crop => one crop that starts further in

y[i] = x[i + cut] and z[i] = y[i + offset] give z[i] = x[i + cut + offset]; what is cut off at the
end does not matter, since the crop knows its size. Exact. A cut copies the map, a crop only looks.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.rewrite import Rewrite, Skip
from segc.rules.common import maker


def merge_crops(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Let a crop do what a cut before it does."""
    if node.op.name != "crop":
        return None
    cut = maker(checked, node.inputs[0], "pad")
    if cut is None:
        return None
    left, right, top, bottom = cut.op.padding  # type: ignore[attr-defined]
    if max(left, right, top, bottom) > 0:
        return Skip(node.name, f"`{cut.name}` adds pixels")
    down, across = node.op.offset  # type: ignore[attr-defined]
    op = node.op.replace(offset=(down - top, across - left))
    merged = replace(node, op=op, inputs=(cut.inputs[0], *node.inputs[1:]))
    return Rewrite(put={node.name: (merged,)})
