"""layer that changes nothing => nothing

The operator `identity`, and a crop of a map to its own size, return their operand for every input
the network accepts. Exact; it lets other rules see what lies behind.
"""

from __future__ import annotations

from segc.analyse import same_size
from segc.check import Checked
from segc.ir import Node
from segc.rewrite import Rewrite, Skip


def drop_identity(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Remove a layer that hands on its first operand."""
    if not node.inputs or len(node.op.ports) > 1:
        return None
    if not node.op.identity(*checked.inputs_of(node), same=same_size(checked)):
        return None
    return Rewrite(instead={node.name: node.inputs[0]})
