"""Which scopes become one class: instances are compared, not remembered.

An *occurrence* is one class scope (block instance, named group, the network itself) in one
observation. Occurrences whose members, operators and wiring agree share a `Blueprint`, which
becomes a class. Layers that `when` removes from some of them make a part optional, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from segc.code import Helper
from segc.emit.views import View, frozen
from segc.ir import Node, Ref, Scope

Place = tuple[str, int]  # operand number n of a member; ("", n) is the n-th value returned
TOP = ""


class NodeKey(NamedTuple):
    """What layers at the same place of two instances must agree on."""

    op: str
    ports: tuple[str, ...]
    stateful: bool
    module: Any  # the outlines of the operator's code trees
    expr: Any
    init: Any
    freeze: bool
    shared: str


class ScopeKey(NamedTuple):
    """What inner scopes must agree on: their blueprint or their items, and whose weights."""

    inside: Any
    shared: str


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a class. kind: "node", "class", "box" (numbered container) or "absent".

    `rel` is its path inside the class scope, `key` what instances must agree on, `optional` says
    that some of them lack it. A box has parts of its own.
    """

    rel: str
    kind: str
    key: Any = None
    only: str | None = None
    optional: bool = False
    parts: tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        return self.rel.rpartition(".")[2]


@dataclass(frozen=True, eq=False)
class Occurrence:
    """One class scope in one observation. `args` and `returns` are values of the whole graph."""

    view: View
    path: str
    args: tuple[tuple[str, Ref], ...]
    returns: tuple[Ref, ...]
    parts: tuple[Part, ...] = ()
    wires: dict[Place, tuple[Ref, ...]] = field(default_factory=dict)

    @property
    def scope(self) -> Scope | None:
        return self.view.scope(self.path) if self.path else None

    def full(self, rel: str) -> str:
        return f"{self.path}.{rel}" if self.path else rel

    def node(self, rel: str) -> Node | None:
        return self.view.node(self.full(rel))

    @property
    def id(self) -> tuple[int, str]:
        return self.view.number, self.path


@dataclass(eq=False)
class Blueprint:
    """Occurrences that share one class, and what they have in common."""

    number: int
    key: tuple[str, str]  # ("block", its name), ("group", its name) or ("top", "")
    occurrences: list[Occurrence] = field(default_factory=list)
    parts: tuple[Part, ...] = ()
    wires: dict[Place, tuple[Ref, ...]] = field(default_factory=dict)
    height: int = 0

    @property
    def first(self) -> Occurrence:
        return self.occurrences[0]

    def admit(self, new: Occurrence) -> bool:
        """Take the occurrence in if it has the same structure."""
        if not self.occurrences:
            self.parts, self.wires = new.parts, dict(new.wires)
            self.occurrences.append(new)
            return True
        old = self.first
        if len(old.args) != len(new.args) or len(old.returns) != len(new.returns):
            return False
        parts = merge_all(self.parts, new.parts)
        wires = None if parts is None else meet(self.wires, new.wires)
        if parts is None or wires is None:
            return False
        self.parts, self.wires = parts, wires
        self.occurrences.append(new)
        return True

    def walk(self) -> Iterator[Part]:
        """All parts, boxes opened, in order."""
        return _walk(self.parts)

    def helpers(self) -> Iterator[Helper]:
        """Functions and modules of the operators' own that the class may use."""
        for part in self.walk():
            node = self.first.node(part.rel)
            if node is not None:
                yield from node.op.helpers


def _walk(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        yield part
        yield from _walk(part.parts)


# --- comparing --------------------------------------------------------------------------------
def merge_all(a: Sequence[Part], b: Sequence[Part]) -> tuple[Part, ...] | None:
    if len(a) != len(b):
        return None
    merged = [merge(p, q) for p, q in zip(a, b, strict=True)]
    return tuple(p for p in merged if p) if all(merged) else None


def merge(a: Part, b: Part) -> Part | None:
    """What two parts have in common, or None where they differ."""
    if a.rel != b.rel or a.only != b.only:
        return None
    if a.kind == "absent" or b.kind == "absent":
        return replace(b if a.kind == "absent" else a, optional=True)
    if a.kind != b.kind or a.key != b.key:
        return None
    parts = merge_all(a.parts, b.parts)
    return None if parts is None else replace(a, parts=parts, optional=a.optional or b.optional)


def meet(
    a: dict[Place, tuple[Ref, ...]], b: dict[Place, tuple[Ref, ...]]
) -> dict[Place, tuple[Ref, ...]] | None:
    """The names both sides have for every operand, or None where they share none."""
    met = dict(a)
    for place, names in b.items():
        if place in met:
            common = tuple(n for n in met[place] if n in names)
            if not common:
                return None
            met[place] = common
        else:
            met[place] = names
    return met


# --- building ---------------------------------------------------------------------------------
class Builder:
    """Sorts the class scopes of all observations into blueprints, inner scopes first."""

    def __init__(self, views: Sequence[View]) -> None:
        self.views = views
        self.blueprints: list[Blueprint] = []
        self.of: dict[tuple[int, str], Blueprint] = {}
        self.at: dict[tuple[int, str], Occurrence] = {}

    def build(self) -> list[Blueprint]:
        patterns: list[View] = []
        repeats: list[tuple[View, View]] = []
        for view in self.views:
            like = next((p for p in patterns if p.structure == view.structure), None)
            if like is None:
                patterns.append(view)
            else:
                repeats.append((view, like))
        scopes = [(view, path) for view in patterns for path in class_scopes(view)]
        for view, path in sorted(scopes, key=_build_order):
            self._place(occurrence(view, path, self.of), view.heights[path])
        for view, like in repeats:
            self._repeat(view, like)
        for blueprint in self.blueprints:
            blueprint.occurrences.sort(key=lambda o: (o.view.number, o.view.places[o.path]))
        return self.blueprints

    def _place(self, new: Occurrence, height: int) -> None:
        key = class_key(new)
        for blueprint in self.blueprints:
            if blueprint.key == key and blueprint.admit(new):
                break
        else:
            blueprint = Blueprint(len(self.blueprints), key)
            blueprint.admit(new)
            self.blueprints.append(blueprint)
        blueprint.height = max(blueprint.height, height)
        self.of[new.id] = blueprint
        self.at[new.id] = new

    def _repeat(self, view: View, like: View) -> None:
        """Place the scopes of a view that differs from a placed one in numbers only."""
        for path in class_scopes(like):
            new = replace(self.at[like.number, path], view=view)
            blueprint = self.of[like.number, path]
            blueprint.occurrences.append(new)
            self.of[new.id], self.at[new.id] = blueprint, new


def _build_order(entry: tuple[View, str]) -> tuple[int, int, int, int]:
    """Inner scopes first; among equals those that lack least, so that they set the pattern."""
    view, path = entry
    absent = sum(1 for member in view.members(path) if view.is_absent(member))
    return view.heights[path], absent, view.number, view.places[path]


def class_scopes(view: View) -> list[str]:
    """Paths of the scopes that are classes, the network ("") included, in order."""
    found = [TOP]

    def visit(path: str) -> None:
        for child in view.children(path):
            if view.node(child) is None and not view.scope(child).absent:
                if not view.is_box(child):
                    found.append(child)
                visit(child)

    visit(TOP)
    return found


def class_key(occurrence: Occurrence) -> tuple[str, str]:
    scope = occurrence.scope
    if scope is None:
        return "top", ""
    if scope.block is not None:
        return "block", scope.block
    path = scope.shared or scope.path
    name = path.rpartition(".")[2]
    if not name.isdigit():
        return "group", name
    words = [w for w in path.split(".") if not w.isdigit()]
    plural = words[-1] if words else "item"
    return "group", plural[:-1] if plural.endswith("s") else plural + "_block"


def occurrence(view: View, path: str, of: dict[tuple[int, str], Blueprint]) -> Occurrence:
    """The scope with its members and, for every operand, the names it has inside the class."""
    args = view.arguments(path)
    new = Occurrence(view, path, args, view.leaving.get(path, ()) if path else ())
    names = Names(new)
    parts = tuple(_part(new, child, of, names) for child in view.children(path))
    returned = new.returns if path else tuple(view.graph.outputs.values())
    for n, ref in enumerate(returned):
        new.wires["", n] = names.of(ref)
    return replace(new, parts=parts)


def value_name(occurrence: Occurrence, ref: Ref) -> str:
    """The name of a value inside a scope: of the outermost group it is the output of, else of
    its layer; "" for the output of the scope itself."""
    path, label = occurrence.path, occurrence.view.graph.labels.get(ref)
    if label is not None:
        return label
    for word in ref.node[len(path) + 1 :].split("."):
        scope = occurrence.view.graph.scopes.get(path)
        if scope is not None and scope.output == ref:
            break
        path = f"{path}.{word}"
    name = short_name(path[len(occurrence.path) + 1 :])
    return name if ref.port == "out" or not name else f"{name}_{ref.port}"


def short_name(rel: str) -> str:
    """`layer1.2` -> `layer1_2`, `aspp.pool` -> `pool`."""
    words = rel.split(".")
    k = len(words) - 1
    while k > 0 and words[k].isdigit():
        k -= 1
    return "_".join(words[k:])


class Names:
    """What a value of the whole graph is called inside one occurrence.

    A value made inside is `Ref(path inside)`, an argument `Ref("@0")`; the output of an inner
    scope also `Ref("scope", "!")`, which holds whether or not the scope is there.
    """

    def __init__(self, occurrence: Occurrence) -> None:
        self.inside = f"{occurrence.path}." if occurrence.path else ""
        self.inputs = set(occurrence.view.graph.inputs)
        self.known: dict[Ref, list[Ref]] = {}
        for n, (_, ref) in enumerate(occurrence.args):
            self.known.setdefault(ref, []).append(Ref(f"@{n}"))

    def add_output(self, rel: str, output: Ref) -> None:
        self.known.setdefault(output, []).append(Ref(rel, "!"))

    def of(self, ref: Ref) -> tuple[Ref, ...]:
        own: tuple[Ref, ...] = ()
        if ref.node.startswith(self.inside) and ref.node not in self.inputs:
            own = (Ref(ref.node[len(self.inside) :], ref.port),)
        return (*own, *self.known.get(ref, ()))


def _part(owner: Occurrence, path: str, of: dict[tuple[int, str], Blueprint], names: Names) -> Part:
    view, rel = owner.view, path[len(names.inside) :]
    node = view.node(path)
    outer = owner.scope.only if owner.scope else None
    if node is not None:
        return _node_part(owner, node, rel, outer, names)
    scope = view.scope(path)
    only = scope.only if scope.only != outer else None
    if scope.absent:
        owner.wires[rel, 0] = names.of(scope.inputs[0][1])
        names.add_output(rel, scope.output)
        return Part(rel, "absent", only=only, optional=True)
    if view.is_box(path):
        parts = tuple(_part(owner, child, of, names) for child in view.children(path))
        items = tuple(p.name for p in parts)
        key = ScopeKey(items, _shared(owner, scope.shared, path))
        if scope.inputs:
            owner.wires[rel, 0] = names.of(scope.inputs[0][1])
        made = Part(rel, "box", key, only, parts=parts)
    else:
        inner = [ref for _, ref in view.arguments(path)]
        for n, ref in enumerate(inner):
            owner.wires[rel, n] = names.of(ref)
        inside = of[view.number, path].number
        key = ScopeKey(inside, _shared(owner, scope.shared, path))
        made = Part(rel, "class", key, only)
    names.add_output(rel, scope.output)
    return made


def _node_part(owner: Occurrence, node: Node, rel: str, outer: str | None, names: Names) -> Part:
    only = node.only if node.only != outer else None
    for n, ref in enumerate(node.inputs):
        owner.wires[rel, n] = names.of(ref)
    if node.absent:
        return Part(rel, "absent", only=only, optional=True)
    code = owner.view.code(node)
    key = NodeKey(
        node.op.name,
        node.op.ports,
        node.op.stateful,
        code.module_form,
        code.expr_form,
        frozen(node.init),
        node.freeze,
        _shared(owner, node.shared, node.name),
    )
    return Part(rel, "node", key, only)


def _shared(owner: Occurrence, target: str | None, path: str) -> str:
    """Whose weights a member uses, as a path inside the class; "" for its own.

    A second application of a whole scope shares member by member: that is no sharing inside.
    """
    if target is None:
        return ""
    base = owner.path
    if owner.scope is not None and owner.scope.shared:
        base = owner.scope.shared
    inside = f"{base}." if base else ""
    if not target.startswith(inside):
        return f"/{target}"
    rel = target[len(inside) :]
    own = path[len(owner.path) + 1 :] if owner.path else path
    return "" if rel == own else rel
