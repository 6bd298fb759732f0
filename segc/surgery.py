"""Layers of a graph replaced by others: what reads them, the order, the scopes they stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from segc.ir import Graph, Node, Ref, Scope

Put = Mapping[str, tuple[Node, ...]]
Follow = Callable[[Ref], Ref]


def substituted(graph: Graph, put: Put) -> Graph:
    """The graph with other layers in the place of some; readers read the last of them."""
    follow = follower(put, {})
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += inserted(put[node.name], follow) if node.name in put else [reading(node, follow)]
    outputs = {name: follow(ref) for name, ref in graph.outputs.items()}
    kept = tuple(in_order(nodes))
    return with_scopes(replace(graph, nodes=kept, outputs=outputs), put, follow)


def reading(node: Node, follow: Follow) -> Node:
    """A layer that reads what stands for its operands."""
    inputs = tuple(map(follow, node.inputs))
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def inserted(nodes: tuple[Node, ...], follow: Follow) -> list[Node]:
    """Layers put together read each other under their own names."""
    own = {n.name for n in nodes}
    return [
        replace(n, inputs=tuple(r if r.node in own else follow(r) for r in n.inputs)) for n in nodes
    ]


def follower(put: Put, instead: Mapping[str, Ref]) -> Follow:
    """Which value stands for a value after the edits."""
    moved = {Ref(name): Ref(nodes[-1].name) for name, nodes in put.items()}
    moved |= {Ref(name): ref for name, ref in instead.items()}

    def follow(ref: Ref) -> Ref:
        while ref in moved and moved[ref] != ref:
            ref = moved[ref]
        return ref

    return follow


def passing(follow: Follow, gone: Mapping[str, Ref]) -> Follow:
    """As `follow`, where what layers that are gone read stands for their value."""

    def through(ref: Ref) -> Ref:
        ref = follow(ref)
        while ref.node in gone:
            ref = gone[ref.node]
        return ref

    return through


def in_order(nodes: list[Node]) -> list[Node]:
    """Every layer behind those it reads; as they stand where that is so already."""
    by_name = {n.name: n for n in nodes}
    done: dict[str, Node] = {}
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            wanted = [by_name[r.node] for r in node.inputs if r.node in by_name]
            waiting = [n for n in wanted if n.name not in done]
            if node.name in done or not waiting:
                done.setdefault(stack.pop().name, node)
            else:
                stack += reversed(waiting)
    return list(done.values())


def with_scopes(graph: Graph, put: Put, follow: Follow) -> Graph:
    """Scopes as the layers now are; one that lost them all passes its input through."""
    lived_in, names = inhabited(graph.nodes), {n.name for n in graph.nodes}
    scopes = {}
    for path, scope in graph.scopes.items():
        gone = path not in lived_in and not scope.absent
        scopes[path] = replace(
            scope,
            inputs=tuple((name, follow(ref)) for name, ref in scope.inputs),
            output=follow(scope.output),
            children=() if gone else _children(scope.children, f"{path}.", put),
            absent=scope.absent or gone,
        )
    kept = {
        p: replace(s, children=still(s.children, f"{p}.", names, scopes)) for p, s in scopes.items()
    }
    children = still(_children(graph.children, "", put), "", names, kept)
    return replace(graph, scopes=kept, children=children)


def _children(children: Iterable[str], path: str, put: Put) -> tuple[str, ...]:
    """Local names of members, new ones in the place of those they replace."""
    found: list[str] = []
    for child in children:
        new = put.get(path + child)
        found += [child] if new is None else [n.name[len(path) :] for n in new]
    return tuple(dict.fromkeys(found))


def inhabited(nodes: Iterable[Node]) -> set[str]:
    """Paths of the scopes that have a layer somewhere inside."""
    found = {""}
    for node in nodes:
        path = node.scope
        while path not in found:
            found.add(path)
            path = path.rpartition(".")[0]
    return found


def still(
    children: Iterable[str], path: str, names: set[str], scopes: Mapping[str, Scope]
) -> tuple[str, ...]:
    """The members of a scope that are still there."""
    return tuple(c for c in children if f"{path}{c}" in names or f"{path}{c}" in scopes)
