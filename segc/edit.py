"""Carrying out edits of a graph: layers replaced, dropped, and what nobody reads any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from segc.ir import Graph, Node, Ref
from segc.rewrite import Rewrite
from segc.surgery import follower, in_order, inserted, passing, reading, with_scopes
from segc.transforms.base import vanished


def apply(graph: Graph, edits: Iterable[Rewrite]) -> Graph:
    """The graph after edits that touch different layers, without layers that nobody reads."""
    put: dict[str, tuple[Node, ...]] = {}
    instead: dict[str, Ref] = {}
    for edit in edits:
        put.update(edit.put)
        instead.update(edit.instead)
    follow = follower(put, instead)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in put:
            nodes += inserted(put[node.name], follow)
        elif node.name not in instead:
            nodes.append(reading(node, follow))
        elif _numbered(graph, node.scope):
            nodes.append(reading(vanished(node), follow))
    nodes = in_order(nodes)
    outputs = {name: follow(ref) for name, ref in graph.outputs.items()}
    kept = _living(nodes, {ref.node for ref in outputs.values()}, graph)
    there = {n.name for n in kept}
    gone = {n.name: n.inputs[0] for n in nodes if n.name not in there and n.inputs}
    graph = replace(graph, nodes=kept, outputs=outputs)
    return with_scopes(graph, put, passing(follow, gone))


def _numbered(graph: Graph, path: str) -> bool:
    """A container whose members are numbers: one that goes leaves its number behind."""
    children = graph.scopes[path].children if path else ()
    return bool(children) and all(c.isdigit() for c in children)


def _living(nodes: list[Node], read: set[str], graph: Graph) -> tuple[Node, ...]:
    """The layers whose values reach an output, and places left empty beside them.

    A layer stays as long as its weights are applied, or its twin in another application of its
    group stays.
    """
    first = {node.name: original(graph, node.name) for node in nodes}
    kept: set[str] = set()  # originals of what stays
    count = -1
    while count < len(read):
        count = len(read)
        for node in reversed(nodes):
            if node.name in read or first[node.name] in kept:
                owner = {node.shared} if node.shared and node.op.stateful else set()
                read |= {node.name, *(ref.node for ref in node.inputs), *owner}
                kept.add(first[node.name])
    read |= set(graph.inputs)
    return tuple(n for n in nodes if n.name in read or (n.absent and n.inputs[0].node in read))


def original(graph: Graph, name: str) -> str:
    """The layer of a group that is applied again for one in its applications."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        shared = graph.scopes[path].shared if path in graph.scopes else None
        if shared:
            return original(graph, shared + name[len(path) :])
    return name
