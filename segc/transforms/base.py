"""What a transform is: arguments declared like an operator's, and a function graph -> graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from segc.diag import did_you_mean
from segc.ir import Graph, Node, Ref
from segc.op import REGISTRY, REQUIRED, Attr, Op, Problem, collect_attrs
from segc.surgery import passing, substituted, with_scopes


class Transform:
    """Base of all transforms; argument values are instance attributes, already checked."""

    name: ClassVar[str] = ""
    attrs: ClassVar[dict[str, Attr]] = {}

    def __init__(self, **values: Any) -> None:
        for name, a in self.attrs.items():
            setattr(self, name, values.get(name, None if a.default is REQUIRED else a.default))

    def apply(self, graph: Graph) -> Graph:
        """The rewritten graph; raises Problem where the transform cannot be exact."""
        raise NotImplementedError


TRANSFORMS: dict[str, type[Transform]] = {}


def transform(name: str) -> Callable[[type[Transform]], type[Transform]]:
    """Register a class as the transform `name`."""

    def register(cls: type[Transform]) -> type[Transform]:
        cls.name, cls.attrs = name, collect_attrs(cls, name)
        TRANSFORMS[name] = cls
        return cls

    return register


# --- what transforms share ----------------------------------------------------------------------
def members(graph: Graph, path: str | None, attr: str = "layers") -> tuple[Node, ...]:
    """The layers of a group, or one layer by its name; all of them for None.

    Layers that `when` removed are left out. attr: the argument that names the group.
    """
    if path and path not in graph.scopes and path not in graph.by_name:
        message = f"`{path}` is neither a layer nor a group of layers"
        hint = did_you_mean(path, [*graph.scopes, *graph.by_name])
        raise Problem("SEG301", message, attr=attr, hint=hint)
    return tuple(n for n in graph.nodes if not n.absent and within(n.name, path))


def within(name: str, path: str | None) -> bool:
    """The layer or group `name` is `path` or lies in it; everything lies in None."""
    return not path or name == path or name.startswith(f"{path}.")


def changed(node: Node, cls: str, **values: Any) -> Op:
    """The operator `cls` with these attribute values, validated, in the place of a layer's."""
    op = REGISTRY[cls](**values)
    try:
        op.validate()
    except Problem as problem:
        raise Problem(problem.code, f"`{node.name}`: {problem.message}") from None
    return op


def vanished(node: Node) -> Node:
    """A layer that hands on its first operand, as one whose `when` is false."""
    identity = REGISTRY["identity"]()
    return Node(
        node.name,
        identity,
        node.inputs[:1],
        node.loc,
        input_locs=node.input_locs[:1],
        only=node.only,
        absent=True,
    )


Pattern = Callable[[Graph, Node], tuple[Node, ...] | str | None]


def rewritten(graph: Graph, path: str | None, pattern: Pattern, what: str) -> Graph:
    """The graph with what a pattern puts in the place of layers of a group, until it finds no more.

    What such a layer read goes if nobody else reads it. pattern: answers the new layers, why a
    layer cannot be rewritten, or None; what: the layers it is about, for messages.
    """
    chosen = {n.name for n in members(graph, path)}
    new = graph
    while put := _answers(new, chosen, pattern):
        _check_shared(new, put)
        sources = {new.by_name[name].inputs[0] for name in put}
        edited = _without_unread(substituted(new, put), sources)
        _check_groups(new, edited)
        new = edited
    if new is graph and not switched_off(graph, path):
        where = f"`{path}`" if path else "the network"
        raise Problem("SEG210", f"there is no {what} in {where}", attr="layers")
    return new


def _answers(graph: Graph, chosen: set[str], pattern: Pattern) -> dict[str, tuple[Node, ...]]:
    """What takes the place of which layers."""
    put: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        found = pattern(graph, node) if node.name in chosen and not node.absent else None
        if isinstance(found, str):
            hint = "name under `layers` what it can rewrite"
            raise Problem("SEG210", f"`{node.name}`: {found}", attr="layers", hint=hint)
        if found:
            put[node.name] = found
    return put


def _check_shared(graph: Graph, put: Mapping[str, tuple[Node, ...]]) -> None:
    """Layers that share weights change together or not at all."""
    for node in graph.nodes:
        if node.shared and (node.name in put) != (node.shared in put):
            message = f"`{node.name}` shares the weights of `{node.shared}`, and only one of them"
            raise Problem("SEG210", f"{message} can be rewritten", attr="layers")


def _check_groups(graph: Graph, edited: Graph) -> None:
    """A group that is applied again has the same layers in all its applications."""
    for path, scope in graph.scopes.items():
        if not scope.shared or _inside(graph, path) != _inside(graph, scope.shared):
            continue
        if _inside(edited, path) != _inside(edited, scope.shared):
            message = f"`{path}` applies `{scope.shared}` again, and only one of them"
            raise Problem("SEG210", f"{message} can be rewritten", attr="layers")


def _inside(graph: Graph, path: str) -> list[tuple[str, str, bool]]:
    """The layers of a group: name, operator, whether it is there."""
    found = (n for n in graph.nodes if within(n.name, path))
    return [(n.name[len(path) :], n.op.name, n.absent) for n in found]


def _without_unread(graph: Graph, sources: set[Ref]) -> Graph:
    """Of these layers those that nobody reads any more hand on their operand."""
    idle = {r.node for r in sources if not graph.users.get(r)} - {
        r.node for r in graph.outputs.values()
    }
    nodes = tuple(vanished(n) if n.name in idle else n for n in graph.nodes)
    gone = {n.name: n.inputs[0] for n in nodes if n.name in idle}
    return with_scopes(graph.with_nodes(nodes), {}, passing(lambda ref: ref, gone))


def switched_off(graph: Graph, path: str | None) -> bool:
    """`when` has removed all of a group: there is nothing to rewrite."""
    scope, node = graph.scopes.get(path or ""), graph.by_name.get(path or "")
    return bool((scope and scope.absent) or (node and node.absent))


def without_idle_inits(graph: Graph, *operators: str) -> Graph:
    """Without the initialisers for these operators where the network has none of them left."""
    used = {node.op.name for node in graph.nodes}
    gone = {name for name in operators if name not in used}
    return replace(graph, inits={k: v for k, v in graph.inits.items() if k not in gone})
