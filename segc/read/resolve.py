"""Names in `from`: layers, ports, paths into blocks; what is wrong when there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segc.diag import Note, Report, did_you_mean
from segc.ir import Node, Ref, Scope
from segc.loc import Loc
from segc.read.spec import LayerDecl
from segc.read.yaml import Scalar, Sequence_

BROKEN = Ref("", "broken")  # the value of a layer that is at fault: silences what follows


@dataclass
class Frame:
    """One list of layers while it is expanded.

    `names` binds local names to a path (layer or group) or, for inputs, to a value. `parent` is
    the enclosing list for inline groups; a block is closed and has none.
    """

    path: str
    env: Mapping[str, Any]
    declared: tuple[LayerDecl, ...]
    names: dict[str, str | Ref] = field(default_factory=dict)
    last: Ref | None = None
    parent: Frame | None = None
    only: str | None = None

    def join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


class Resolver:
    """Looks names up in the layers expanded so far."""

    def __init__(
        self, nodes: Mapping[str, Node], scopes: Mapping[str, Scope], report: Report
    ) -> None:
        self.nodes, self.scopes, self.report = nodes, scopes, report

    def value(self, text: str, loc: Loc, frame: Frame, me: str) -> Ref:
        """The value a name stands for; BROKEN after a report."""
        first, _, rest = text.partition(".")
        found = self._first(first, frame)
        if found is None:
            self._missing(first, text, loc, frame, me)
            return BROKEN
        if isinstance(found, Ref):
            if rest and found != BROKEN:
                self.report.error("SEG301", f"input `{first}` has no part `{rest}`", loc)
            return BROKEN if rest else found
        return self._descend(found, rest, text, loc)

    def _first(self, name: str, frame: Frame | None) -> str | Ref | None:
        while frame is not None:
            if name in frame.names:
                return frame.names[name]
            frame = frame.parent
        return None

    def _descend(self, path: str, rest: str, text: str, loc: Loc) -> Ref:
        for part in rest.split(".") if rest else ():
            if path in self.nodes:
                return self._port(self.nodes[path], part, text, loc)
            scope = self.scopes.get(path)
            if scope is None:
                return BROKEN
            if part not in scope.children:
                self._no_member(scope, part, text, loc)
                return BROKEN
            path = f"{path}.{part}"
        if path in self.nodes:
            return Ref(path)
        return self.scopes[path].output if path in self.scopes else BROKEN

    def _port(self, node: Node, part: str, text: str, loc: Loc) -> Ref:
        if part == "input":
            return node.inputs[0] if node.inputs else BROKEN
        if part in node.op.ports:
            return Ref(node.name, part)
        if part == "indices":
            hint = "add `return_indices: true` to it"
        else:
            hint = did_you_mean(part, node.op.ports) or f"it has {', '.join(node.op.ports)}"
        note = Note(node.loc, f"`{node.name}` is defined here")
        message = f"`{text}`: {node.op.name} has no output `{part}`"
        self.report.error("SEG301", message, loc, hint=hint, notes=(note,))
        return BROKEN

    def _no_member(self, scope: Scope, part: str, text: str, loc: Loc) -> None:
        if scope.absent:
            hint = "its `when` is false here"
        else:
            names = ", ".join(scope.children[:12])
            hint = did_you_mean(part, scope.children) or f"it has {names}"
        note = Note(scope.loc, f"`{scope.path}` is defined here")
        message = f"`{text}` does not exist: `{scope.path}` has no layer `{part}`"
        self.report.error("SEG301", message, loc, hint=hint, notes=(note,))

    def _missing(self, first: str, text: str, loc: Loc, frame: Frame, me: str) -> None:
        later = {d.name: d for d in frame.declared}
        if first == me:
            message = f"cycle: `{me}` reads itself"
            self.report.error("SEG302", message, loc, hint="name the layer it should read")
        elif first in later:
            self._later(first, later, loc, frame, me)
        else:
            self._dangling(first, text, loc, frame)

    def _later(
        self, first: str, later: dict[str, LayerDecl], loc: Loc, frame: Frame, me: str
    ) -> None:
        note = Note(later[first].loc, f"`{first}` is defined here")
        cycle = _way(first, me, frame.declared)
        if cycle:
            message = "cycle: " + " -> ".join([me, *reversed(cycle)])
            hint = "a layer reads only layers above it; one of these edges has to go"
            self.report.error("SEG302", message, loc, hint=hint, notes=(note,))
        else:
            message = f"`{first}` is defined further down"
            hint = f"move `{first}` above `{me}`"
            self.report.error("SEG303", message, loc, hint=hint, notes=(note,))

    def _dangling(self, first: str, text: str, loc: Loc, frame: Frame) -> None:
        visible: list[str] = []
        walk: Frame | None = frame
        while walk is not None:
            visible += walk.names
            walk = walk.parent
        hint = did_you_mean(first, visible) or f"defined above: {', '.join(visible[-8:])}"
        self.report.error("SEG301", f"`{text}` is not defined", loc, hint=hint)


def first_names(decl: LayerDecl, previous: str | None) -> list[str]:
    """The local names a declaration reads directly (its chain neighbour by default)."""
    node = decl.keys.get("from")
    if node is None:
        return [previous] if previous else []
    items = node.items if isinstance(node, Sequence_) else (node,)
    return [i.text.partition(".")[0] for i in items if isinstance(i, Scalar)]


def _way(start: str, goal: str, declared: tuple[LayerDecl, ...]) -> list[str] | None:
    """The shortest chain of reads from `start` to `goal` within one list, goal first."""
    reads: dict[str, list[str]] = {}
    previous: str | None = None
    for decl in declared:
        reads[decl.name] = first_names(decl, previous)
        previous = decl.name
    came: dict[str, str | None] = {start: None}
    queue = [start]
    for name in queue:
        if name == goal:
            way: list[str] = []
            at: str | None = name
            while at is not None:
                way.append(at)
                at = came[at]
            return way
        for other in reads.get(name, ()):
            if other not in came:
                came[other] = name
                queue.append(other)
    return None
