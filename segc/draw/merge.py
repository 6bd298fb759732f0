"""Leaves -> fewer leaves: layers without a picture of their own join the one before them."""

from __future__ import annotations

from collections.abc import Sequence

from segc.draw.facts import data_inputs
from segc.draw.tree import Leaf, Tree
from segc.draw.words import unit_text
from segc.ir import Node, Ref

QUIET = ("norm", "act", "shape")  # families that join their neighbour
UNITS = ("conv", "dilated")


def merged(tree: Tree, leaves: Sequence[Leaf], level: str) -> list[Leaf]:
    """Norms and activations in their layer, then equal layers in a row as one box."""
    for leaf in leaves:
        leaf.units = _units(tree, leaf)
    joined = _Merger(tree, leaves)
    joined.join(lambda a, b: _quiet(b) and a.nodes[-1].op.style.family != "input")
    joined.join(lambda a, b: _quiet(a) and len(b.units) <= 1 and _loose(b))
    if level != "layer":
        joined.join(_Context(tree))
        joined.join(_alike)
    return joined.leaves


def _units(tree: Tree, leaf: Leaf) -> list[list[Node]]:
    """A chain cut before each layer that is not quiet; empty for a block that is no chain."""
    if leaf.block is None:
        return [list(leaf.nodes)]
    if leaf.block.kind == "repeat" or not tree.is_chain(leaf.path):
        return []
    units: list[list[Node]] = []
    for node in leaf.nodes:
        if units and node.op.style.family in QUIET:
            units[-1].append(node)
        else:
            units.append([node])
    return units


def _quiet(leaf: Leaf) -> bool:
    return leaf.block is None and all(n.op.style.family in QUIET for n in leaf.nodes)


def _loose(leaf: Leaf) -> bool:
    return leaf.block is None and leaf.nodes[0].op.style.family != "merge"


def _pooled(leaf: Leaf) -> bool:
    """Starts with a pooling to a fixed number of values."""
    return leaf.nodes[0].op.style.family == "context"


def _alike(a: Leaf, b: Leaf) -> bool:
    """Both are rows of the same unit, neither changes the scale."""
    if not a.units or not b.units or a.parent != b.parent:
        return False
    if any(len(u) == 0 or u[0].op.style.family not in UNITS for u in (*a.units, *b.units)):
        return False
    texts = {unit_text(u) for u in (*a.units, *b.units)}
    named = all(leaf.block is None or len(leaf.units) == 1 for leaf in (a, b))
    return len(texts) == 1 and named and "/" not in texts.pop()


class _Context:
    """Joins what follows a global pooling until the map has its scale back."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def __call__(self, a: Leaf, b: Leaf) -> bool:
        if not _pooled(a) or not (a.units and b.units):
            return False
        outputs = {self.tree.resolve(r).node for r in self.tree.graph.outputs.values()}
        if a.nodes[-1].op.style.family == "up" or b.last.name in outputs:
            return False
        return b.nodes[0].op.style.family != "merge"


class _Merger:
    """Merges pairs of leaves where the second reads the first and nothing else does."""

    def __init__(self, tree: Tree, leaves: Sequence[Leaf]) -> None:
        self.tree, self.leaves = tree, list(leaves)
        self.kept = {tree.resolve(r) for r in tree.graph.outputs.values()}

    def join(self, wanted: object) -> None:
        """One pass from front to back; `wanted(a, b)` decides."""
        owner = {n.name: leaf for leaf in self.leaves for n in leaf.nodes}
        readers = self._readers(owner)
        out: dict[int, Leaf] = {}
        for leaf in self.leaves:
            before = self._only_source(leaf, owner)
            if before is None or len(readers[id(before)]) != 1 or not self._may(before, leaf):
                out[id(leaf)] = leaf
            elif wanted(before, leaf):  # type: ignore[operator]
                self._absorb(before, leaf)
                readers[id(before)] = readers[id(leaf)]
                owner |= {n.name: before for n in leaf.nodes}
                out[id(before)] = out.pop(id(before))  # it now ends where `leaf` ended
            else:
                out[id(leaf)] = leaf
        self.leaves = list(out.values())

    def _may(self, a: Leaf, b: Leaf) -> bool:
        outer = not b.parent or a.parent.startswith(f"{b.parent}.")
        same = a.parent == b.parent or (outer and (_quiet(b) or _pooled(a)))
        return same and Ref(a.last.name) not in self.kept and a.last.only == b.last.only

    def _readers(self, owner: dict[str, Leaf]) -> dict[int, set[int]]:
        table: dict[int, set[int]] = {id(leaf): set() for leaf in self.leaves}
        for leaf in self.leaves:
            for source in self._sources(leaf, owner):
                if source is not None:
                    table[id(source)].add(id(leaf))
        return table

    def _sources(self, leaf: Leaf, owner: dict[str, Leaf]) -> list[Leaf | None]:
        resolve = self.tree.resolve
        refs = [resolve(r) for n in leaf.nodes for r in data_inputs(n)]
        found = {id(owner.get(r.node)): owner.get(r.node) for r in refs}
        found.pop(id(leaf), None)
        return list(found.values())

    def _only_source(self, leaf: Leaf, owner: dict[str, Leaf]) -> Leaf | None:
        sources = self._sources(leaf, owner)
        return sources[0] if len(sources) == 1 else None

    def _absorb(self, a: Leaf, b: Leaf) -> None:
        if _quiet(b) and a.units:
            a.units[-1] += b.units[0]
        elif _quiet(b):
            pass
        elif _quiet(a):
            a.units = [[*b.units[0], *a.units[0]]] if b.units else []
            a.path, a.names, a.block = b.path, list(b.names), b.block
        else:
            a.units += b.units
            a.names += b.names if a.parent == b.parent else []  # the inner name says enough
            a.block = None
        a.nodes += b.nodes
