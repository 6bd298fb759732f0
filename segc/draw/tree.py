"""Which blocks a picture opens and which it draws as one box."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from segc.draw.facts import Facts, data_inputs
from segc.ir import Node, Ref, Scope

FAN_INPUTS = 3  # operands of a join that make the block around it worth opening


@dataclass(slots=True, eq=False)
class Leaf:
    """Layers drawn as one thing: a single layer (`block` None) or a closed block."""

    path: str
    parent: str
    nodes: list[Node]
    block: Scope | None = None
    names: list[str] = field(default_factory=list)  # of the layers or blocks merged into it
    units: list[list[Node]] = field(default_factory=list)  # runs of layers that follow one another
    count: int = 1

    @property
    def last(self) -> Node:
        return self.nodes[-1]


class Tree:
    """The nesting of a graph: members of each block, what enters it and what leaves."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.graph = facts, facts.checked.graph
        self.inside: dict[str, list[Node]] = {}
        self.copies: dict[str, int] = {}  # first of equal members of a repeat -> how many
        self.hidden: dict[str, str] = {}  # layer of a further copy -> the same layer of the first
        for node in self.graph.nodes:
            if Ref(node.name) in facts.alias:
                continue
            path = node.name
            while path:
                self.inside.setdefault(path, []).append(node)
                path = path.rpartition(".")[0]

    def members(self, path: str) -> list[str]:
        """Paths of the direct members that hold layers."""
        names = self.graph.scopes[path].children if path else self.graph.children
        paths = [f"{path}.{name}" if path else name for name in names]
        return [p for p in paths if p in self.inside]

    def resolve(self, ref: Ref) -> Ref:
        """The value a picture shows in place of `ref`."""
        ref = self.facts.source(ref)
        return Ref(self.hidden.get(ref.node, ref.node), ref.port)

    def leaves(
        self, level: str, expand: Iterable[str] = (), fold: Iterable[str] = ()
    ) -> list[Leaf]:
        """The graph cut into leaves at a level, in the order of the layers."""
        choose = _Choice(self, level, tuple(expand), tuple(fold))
        return sorted(self._walk("", choose), key=lambda leaf: self._order[leaf.last.name])

    def _walk(self, path: str, choose: _Choice) -> Iterator[Leaf]:
        for member in self._distinct_members(path):
            scope = self.graph.scopes.get(member)
            if scope is not None and choose.opens(scope):
                yield from self._walk(member, choose)
                continue
            leaf = Leaf(member, path, self.inside[member], scope, [_local(member)])
            leaf.count = self.copies.get(member, 1)
            yield leaf

    def _distinct_members(self, path: str) -> Iterator[str]:
        """The members; of equal ones in a row of a repeat only the first."""
        members = self.members(path)
        scope = self.graph.scopes.get(path)
        if scope is None or scope.kind != "repeat":
            yield from members
            return
        for first, *rest in _runs(members, self.form):
            self.copies[first] = 1 + len(rest)
            for other in rest:
                pairs = zip(self.inside[other], self.inside[first], strict=True)
                self.hidden |= {a.name: b.name for a, b in pairs}
            yield first

    def form(self, path: str) -> tuple[object, ...]:
        """What a block computes, names left out: equal forms can be drawn once."""
        nodes = self.inside[path]
        number = {Ref(n.name, p): (i, p) for i, n in enumerate(nodes) for p in n.op.ports}
        outside = {ref: i for i, ref in enumerate(self.entering(path))}
        return tuple(
            (
                n.op.name,
                n.only,
                repr(sorted(n.op.values.items(), key=lambda kv: kv[0])),
                tuple(
                    number.get(r) or ("outside", outside.get(r))
                    for r in map(self.facts.source, data_inputs(n))
                ),
            )
            for n in nodes
        )

    @cached_property
    def _order(self) -> dict[str, int]:
        return {node.name: i for i, node in enumerate(self.graph.nodes)}

    @cached_property
    def _readers(self) -> dict[Ref, list[str]]:
        table: dict[Ref, list[str]] = {}
        for node in self.graph.nodes:
            if Ref(node.name) in self.facts.alias:
                continue
            for ref in dict.fromkeys(map(self.facts.source, data_inputs(node))):
                table.setdefault(ref, []).append(node.name)
        for ref in self.graph.outputs.values():
            table.setdefault(self.facts.source(ref), []).append("")
        return table

    def entering(self, path: str) -> list[Ref]:
        """Values made outside of a block and read inside."""
        refs = (self.facts.source(ref) for node in self.inside[path] for ref in data_inputs(node))
        return [ref for ref in dict.fromkeys(refs) if not _under(ref.node, path)]

    def leaving(self, path: str) -> list[Ref]:
        """Values made inside of a block and read outside."""
        made = [Ref(n.name, p) for n in self.inside[path] for p in n.op.ports]
        return [r for r in made if any(not _under(n, path) for n in self._readers.get(r, ()))]

    def is_chain(self, path: str) -> bool:
        """True when every layer reads one value and the layers follow one another."""
        nodes = self.inside[path]
        sources = [[self.facts.source(r) for r in data_inputs(n)] for n in nodes]
        return (
            all(
                refs == [Ref(before.name)] for refs, before in zip(sources[1:], nodes, strict=False)
            )
            and len(self.entering(path)) <= 1
        )

    def stride_before(self, path: str) -> object:
        """The stride of what enters a block."""
        return next((self.stride(ref) for ref in self.entering(path)), None)

    def stride(self, ref: Ref) -> object:
        return 1 if ref.node in self.graph.inputs else self.facts.strides.get(ref.node)


@dataclass(frozen=True)
class _Choice:
    """Decides for each block whether it is opened."""

    tree: Tree
    level: str
    expand: Sequence[str]
    fold: Sequence[str]

    def opens(self, scope: Scope) -> bool:
        path = scope.path
        single = len(self.tree.leaving(path)) <= 1
        if single and any(fnmatchcase(path, pattern) for pattern in self.fold):
            return False
        if any(path == p or fnmatchcase(path, p) or _under(p, path) for p in self.expand):
            return True
        if self.level == "layer":
            return True
        if scope.kind == "repeat":
            return False
        return self._by_shape(scope)

    def _by_shape(self, scope: Scope) -> bool:
        """The rules of the block level."""
        path, tree = scope.path, self.tree
        depth = path.count(".")
        if len(tree.leaving(path)) > 1 or (scope.kind == "group" and depth == 0):
            return True
        nested = [tree.graph.scopes.get(m) for m in tree.members(path)]
        if self.level == "system":
            return False
        if depth == 0 and any(s is not None and s.kind in ("repeat", "block") for s in nested):
            return len(nested) > 1
        joins = [n for n in tree.inside[path] if n.op.style.family == "merge"]
        if joins and len(tree.entering(path)) > 1:
            return True
        if any(len(data_inputs(n)) >= FAN_INPUTS for n in joins if n.scope == path):
            return True
        return self._resizes(path)

    def _resizes(self, path: str) -> bool:
        """A chain with a pooling or an upsampling in it whose scale it changes."""
        tree = self.tree
        nodes = tree.inside[path]
        pills = any(n.op.style.family in ("down", "up") for n in nodes)
        changed = tree.stride_before(path) != tree.facts.strides[nodes[-1].name]
        return pills and changed and len(nodes) > 1 and tree.is_chain(path)


def _runs(members: list[str], form: Callable[[str], object]) -> Iterator[list[str]]:
    """Members cut into runs of equal form."""
    run: list[str] = []
    for member in members:
        if run and form(member) != form(run[0]):
            yield run
            run = []
        run.append(member)
    if run:
        yield run


def _under(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _local(path: str) -> str:
    return path.rpartition(".")[2]
