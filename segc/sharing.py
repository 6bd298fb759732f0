"""Edits where weights or whole groups are applied several times: all applications alike, or none.

A layer applied again has the weights of its owner, so what converts them must be right for every
application. A group applied again is one class in the emitted module, so its layers must stay the
same in every application.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segc.ir import Graph, Node, Ref
from segc.rewrite import Argument, Rewrite, Skip
from segc.surgery import inhabited

SHARED = "its weights are shared with a layer it does not fit"
GROUPED = "its group is applied again, where it does not fit"


def together(graph: Graph, edits: Mapping[str, Rewrite]) -> tuple[dict[str, Rewrite], list[Skip]]:
    """The edits that every application takes alike, and why the others are refused."""
    family, twins = _families(graph), _twins(graph)
    kept, skips = dict(edits), []
    again = bool(family or twins)
    while again:
        again = False
        by_layer = {t: edit for edit in kept.values() for t in edit.touched}
        for name, edit in list(kept.items()):
            why = _misfit(graph, edit, by_layer, family, twins)
            if why:
                del kept[name]
                skips.append(Skip(name, why))
                again = True
    put = {name: nodes for edit in kept.values() for name, nodes in edit.put.items()}
    return {n: _sharing(graph, e, put) for n, e in kept.items()}, skips


def applications(graph: Graph) -> list[tuple[str, str]]:
    """Groups that are applied again, with the group they apply."""
    return [(path, s.shared) for path, s in graph.scopes.items() if s.shared]


def _twins(graph: Graph) -> dict[str, list[str]]:
    """For each group that is applied several times the others it is paired with."""
    found: dict[str, list[str]] = {}
    for path, other in applications(graph):
        found.setdefault(path, []).append(other)
        found.setdefault(other, []).append(path)
    return found


def _families(graph: Graph) -> dict[str, set[str]]:
    """For each layer with shared weights all that apply them."""
    groups: dict[str, set[str]] = {}
    for node in graph.nodes:
        if node.shared and node.op.stateful:
            groups.setdefault(node.shared, {node.shared}).add(node.name)
    return {name: group for group in groups.values() for name in group}


def _misfit(
    graph: Graph,
    edit: Rewrite,
    by_layer: Mapping[str, Rewrite],
    family: Mapping[str, set[str]],
    twins: Mapping[str, list[str]],
) -> str | None:
    """Why an edit cannot be made along with the others."""
    if not _converts_alike(graph, edit, by_layer, family):
        return SHARED
    for path in twins.keys() & inhabited(graph.by_name[name] for name in edit.touched):
        if not all(_mirrored(graph, edit, by_layer, path, other) for other in twins[path]):
            return GROUPED
    return None


# --- weights --------------------------------------------------------------------------------


def _converts_alike(
    graph: Graph, edit: Rewrite, by_layer: Mapping[str, Rewrite], family: Mapping[str, set[str]]
) -> bool:
    """Every layer that shares weights with one of the edit's has an edit that converts the same."""
    shared = family.keys() & edit.touched
    if not shared or _harmless(graph, edit, shared):
        return True
    own = _conversion(graph, edit)
    others = {other for name in shared for other in family[name] - {name}}
    if others & edit.touched or not others <= by_layer.keys():
        return False
    return all(_conversion(graph, by_layer[other]) == own for other in others)


def _harmless(graph: Graph, edit: Rewrite, shared: set[str]) -> bool:
    """The edit leaves weights as they are: it drops an application, or moves one elsewhere."""
    if edit.moves:
        return False
    for name in shared:
        node = graph.by_name[name]
        new = [n for n in edit.put.get(name, ()) if n.op.stateful]
        if not new and not node.shared:
            return False  # others apply what it owns
        if new and [_reading_as(node, n) for n in new] != [node]:
            return False
    return True


def _reading_as(node: Node, new: Node) -> Node:
    """A layer as it would be with another one's operands."""
    return replace(new, inputs=node.inputs, input_locs=node.input_locs)


def _conversion(graph: Graph, edit: Rewrite) -> tuple[Any, ...]:
    """What an edit does to weights, with the names of the layers that own them."""
    names, put = {}, {}
    for touched in edit.touched:
        node = graph.by_name[touched]
        owner = names[touched] = (node.shared or touched) if node.op.stateful else ""
        new = [n for n in edit.put.get(touched, ()) if n.op.stateful]
        put[owner] = [(n.op.name, n.op.values) for n in new]
        names |= {n.name: f"{owner}/{i}" for i, n in enumerate(new) if n.name != touched}
    moves = [(m.function, *(_renamed(a, names) for a in m.args)) for m in edit.moves]
    return moves, put


def _renamed(argument: Argument, names: Mapping[str, str]) -> Any:
    if isinstance(argument, tuple):
        return tuple(_renamed(a, names) for a in argument)
    return names.get(argument, argument) if isinstance(argument, str) else argument


def _sharing(graph: Graph, edit: Rewrite, new: Mapping[str, tuple[Node, ...]]) -> Rewrite:
    """The edit with layers that use the weights of those put in the place of their owners."""
    put = {}
    for name, nodes in edit.put.items():
        pattern = new.get(graph.by_name[name].shared or "", ())
        owners = iter([p.name for p in pattern if p.op.stateful])
        put[name] = tuple(
            replace(n, shared=next(owners, n.shared)) if n.op.stateful else n for n in nodes
        )
    return replace(edit, put=put)


# --- groups ---------------------------------------------------------------------------------


def _mirrored(
    graph: Graph, edit: Rewrite, by_layer: Mapping[str, Rewrite], path: str, other: str
) -> bool:
    """What an edit does inside one application of a group is done inside another one too."""
    own = _inside(graph, edit, path)
    if not own:
        return True
    twin = by_layer.get(f"{other}.{min(own)}")
    return twin is not None and _inside(graph, twin, other) == own


def _inside(graph: Graph, edit: Rewrite, path: str) -> dict[str, Any]:
    """An edit's changes to the layers of one application, under their names inside it."""
    prefix = f"{path}."
    inputs = {ref: str(n) for n, (_, ref) in enumerate(graph.scopes[path].inputs)}

    def seen(ref: Ref) -> tuple[str, str]:
        if ref in inputs:
            return inputs[ref], ""
        return ref.node.removeprefix(prefix), ref.port

    def described(node: Node) -> tuple[Any, ...]:
        name, reads = node.name.removeprefix(prefix), tuple(map(seen, node.inputs))
        return name, node.op.name, node.op.values, reads

    found: dict[str, Any] = {}
    for name in edit.touched:
        if name.startswith(prefix):
            rel = name.removeprefix(prefix)
            found[rel] = [described(n) for n in edit.put.get(name, ())]
            if name in edit.instead:
                found[rel] = seen(edit.instead[name])
    return found
