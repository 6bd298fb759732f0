"""Which layer of one graph is which layer of another.

Names are identity, so a layer keeps its name or it was renamed. What is left over is paired by
what it is and what stands around it: first whole groups with the same contents, then single layers
by a label that takes in more and more of their neighbourhood (Weisfeiler-Lehman refinement, with
the pairs already known as fixed points), exact attributes first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from segc.ir import Graph, Node, Ref

RADIUS = 3  # layers around one that its label may take in


@dataclass
class Matching:
    """Pairs of layers and of groups; what has no partner was removed or added."""

    a: Graph
    b: Graph
    to_b: dict[str, str] = field(default_factory=dict)
    to_a: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, str] = field(default_factory=dict)

    def pair(self, a: str, b: str) -> None:
        """Layer `a` of the first graph is layer `b` of the second."""
        self.to_b[a], self.to_a[b] = b, a

    @property
    def pairs(self) -> list[tuple[Node, Node]]:
        """In the order of the second graph."""
        by_name = self.a.by_name
        return [(by_name[self.to_a[n.name]], n) for n in self.b.nodes if n.name in self.to_a]

    @property
    def removed(self) -> list[Node]:
        """Layers of the first graph without a partner."""
        return [n for n in self.a.nodes if n.name not in self.to_b]

    @property
    def added(self) -> list[Node]:
        """Layers of the second graph without a partner."""
        return [n for n in self.b.nodes if n.name not in self.to_a]

    def mapped(self, ref: Ref) -> Ref | None:
        """A value of the first graph as the second has it; None if its layer was removed."""
        if ref.node in self.a.inputs:
            return ref if ref.node in self.b.inputs else None
        name = self.to_b.get(ref.node)
        return None if name is None else Ref(name, ref.port)


def match(a: Graph, b: Graph) -> Matching:
    """Pair the layers and groups of two graphs."""
    found = Matching(a, b)
    for node in b.nodes:
        same = a.by_name.get(node.name)
        if same is not None and (same.op.name == node.op.name or same.absent or node.absent):
            found.pair(node.name, node.name)
    _match_groups(found)
    for exact in (True, False):
        for radius in range(RADIUS, 0, -1):
            _match_labels(found, exact, radius)
    _match_scopes(found)
    _match_inside(found)
    _match_replaced(found)
    return found


# --- groups ---------------------------------------------------------------------------------------
def _match_groups(found: Matching) -> None:
    """Groups that only changed their name: same layers inside, and a neighbour in common."""
    old = _contents(found.a, found.b, found.to_b)
    new = _contents(found.b, found.a, found.to_a)
    for contents, paths in old.items():
        others = new.get(contents, [])
        if len(paths) != len(others):
            continue
        for path, other in zip(paths, others, strict=True):
            inside = [f".{name}" for name, _ in contents]
            free = all(path + n not in found.to_b and other + n not in found.to_a for n in inside)
            if free and (len(paths) > 1 or _shares_neighbour(found, path, other)):
                for name in inside:
                    found.pair(path + name, other + name)


def _contents(
    graph: Graph, other: Graph, known: Mapping[str, str]
) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Groups the other graph lacks, by the names and operators inside, outermost first."""
    table: dict[tuple[tuple[str, str], ...], list[str]] = {}
    inside: dict[str, list[tuple[str, str]]] = {}
    for node in graph.nodes:
        parts = node.name.split(".")
        for depth in range(1, len(parts)):
            path = ".".join(parts[:depth])
            if path not in other.scopes:
                inside.setdefault(path, []).append((node.name[len(path) + 1 :], node.op.name))
    for path in sorted(inside, key=lambda p: p.count(".")):
        if not any(f"{path}.{name}" in known for name, _ in inside[path]):
            table.setdefault(tuple(inside[path]), []).append(path)
    return table


def _shares_neighbour(found: Matching, path: str, other: str) -> bool:
    def outside(graph: Graph, group: str, rename: Callable[[Ref], Ref | None]) -> set[Hashable]:
        near: set[Hashable] = set()
        for node in graph.nodes:
            within = node.name.startswith(group + ".")
            for ref in node.inputs:
                if within and not ref.node.startswith(group + "."):
                    near.add(rename(ref))
                elif not within and ref.node.startswith(group + "."):
                    near.add(rename(Ref(node.name)))
        return near - {None}

    mine = outside(found.a, path, found.mapped)
    theirs = outside(found.b, other, lambda ref: ref if _anchored(found, ref) else None)
    return bool(mine & theirs)


def _anchored(found: Matching, ref: Ref) -> bool:
    return ref.node in found.to_a or (ref.node in found.b.inputs and ref.node in found.a.inputs)


# --- single layers --------------------------------------------------------------------------------
def _match_labels(found: Matching, exact: bool, radius: int) -> None:
    """Pair the leftovers whose labels agree, where both graphs have as many of them."""
    if not found.removed or not found.added:
        return
    old = _by_label(_labels(found, found.a, found.removed, exact, radius, found.to_b))
    same = {name: name for name in found.to_a}
    new = _by_label(_labels(found, found.b, found.added, exact, radius, same))
    for label, names in old.items():
        others = new.get(label, [])
        if len(names) == len(others):
            for a, b in zip(names, others, strict=True):
                found.pair(a, b)


def _by_label(labels: Mapping[str, Hashable]) -> dict[Hashable, list[str]]:
    table: dict[Hashable, list[str]] = {}
    for name, label in labels.items():
        table.setdefault(label, []).append(name)
    return table


def _labels(
    found: Matching,
    graph: Graph,
    nodes: Iterable[Node],
    exact: bool,
    radius: int,
    anchor: Mapping[str, str],
) -> dict[str, Hashable]:
    """A label per layer: what it is, and the labels around it; fixed points by their name in b."""
    nodes = list(nodes)
    labels: dict[str, Hashable] = {n.name: hash(_what(n, exact)) for n in nodes}
    outputs: dict[str, list[str]] = {}
    for name, ref in graph.outputs.items():
        outputs.setdefault(ref.node, []).append(name)

    def label(name: str) -> Hashable:
        if name in anchor:
            return ("=", anchor[name])
        return ("in", name) if name in graph.inputs else labels.get(name, "")

    for _ in range(radius):
        labels = {
            n.name: hash(
                (
                    labels[n.name],
                    tuple((label(r.node), r.port) for r in n.inputs),
                    tuple(sorted(hash(label(u.name)) for u in _users(graph, n))),
                    tuple(outputs.get(n.name, ())),
                )
            )
            for n in nodes
        }
    return labels


def _users(graph: Graph, node: Node) -> list[Node]:
    refs = [Ref(node.name, port) for port in node.op.ports]
    return [user for ref in refs for user in graph.users.get(ref, ())]


def _what(node: Node, exact: bool) -> tuple[Hashable, ...]:
    if not exact:
        return (node.op.name,)
    plain = [(k, str(v)) for k, v in sorted(node.op.values.items())]
    return (node.op.name, tuple((k, v) for k, v in plain if node.op.attrs[k].kind != "Operand"))


def _match_inside(found: Matching) -> None:
    """Layers that kept their name and operator in a group that was renamed."""
    for node in found.removed:
        group, _, name = node.name.rpartition(".")
        other = f"{found.scopes.get(group, group)}.{name}" if group else name
        partner = found.b.by_name.get(other)
        if partner is not None and other not in found.to_a and partner.op.name == node.op.name:
            found.pair(node.name, other)


def _match_replaced(found: Matching) -> None:
    """A name both graphs have, but with another operator, and nothing better was found."""
    for node in found.removed:
        if node.name in found.b.by_name and node.name not in found.to_a:
            found.pair(node.name, node.name)


def _match_scopes(found: Matching) -> None:
    """Groups by their name, or by where most of their layers went."""
    votes: dict[str, dict[str, int]] = {}
    for a, b in found.to_b.items():
        left, right = a, b
        while "." in left and "." in right and left.rpartition(".")[2] == right.rpartition(".")[2]:
            left, right = left.rpartition(".")[0], right.rpartition(".")[0]
            count = votes.setdefault(left, {})
            count[right] = count.get(right, 0) + 1
    for path in found.a.scopes:
        if path in found.b.scopes:
            found.scopes[path] = path
        elif path in votes:
            best = max(votes[path].items(), key=lambda item: (item[1], item[0]))[0]
            if best in found.b.scopes and best not in found.a.scopes:
                found.scopes[path] = best
