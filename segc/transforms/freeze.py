"""freeze: the weights of a group are not trained.

Nothing that is computed changes: the gradients of the weights are not asked for. Running statistics
of batch norms are not weights and go on following the batches (`replace_norm: {norm: frozen}` stops
them too). A layer elsewhere that applies the same weights is frozen with them.
"""

from __future__ import annotations

from dataclasses import replace

from segc.ir import Graph
from segc.op import Problem, attr
from segc.transforms.base import Transform, members, switched_off, transform


@transform("freeze")
class Freeze(Transform):
    """Do not train the weights of a group or of one layer.

    As `freeze: true` on each of its layers. Batch norms in it still update their running statistics
    in training; `replace_norm` with `norm: frozen` fixes those too.
    """

    layers: str = attr("the group or layer")

    def apply(self, graph: Graph) -> Graph:
        chosen = [n for n in members(graph, self.layers) if n.op.weights]
        owners = {n.name for n in chosen if n.shared is None}
        for node in chosen:
            if node.shared and node.shared not in owners:
                message = f"`{node.name}` applies the weights of `{node.shared}`, "
                message += f"which is not in `{self.layers}`; freeze them there"
                raise Problem("SEG210", message, attr="layers")
        if not owners and not switched_off(graph, self.layers):
            raise Problem("SEG210", f"`{self.layers}` has no weights to freeze", attr="layers")
        return graph.with_nodes(
            tuple(
                replace(n, freeze=True) if (n.shared or n.name) in owners else n
                for n in graph.nodes
            )
        )
