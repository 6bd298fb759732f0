"""Names in `from`: layers, ports, paths into blocks; what is wrong when there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from segc.diag import Note, Report, did_you_mean
from segc.ir import Node, Ref, Scope
from segc.loc import Loc
from segc.read.spec import LayerDecl
from segc.read.yaml import Scalar, Sequence_

BROKEN = Ref("", "broken")  # the value of a layer that is at fault: silences what follows


@dataclass(frozen=True, slots=True)
class Levels:
    """A pyramid: a value for each level, and the path of the layer or group that made it, "" where
    the level is a name for a value from elsewhere."""

    names: tuple[str, ...]
    refs: tuple[Ref, ...]
    paths: tuple[str, ...]

    def at(self, level: str) -> Ref:
        return self.refs[self.names.index(level)] if level in self.names else BROKEN


Value = Ref | Levels


@dataclass
class Frame:
    """One list of layers while it is expanded.

    `names` binds local names to a path (layer or group) or, for inputs, to a value. `parent` is
    the enclosing list for inline groups; a block is closed and has none.
    """

    path: str
    env: Mapping[str, Any]
    declared: tuple[LayerDecl, ...]
    names: dict[str, str | Value] = field(default_factory=dict)
    last: Value | None = None
    parent: Frame | None = None
    only: str | None = None

    @cached_property
    def by_name(self) -> dict[str, LayerDecl]:
        """The entries of the list, those further down too."""
        return {decl.name: decl for decl in self.declared}

    @property
    def own_name(self) -> str:
        """What the list around this one calls it."""
        outer = f"{self.parent.path}." if self.parent and self.parent.path else ""
        return self.path.removeprefix(outer).partition(".")[0]

    def join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


class Resolver:
    """Looks names up in the layers expanded so far."""

    def __init__(
        self, nodes: Mapping[str, Node], scopes: Mapping[str, Scope], report: Report
    ) -> None:
        self.nodes, self.scopes, self.report = nodes, scopes, report
        self.cyclic: set[str] = set()  # paths of layers in cycles told already
        self.pyramids: dict[str, Levels] = {}  # by the path of the layer that names them
        self.level: str | None = None  # the level that names of pyramids stand for, inside one

    @contextmanager
    def level_of(self, level: str) -> Iterator[None]:
        """While a layer is expanded for one level, names of pyramids stand for that level."""
        before, self.level = self.level, level
        try:
            yield
        finally:
            self.level = before

    def value(self, text: str, loc: Loc, frame: Frame, me: str) -> Value:
        """The value or pyramid a name stands for; BROKEN after a report."""
        found = self._value(text, loc, frame, me)
        if isinstance(found, Levels) and self.level is not None:
            return found.at(self.level)
        return found

    def single(self, text: str, loc: Loc, frame: Frame, me: str) -> Ref:
        """The one value a name stands for; a pyramid is reported."""
        found = self.value(text, loc, frame, me)
        if isinstance(found, Ref):
            return found
        message = f"`{text}` is a pyramid of several values"
        hint = f"name one of its levels: {', '.join(f'{text}.{n}' for n in found.names)}"
        self.report.error("SEG316", message, loc, hint=hint)
        return BROKEN

    def _value(self, text: str, loc: Loc, frame: Frame, me: str) -> Value:
        first, _, rest = text.partition(".")
        found = self._first(first, frame)
        if found is None:
            self._missing(first, text, loc, frame, me)
            return BROKEN
        if isinstance(found, Levels):
            return self._level(found, rest, text, loc) if rest else found
        if isinstance(found, Ref):
            if rest and found != BROKEN:
                self.report.error("SEG301", f"input `{first}` has no part `{rest}`", loc)
            return BROKEN if rest else found
        return self._descend(found, rest, text, loc)

    def _first(self, name: str, frame: Frame | None) -> str | Value | None:
        while frame is not None:
            if name in frame.names:
                return frame.names[name]
            if name in frame.by_name:
                return None  # a name of this list never means one outside, wherever it stands
            frame = frame.parent
        return None

    def _level(self, levels: Levels, rest: str, text: str, loc: Loc) -> Value:
        """A level of a pyramid, or what lies inside the layer that made it, at every level."""
        parts = rest.split(".")
        level = next((part for part in parts if part in levels.names), None)
        if level is not None:
            n, more = levels.names.index(level), ".".join(p for p in parts if p != level)
            if not more:
                return levels.refs[n]
            if levels.paths[n]:
                return self._member(levels.paths[n], more, text, loc)
        elif all(levels.paths):
            found = [self._member(path, rest, text, loc) for path in levels.paths]
            refs = tuple(f if isinstance(f, Ref) else BROKEN for f in found)
            paths = tuple(f"{path}.{rest}" for path in levels.paths)
            return BROKEN if BROKEN in refs else Levels(levels.names, refs, paths)
        hint = did_you_mean(parts[0], levels.names) or f"levels: {', '.join(levels.names)}"
        self.report.error("SEG301", f"`{text}` does not exist", loc, hint=hint)
        return BROKEN

    def _member(self, path: str, rest: str, text: str, loc: Loc) -> Value:
        """What lies inside one application of a layer."""
        held = self.pyramids.pop(path, None)
        try:
            return self._descend(path, rest, text, loc)
        finally:
            if held is not None:
                self.pyramids[path] = held

    def _descend(self, path: str, rest: str, text: str, loc: Loc) -> Value:
        parts = rest.split(".") if rest else []
        for n, part in enumerate(parts):
            own, levels = self.scopes.get(path), self.pyramids.get(path)
            inside = own is not None and part in own.children
            if levels and (not inside or levels.paths[0] == path):  # applied to every level
                return self._level(levels, ".".join(parts[n:]), text, loc)
            if path in self.nodes:
                return self._port(self.nodes[path], part, text, loc)
            scope = self.scopes.get(path)
            if scope is None:
                return BROKEN
            if part not in scope.children:
                self._no_member(scope, part, text, loc)
                return BROKEN
            path = f"{path}.{part}"
        if path in self.pyramids:
            return self.pyramids[path]
        if path in self.nodes:
            return Ref(path)
        return self.scopes[path].output if path in self.scopes else BROKEN

    def _port(self, node: Node, part: str, text: str, loc: Loc) -> Ref:
        if part == "input":
            return node.inputs[0] if node.inputs else BROKEN
        if part in node.op.ports:
            return Ref(node.name, part)
        message = f"`{text}` does not exist: {node.op.name} has no output `{part}`"
        hint: str | None
        if node.absent:
            message, hint = f"`{text}` does not exist", f"the `when` of `{node.name}` is false here"
        elif part == "indices" and "return_indices" in node.op.attrs:
            hint = "add `return_indices: true` to it"
        else:
            hint = self.report.suggest(part, (*node.op.ports, "input"), "it has")
        note = Note(node.loc, f"`{node.name}` is defined here")
        self.report.error("SEG301", message, loc, hint=hint, notes=(note,))
        return BROKEN

    def _no_member(self, scope: Scope, part: str, text: str, loc: Loc) -> None:
        hint: str | None
        if scope.absent:
            hint = f"the `when` of `{scope.path}` is false here"
        else:
            hint = self.report.suggest(part, scope.children, "it has")
        note = Note(scope.loc, f"`{scope.path}` is defined here")
        message = f"`{text}` does not exist: `{scope.path}` has no layer `{part}`"
        self.report.error("SEG301", message, loc, hint=hint, notes=(note,))

    def _missing(self, first: str, text: str, loc: Loc, frame: Frame, me: str) -> None:
        inner = ""
        if first in frame.by_name and first == me:
            message = f"cycle: `{me}` reads itself"
            self.report.error("SEG302", message, loc, hint="name the layer it should read")
            return
        walk: Frame | None = frame
        while walk is not None:
            if walk is not frame and first == inner:
                message = f"cycle: `{me}` is part of `{first}` and reads it"
                _, _, rest = text.partition(".")
                hint = f"inside `{first}`, write `{rest}`" if rest else None
                self.report.error("SEG302", message, loc, hint=hint)
                return
            if first in walk.by_name:
                self._later(first, loc, walk, me)
                return
            inner, walk = walk.own_name, walk.parent
        self._dangling(first, text, loc, frame)

    def _later(self, first: str, loc: Loc, frame: Frame, me: str) -> None:
        note = Note(frame.by_name[first].loc, f"`{first}` is defined here")
        if frame.join(me) in self.cyclic:
            return  # told where the cycle was met first
        cycle = None if self.report.crowded else _way(first, me, frame.declared)
        if cycle:
            self.cyclic.update(frame.join(name) for name in cycle)
            message = "cycle: " + _shortened([me, *reversed(cycle)])
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
        hint = self.report.suggest(first, visible) or f"defined above: {', '.join(visible[-8:])}"
        self.report.error("SEG301", f"`{text}` is not defined", loc, hint=hint)


def first_names(decl: LayerDecl, previous: str | None) -> list[str]:
    """The local names a declaration reads directly (its chain neighbour by default)."""
    node = decl.keys.get("from")
    if node is None:
        return [previous] if previous else []
    items = node.items if isinstance(node, Sequence_) else (node,)
    return [i.text.partition(".")[0] for i in items if isinstance(i, Scalar)]


def _shortened(way: list[str]) -> str:
    return " -> ".join(way if len(way) <= 12 else [*way[:6], "…", *way[-5:]])


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
