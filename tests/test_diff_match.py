"""Which layer is which: renames, insertions, names folded into patterns."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from diff_kit import SPECS, edited, spec

from segc.check import verify
from segc.diag import Report
from segc.diff import diff
from segc.diff_lines import pattern
from segc.ir import Graph, Ref


# --- matching -------------------------------------------------------------------------------------
def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with its top-level layers and groups renamed."""

    def name(path: str) -> str:
        first, dot, rest = path.partition(".")
        return names.get(first, first) + dot + rest

    def ref(r: Ref) -> Ref:
        return r if r.node in graph.inputs else Ref(name(r.node), r.port)

    nodes = tuple(
        replace(
            n,
            name=name(n.name),
            inputs=tuple(map(ref, n.inputs)),
            shared=name(n.shared) if n.shared else None,
        )
        for n in graph.nodes
    )
    scopes = {
        name(p): replace(
            s,
            path=name(p),
            inputs=tuple((k, ref(r)) for k, r in s.inputs),
            output=ref(s.output),
        )
        for p, s in graph.scopes.items()
    }
    outputs = {k: ref(r) for k, r in graph.outputs.items()}
    children = tuple(map(name, graph.children))
    return replace(graph, nodes=nodes, scopes=scopes, outputs=outputs, children=children)


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_renames_are_recognised_whatever_is_renamed(path: Path, share: float) -> None:
    a = spec(path)
    rng = random.Random(f"{path.stem}{share}")
    chosen = [c for c in a.graph.children if rng.random() < share]
    names = {child: f"n{i}" for i, child in enumerate(chosen)}
    b = verify(renamed(a.graph, names), Report())
    found = diff(a, b)
    assert {e.kind for e in found.edits} <= {"renamed"}
    for old, new in found.matching.to_b.items():
        first, dot, rest = old.partition(".")
        assert new == names.get(first, first) + dot + rest
    assert not found.effects.keys.lost
    assert not found.effects.keys.gained


def test_a_layer_put_between_rewires_nothing() -> None:
    found = edited(("  up: {op", "  norm: batch_norm2d\n  up: {op"))
    assert [e.kind for e in found.edits] == ["added"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a"], "a"),
        (["l.0.conv", "l.1.conv"], "l.*.conv"),
        (["layer1.0.c", "layer2.3.c"], "layer*.*.c"),
        (["a", "b"], "a, b"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
        (["a.b", "c"], "a.b, c"),
    ],
)
def test_names_fold_into_patterns(names: list[str], wanted: str) -> None:
    assert pattern(names) == wanted
