"""Carrying out edits of a graph: layers replaced, dropped, and what nobody reads any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from segc.ir import Graph, Node, Ref
from segc.phases import inhabited, still
from segc.rewrite import Rewrite
from segc.transforms.base import vanished

Put = Mapping[str, tuple[Node, ...]]
Follow = Callable[[Ref], Ref]


def apply(graph: Graph, edits: Iterable[Rewrite]) -> Graph:
    """The graph after edits that touch different layers, without layers that nobody reads."""
    put: dict[str, tuple[Node, ...]] = {}
    instead: dict[str, Ref] = {}
    for edit in edits:
        put.update(edit.put)
        instead.update(edit.instead)
    follow = _follower(put, instead)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in put:
            nodes += _new(put[node.name], follow)
        elif node.name not in instead:
            nodes.append(_read(node, follow))
        elif _numbered(graph, node.scope):
            nodes.append(_read(vanished(node), follow))
    nodes = in_order(nodes)
    outputs = {name: follow(ref) for name, ref in graph.outputs.items()}
    kept = _living(nodes, {ref.node for ref in outputs.values()}, graph)
    return _with_scopes(replace(graph, nodes=kept, outputs=outputs), put, follow)


def _read(node: Node, follow: Follow) -> Node:
    inputs = tuple(map(follow, node.inputs))
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def _new(nodes: tuple[Node, ...], follow: Follow) -> list[Node]:
    """Layers put together read each other under their own names."""
    own = {n.name for n in nodes}
    return [
        replace(n, inputs=tuple(r if r.node in own else follow(r) for r in n.inputs)) for n in nodes
    ]


def _follower(put: Put, instead: Mapping[str, Ref]) -> Follow:
    """Which value stands for a value after the edits."""
    moved = {Ref(name): Ref(nodes[-1].name) for name, nodes in put.items()}
    moved |= {Ref(name): ref for name, ref in instead.items()}

    def follow(ref: Ref) -> Ref:
        while ref in moved and moved[ref] != ref:
            ref = moved[ref]
        return ref

    return follow


def _numbered(graph: Graph, path: str) -> bool:
    """A container whose members are numbers: one that goes leaves its number behind."""
    children = graph.scopes[path].children if path else ()
    return bool(children) and all(c.isdigit() for c in children)


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


def _with_scopes(graph: Graph, put: Put, follow: Follow) -> Graph:
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
