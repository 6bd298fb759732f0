"""The network as it is in one phase: without what exists in training or for a checkpoint only."""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked, verify
from segc.diag import Report
from segc.ir import Graph, Node
from segc.op import REGISTRY
from segc.surgery import inhabited, still

UNREAD = "SEG304"


def inference(checked: Checked) -> Checked:
    """The network without what exists in training only or is kept for the checkpoint only."""
    return without(checked, ("train", "checkpoint"))


def without(checked: Checked, phases: tuple[str, ...]) -> Checked:
    """The network without the layers and outputs that are `only` there in these phases."""
    graph = checked.graph
    if all(node.only not in (*phases, "test") for node in graph.nodes):
        return checked
    if "train" in phases:
        graph = at_test(graph)
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
    inputs = {n: i for n, i in graph.inputs.items() if i.only not in phases}
    children = still(graph.children, "", names, kept)
    # `output_only` stays: a network with such outputs answers with a dict, of one entry too.
    return verified(
        replace(graph, inputs=inputs, nodes=nodes, scopes=kept, outputs=outputs, children=children)
    )


def at_test(graph: Graph) -> Graph:
    """The graph with what differs between the phases settled as it is outside training."""
    nodes = tuple(_at_test(node) for node in graph.nodes)
    scopes = {p: replace(s, only=None) if s.only == "test" else s for p, s in graph.scopes.items()}
    only = {n: phase for n, phase in graph.output_only.items() if phase != "test"}
    return replace(graph, nodes=nodes, scopes=scopes, output_only=only)


def _at_test(node: Node) -> Node:
    op = node.op.at_test()
    only = None if node.only == "test" else node.only
    if op is None:  # it chooses between phases: it hands on the value of this one
        inputs, locs = node.inputs[-1:], node.input_locs[-1:]
        return replace(
            node, op=REGISTRY["identity"](), inputs=inputs, input_locs=locs, absent=True, only=only
        )
    return node if op is node.op and only == node.only else replace(node, op=op, only=only)


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
