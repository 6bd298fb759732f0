"""Who reads what: nothing of another phase, and everything that is there."""

from __future__ import annotations

from collections.abc import Mapping

from segc.diag import Note, Report
from segc.ir import Graph, Node, Scope
from segc.rows import listed


def check_phases(graph: Graph, report: Report) -> None:
    """A layer reads only what exists whenever it does: a checkpoint's layers never compute."""
    only = {node.name: node.only for node in graph.nodes}
    only |= {name: declared.only for name, declared in graph.inputs.items()}
    for node in graph.nodes:
        for i, ref in enumerate(node.inputs):
            phase = only.get(ref.node)
            mine = node.op.operand_phase(i) or node.only
            if phase is None or mine in (phase, "checkpoint"):
                continue
            _absent_operand(node, i, phase, mine, graph, report)
            break
    for name, phase in graph.output_only.items():
        if phase == "checkpoint":
            node = graph.by_name[graph.outputs[name].node]
            message = f"the output `{name}` is `{node.name}`, which {_WHEN[phase]}"
            report.error("SEG311", message, node.loc, hint="remove the output, or `only`")


def _absent_operand(
    node: Node, i: int, phase: str, mine: str | None, graph: Graph, report: Report
) -> None:
    ref = node.inputs[i]
    loc = node.input_locs[i] if i < len(node.input_locs) else node.loc
    message = f"`{node.name}` reads `{ref.node}`, which {_WHEN[phase]}"
    hint = f"mark it `only: {phase}` too, or name another layer with `from:`"
    if mine in ("train", "test"):
        message += f", and is itself there {listed(mine)}"
        hint = "name a value of the same phase; `phase` joins one of training and one of test"
    place = graph.inputs[ref.node].loc if ref.node in graph.inputs else graph.by_name[ref.node].loc
    note = Note(place, f"`{ref.node}` is `only: {phase}`")
    report.error("SEG311", message, loc, hint=hint, notes=(note,))


_WHEN = {
    "train": "exists in training only",
    "test": "exists outside training only",
    "checkpoint": "is kept for the checkpoint only",
}


def check_unused(graph: Graph, report: Report) -> None:
    read = {ref.node for node in graph.nodes for ref in node.inputs}
    read |= {ref.node for ref in graph.outputs.values()}
    read |= {n.shared for n in graph.nodes if n.shared and n.name in read}
    read |= {n.name for n in graph.nodes if n.shared in read}  # in another application
    owner = {s.output.node: s for s in graph.scopes.values() if not s.absent}  # outer ones last
    for node in graph.nodes:
        if node.name in read or node.absent or node.only == "checkpoint":
            continue
        scope = _outermost(node.name, owner)
        name, loc = (scope.path, scope.loc) if scope else (node.name, node.loc)
        hint = "read it with `from:`, name it in `outputs`, or remove it"
        report.error("SEG304", f"nothing reads `{name}`", loc, hint=hint)
    for name, declared in graph.inputs.items():
        if name not in read:
            hint = "read it with `from:`, or remove it"
            report.error("SEG304", f"nothing reads the input `{name}`", declared.loc, hint=hint)


def _outermost(name: str, owner: Mapping[str, Scope]) -> Scope | None:
    """The largest group whose value is that of `name`."""
    scope = owner.get(name)
    return scope if scope and name.startswith(scope.path + ".") else None
