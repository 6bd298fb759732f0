"""dropout at inference => nothing

In evaluation torch's dropouts return their input unchanged. Exact. The deploy module never trains.
"""

from __future__ import annotations

from segc.check import Checked
from segc.ir import Node
from segc.rewrite import Rewrite, Skip

DROPOUTS = frozenset(("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"))


def drop_dropout(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Remove a dropout; its readers read what it read."""
    if node.op.name not in DROPOUTS:
        return None
    return Rewrite(instead={node.name: node.inputs[0]})
