"""tie: a group applies the weights of another group of equal structure.

Both groups hold the same layers, wired the same way, with weights of the same shapes. Afterwards
every layer of the one computes with the weights of its counterpart in the other, w' = w, as if the
spec had written `use`. The tied group has no parameters of its own, gradients of both uses add up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segc.ir import Graph, Node, Ref
from segc.op import Problem, attr
from segc.transforms.base import Transform, members, transform, within
from segc.transforms.types import Derived, derive


@transform("tie")
class Tie(Transform):
    """Let a group (or layer) apply the weights of another one, made the same way.

    As `use`, for groups that exist already: a block of the trunk and its copy on another scale, or
    the two halves of a Siamese network. The weights are saved once, under the names of `to`.
    """

    layers: str = attr("the group or layer that gives up its weights")
    to: str = attr("the group or layer whose weights it applies")

    def apply(self, graph: Graph) -> Graph:
        theirs = members(graph, self.to, "to")
        ours = members(graph, self.layers)
        if within(self.layers, self.to) or within(self.to, self.layers):
            message = f"`{self.layers}` and `{self.to}` are not two different groups"
            raise Problem("SEG210", message, attr="to")
        if not any(n.op.weights for n in ours):
            raise Problem("SEG210", f"`{self.layers}` has no weights to tie", attr="layers")
        self._check_reach(graph)
        self._check_layers(ours, theirs)
        derived = derive(graph)
        owner = {}
        for mine, other in zip(ours, theirs, strict=True):
            self._check(mine, other, derived)
            owner[mine.name] = other
        self._check_outside(ours, theirs)
        return _tied(self._with_scopes(graph), owner)

    def _check_reach(self, graph: Graph) -> None:
        """A block is closed: its layers apply weights of that block, or all of it is tied."""
        path = self.layers.rpartition(".")[0]
        while path:
            if graph.scopes[path].kind == "block" and not within(self.to, path):
                message = f"`{self.layers}` lies in the block `{path}`, `{self.to}` does not"
                raise Problem("SEG210", message, attr="layers", hint=f"tie all of `{path}`")
            path = path.rpartition(".")[0]

    def _check_layers(self, ours: tuple[Node, ...], theirs: tuple[Node, ...]) -> None:
        names = [self._local(n, self.layers) for n in ours]
        others = [self._local(n, self.to) for n in theirs]
        if names == others:
            return
        odd = [n for n in [*names, *others] if (n in names) != (n in others)]
        what = f"only one of them has a layer `{odd[0]}`" if odd else "their layers stand otherwise"
        message = f"`{self.layers}` and `{self.to}` are not alike: {what}"
        raise Problem("SEG210", message, attr="to")

    def _local(self, node: Node, path: str) -> str:
        return node.name[len(path) + 1 :]

    def _check(self, mine: Node, other: Node, derived: Derived) -> None:
        why = _difference(mine, other, derived) or self._wired_otherwise(mine, other)
        if why:
            message = f"`{mine.name}` and `{other.name}` are not alike: {why}"
            raise Problem("SEG210", message, attr="to")
        if other.only and not mine.only:
            message = f"`{other.name}` exists in training only, `{mine.name}` always"
            raise Problem("SEG311", message, attr="to")

    def _wired_otherwise(self, mine: Node, other: Node) -> str | None:
        """What is read inside the group must be read from the counterpart in the other one."""
        for a, b in zip(mine.inputs, other.inputs, strict=True):
            inside = within(a.node, self.layers), within(b.node, self.to)
            moved = Ref(self.to + a.node[len(self.layers) :], a.port)
            if inside[0] != inside[1] or (inside[0] and moved != b):
                return f"one reads `{a}`, the other `{b}`"
        return None

    def _check_outside(self, ours: tuple[Node, ...], theirs: tuple[Node, ...]) -> None:
        """What the groups read from outside must correspond one to one."""
        pairs = {
            (a, b)
            for mine, other in zip(ours, theirs, strict=True)
            for a, b in zip(mine.inputs, other.inputs, strict=True)
            if not within(a.node, self.layers)
        }
        if not len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs):
            message = f"`{self.layers}` and `{self.to}` read different numbers of values"
            raise Problem("SEG210", message, attr="to")

    def _with_scopes(self, graph: Graph) -> Graph:
        scopes = dict(graph.scopes)
        for path, scope in graph.scopes.items():
            other = self.to + path[len(self.layers) :]
            if within(path, self.layers) and other in scopes:
                scopes[path] = replace(scope, shared=scopes[other].shared or other)
        return replace(graph, scopes=scopes)


def _difference(mine: Node, other: Node, derived: Derived) -> str | None:
    if mine.op.name != other.op.name:
        return f"{mine.op.name} and {other.op.name}"
    for name in mine.op.attrs:
        a, b = getattr(mine.op, name), getattr(other.op, name)
        if a != b and mine.op.attrs[name].kind != "Operand":
            return f"`{name}` is {_shown(a)} here and {_shown(b)} there"
    if len(mine.inputs) != len(other.inputs):
        return "they read different numbers of values"
    shapes = [_weights(n, derived) for n in (mine, other)]
    if None not in shapes and shapes[0] != shapes[1]:
        return "their weights have different shapes, for they read different numbers of channels"
    return None


def _weights(node: Node, derived: Derived) -> tuple[Any, ...] | None:
    if any(not isinstance(derived.shape(ref), tuple) for ref in node.inputs):
        return None
    return node.op.parameters(*derived.operands(node))


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _tied(graph: Graph, owner: dict[str, Node]) -> Graph:
    """The graph with the weights of each layer in `owner`; who shared them before follows."""
    nodes = []
    for node in graph.nodes:
        other = owner.get(node.shared or node.name)
        if other is not None:
            source = other.shared or other.name
            node = replace(node, shared=source, init={}, freeze=other.freeze)
        nodes.append(node)
    scopes = {}
    for path, scope in graph.scopes.items():
        target = graph.scopes.get(scope.shared or "")
        again = target is not None and bool(target.shared)
        scopes[path] = replace(scope, shared=target.shared) if again and target else scope
    return replace(graph, nodes=tuple(nodes), scopes=scopes)
