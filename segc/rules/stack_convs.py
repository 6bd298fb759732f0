"""convs of one input with one window => one conv, its channels taken apart

Convolutions that read the same map with the same window, step and padding differ in their weights
only: stacked along the output channels they are one. Exact; the map is read once. It pays for
several small ones (the two heads of a region proposal network, x1.5), not for large ones, whose
result has to be taken apart again (a ResNet's shortcut beside its first convolution, x0.93): so
only where all of them together have no more channels than the map they read.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.ops.conv import Conv2d
from segc.ops.fused import Narrow
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, convolution, layer


def stack_convs(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Parallel small convolutions as one; the rule speaks at the first of them."""
    op = convolution(node)
    if op is None:
        return None
    found = _alike(checked, node, op)
    if len(found) < 2 or found[0][0].name != node.name:
        return None
    channels = checked.shape(node.inputs[0])[1]
    total = sum(c.out_channels for _, c in found)
    if not isinstance(channels, int) or total > channels:
        why = f"together with {_listed(found)} it has more channels than the map it reads"
        return Skip(node.name, why)
    return _stacked(checked, found, total)


def _alike(checked: Checked, node: Node, op: Conv2d) -> list[tuple[Node, Conv2d]]:
    """The convolutions of the same map with the same attributes but their channels, in order."""
    found = []
    for other in checked.graph.users.get(node.inputs[0], ()):
        conv = convolution(other)
        if conv is None or other.absent or other.only != node.only or conv.groups != 1:
            continue
        if conv.replace(out_channels=1).values == op.replace(out_channels=1).values:
            found.append((other, conv))
    return found if op.groups == 1 else []


def _listed(found: list[tuple[Node, Conv2d]]) -> str:
    return ", ".join(f"`{node.name}`" for node, _ in found[1:])


def _stacked(checked: Checked, found: list[tuple[Node, Conv2d]], total: int) -> Rewrite:
    first, op = found[0]
    name = beside(checked.graph, first, "stack")
    one = replace(first, name=name, op=op.replace(out_channels=total), init={})
    put: dict[str, tuple[Node, ...]] = {}
    start = 0
    for node, conv in found:
        part = Narrow(start=start, length=conv.out_channels)
        put[node.name] = (layer(node, node.name, part, Ref(name)),)
        start += conv.out_channels
    put[first.name] = (one, *put[first.name])
    move = Move("stack_weights", (name, tuple(node.name for node, _ in found)))
    return Rewrite(put=put, moves=(move,))
