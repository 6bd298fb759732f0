"""f(x), f(x) => one f(x)

Two layers with the same operator, attributes and operands compute the same value. Exact. Layers
with weights of their own are never the same; applications of shared weights to one value are.
"""

from __future__ import annotations

from segc.check import Checked
from segc.ir import Node, Ref
from segc.rewrite import Rewrite, Skip


def drop_duplicate(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Read the first of several equal layers."""
    if not node.inputs or len(node.op.ports) > 1:
        return None
    for other in checked.graph.users.get(node.inputs[0], ()):
        if other.name == node.name:
            return None
        if _equal(node, other):
            return Rewrite(instead={node.name: Ref(other.name)})
    return None


def _equal(a: Node, b: Node) -> bool:
    alike = (a.op.name, a.inputs, a.op.values) == (b.op.name, b.inputs, b.op.values)
    if not alike or b.absent:
        return False
    return not a.op.stored or (a.shared or a.name) == (b.shared or b.name)
