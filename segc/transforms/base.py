"""What a transform is: arguments declared like an operator's, and a function graph -> graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from segc.diag import did_you_mean
from segc.ir import Graph, Node
from segc.op import REGISTRY, REQUIRED, Attr, Op, Problem, collect_attrs


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


def without_idle_inits(graph: Graph, *operators: str) -> Graph:
    """Without the initialisers for these operators where the network has none of them left."""
    used = {node.op.name for node in graph.nodes}
    gone = {name for name in operators if name not in used}
    return replace(graph, inits={k: v for k, v in graph.inits.items() if k not in gone})
