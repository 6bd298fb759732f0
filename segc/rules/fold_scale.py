"""scale by a number next to a convolution => other weights of the convolution

With y = conv(x) = w * x + b:  conv(c x) = (c w) * x + b, and c conv(x) = (c w) * x + c b. Zeros
around the map stay zeros, so it is exact for every padding of zeros; mirrored and repeated
borders scale along. Only for a factor that is a constant of the spec, not a learned one.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import maker, read_elsewhere

CONVOLUTIONS = ("conv2d", "conv_transpose2d", "linear")


def fold_scale(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Fold a constant factor into the convolution that makes or reads the value."""
    if node.op.name != "scale" or node.op.stateful:
        return None
    graph, factor = checked.graph, float(node.op.values.get("value", 1.0))
    before = maker(checked, node.inputs[0], *CONVOLUTIONS)
    if before is not None and not read_elsewhere(graph, before, node):
        return _folded(before, node, Ref(before.name), factor, True)
    readers = graph.users.get(Ref(node.name), ())
    if Ref(node.name) in graph.outputs.values() or len(readers) != 1:
        return Skip(node.name, "its value is read in several places")
    if readers[0].op.name not in CONVOLUTIONS:
        return Skip(node.name, f"its value goes to {readers[0].op.name}, not to a convolution")
    return _folded(readers[0], node, node.inputs[0], factor, False)


def _folded(conv: Node, node: Node, source: Ref, factor: float, bias: bool) -> Rewrite:
    move = Move("scale_weights", (conv.name, factor, bias))
    same = (replace(conv, init={}),)
    return Rewrite(put={conv.name: same}, instead={node.name: source}, moves=(move,))
