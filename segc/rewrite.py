"""Optimisations as values: what a rule answers, and how its answers are carried out.

A rule looks at one node and says `Rewrite` (what changes and how each new weight is made), `Skip`
(why it does not apply here) or nothing (it is not about this node). Rules never touch the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from segc.check import Checked, verify
from segc.diag import Report
from segc.ir import Graph, Node, Ref, Scope


@dataclass(frozen=True, slots=True)
class Move:
    """How weights of the deploy network are made: a named function over tensors of the plain one.

    function: one of emit's conversion helpers ("fold_batch_norm"). target: the layer whose weights
    are made. sources: the layers read, in the function's order. args: plain further arguments.
    """

    function: str
    target: str
    sources: tuple[str, ...]
    args: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One edit: nodes to change (same name, other operator), nodes to drop (their readers then
    read their first operand), and the weights that must be made anew."""

    change: tuple[Node, ...] = ()
    drop: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a rule that could have applied did not."""

    node: str
    why: str


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that applied at a node."""

    node: str
    rule: str


Rule = Callable[[Checked, Node], Rewrite | Skip | None]


@dataclass(frozen=True)
class Optimised:
    """The graph after all rules, the weights to convert, and what happened where."""

    checked: Checked
    moves: tuple[Move, ...] = ()
    fired: tuple[Fired, ...] = ()
    skipped: tuple[tuple[str, Skip], ...] = ()
    unused: tuple[str, ...] = ()  # layers with weights that inference does not have


def optimise(checked: Checked, rules: Iterable[tuple[str, Rule]]) -> Optimised:
    """Apply each rule once over the graph, in order; the result is verified after each rule."""
    moves: list[Move] = []
    fired: list[Fired] = []
    skipped: list[tuple[str, Skip]] = []
    unused = tuple(n.name for n in checked.graph.nodes if n.only and n.op.stateful)
    checked = inference(checked)
    for name, rule in rules:
        edits: list[Rewrite] = []
        for node in checked.graph.nodes:
            answer = None if node.absent else rule(checked, node)
            if isinstance(answer, Skip):
                skipped.append((name, answer))
            elif answer is not None:
                edits.append(answer)
                fired.append(Fired(node.name, name))
        if edits:
            checked = _verified(apply(checked.graph, edits))
            moves += [m for e in edits for m in e.moves]
    return Optimised(checked, tuple(moves), tuple(fired), tuple(skipped), unused)


def inference(checked: Checked) -> Checked:
    """The network without what exists in training only or is kept for the checkpoint only."""
    return without(checked, ("train", "checkpoint"))


def without(checked: Checked, phases: tuple[str, ...]) -> Checked:
    """The network without the layers and outputs that are `only` there in these phases."""
    graph = checked.graph
    if all(node.only not in phases for node in graph.nodes):
        return checked
    nodes = tuple(node for node in graph.nodes if node.only not in phases)
    names = {node.name for node in nodes}
    inhabited = _inhabited(nodes)
    scopes = {p: s for p, s in graph.scopes.items() if p in inhabited or s.absent}
    kept = {
        p: replace(s, children=_still(s.children, f"{p}.", names, scopes))
        for p, s in scopes.items()
        if s.only not in phases
    }
    outputs = {n: r for n, r in graph.outputs.items() if graph.output_only.get(n) not in phases}
    children = _still(graph.children, "", names, kept)
    # `output_only` stays: a network with such outputs answers with a dict, of one entry too.
    return _verified(replace(graph, nodes=nodes, scopes=kept, outputs=outputs, children=children))


def _verified(graph: Graph) -> Checked:
    report = Report()
    checked = verify(graph, report)
    if report.failed:
        first = report.diagnostics[0]
        raise AssertionError(f"an optimisation broke the graph: {first.code} {first.message}")
    return checked


def apply(graph: Graph, edits: Iterable[Rewrite]) -> Graph:
    """The graph after independent edits."""
    changed: dict[str, Node] = {}
    gone: set[str] = set()
    for edit in edits:
        changed.update({n.name: n for n in edit.change})
        gone.update(edit.drop)
    moved = _redirected(graph, gone)

    def follow(ref: Ref) -> Ref:
        return moved.get(ref, ref)

    nodes = tuple(
        replace(node, inputs=tuple(follow(r) for r in node.inputs))
        for node in (changed.get(n.name, n) for n in graph.nodes)
        if node.name not in gone
    )
    scopes = {p: _without(s, gone, follow) for p, s in graph.scopes.items()}
    return replace(
        graph,
        nodes=nodes,
        scopes=_pruned(scopes, nodes),
        outputs={name: follow(ref) for name, ref in graph.outputs.items()},
        children=_still(graph.children, "", {n.name for n in nodes}, scopes),
    )


def _redirected(graph: Graph, gone: set[str]) -> dict[Ref, Ref]:
    """Value of a dropped node -> the value its readers read instead."""
    moved: dict[Ref, Ref] = {}
    for node in graph.nodes:
        if node.name in gone:
            source = node.inputs[0]
            moved[Ref(node.name)] = moved.get(source, source)
    return moved


def _without(scope: Scope, gone: set[str], follow: Callable[[Ref], Ref]) -> Scope:
    children = tuple(c for c in scope.children if f"{scope.path}.{c}" not in gone)
    inputs = tuple((name, follow(ref)) for name, ref in scope.inputs)
    return replace(scope, children=children, inputs=inputs, output=follow(scope.output))


def _inhabited(nodes: Iterable[Node]) -> set[str]:
    """Paths of the scopes that still have a layer somewhere inside."""
    found = {""}
    for node in nodes:
        path = node.scope
        while path not in found:
            found.add(path)
            path = path.rpartition(".")[0]
    return found


def _pruned(scopes: Mapping[str, Scope], nodes: Iterable[Node]) -> dict[str, Scope]:
    """Scopes that lost all their layers pass their input through."""
    inhabited = _inhabited(nodes)
    return {
        p: s if p in inhabited or s.absent else replace(s, children=(), absent=True)
        for p, s in scopes.items()
    }


def _still(
    children: Iterable[str], path: str, names: set[str], scopes: Mapping[str, Scope]
) -> tuple[str, ...]:
    return tuple(c for c in children if f"{path}{c}" in names or f"{path}{c}" in scopes)
