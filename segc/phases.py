"""The network as it is in one phase: without what exists in training or for a checkpoint only."""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked, verify
from segc.diag import Report
from segc.ir import Graph
from segc.surgery import inhabited, still

UNREAD = "SEG304"


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
    lived_in = inhabited(nodes)
    scopes = {p: s for p, s in graph.scopes.items() if p in lived_in or s.absent}
    kept = {
        p: replace(s, children=still(s.children, f"{p}.", names, scopes))
        for p, s in scopes.items()
        if s.only not in phases
    }
    outputs = {n: r for n, r in graph.outputs.items() if graph.output_only.get(n) not in phases}
    children = still(graph.children, "", names, kept)
    # `output_only` stays: a network with such outputs answers with a dict, of one entry too.
    return verified(replace(graph, nodes=nodes, scopes=kept, outputs=outputs, children=children))


def verified(graph: Graph) -> Checked:
    """The graph checked again; AssertionError (a bug in segc) if an edit broke it.

    A layer that nobody reads may stay: other layers apply its weights.
    """
    report = Report()
    checked = verify(graph, report)
    faults = [d for d in report.diagnostics if d.severity == "error" and d.code != UNREAD]
    if faults:
        first = faults[0]
        raise AssertionError(f"an optimisation broke the graph: {first.code} {first.message}")
    return checked
