"""Every operator, in every one of its examples, emitted alone and in a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from emit_kit import _compare_layers, _count, network, ruff

import segc.ops  # noqa: F401  (fills the registry)
from segc.check import Checked, verify
from segc.diag import Report
from segc.emit.module import instrumented_source, model_source
from segc.ir import Graph, Input, Node, Ref, Scope
from segc.loc import Loc
from segc.op import REGISTRY, Example

HERE = Loc("x.yaml", 1, 1, 2)
EXAMPLES = [
    (name, n) for name, cls in REGISTRY.items() if not cls.rowed for n in range(len(cls.examples))
]


def alone(name: str, example: Example, boxed: bool) -> Graph:
    """A network of one layer, at the top or as item 0 of a numbered group."""
    cls = REGISTRY[name]
    op = cls(**example.attrs)
    inputs = {
        f"in{n}": Input(f"in{n}", tuple(shape), "float", HERE)
        for n, shape in enumerate(example.shapes)
    }
    refs = [Ref(name) for name in inputs]
    nodes: list[Node] = []
    if example.indices_of:
        small = example.shapes[1]
        size = [2 * d for d in small[2:]] if len(example.shapes) < 3 else example.shapes[2][2:]
        inputs["in1"] = Input("in1", (*small[:2], *size), "float", HERE)
        pool = REGISTRY["max_pool2d"](kernel_size=2, return_indices=True)
        nodes.append(Node("pool", pool, (refs[1],), HERE))
        refs[1] = Ref("pool", "indices")
    path = "box.0" if boxed else "layer"
    nodes.append(Node(path, op, tuple(refs), HERE))
    scopes, children = {}, (*(n.name for n in nodes[:-1]), path)
    if boxed:
        first = (("x", refs[0]),) if refs else ()
        scopes["box"] = Scope("box", "group", HERE, None, {}, first, Ref(path), ("0",))
        children = (*children[:-1], "box")
    outputs = {"out": Ref(path)}
    return Graph("Net", inputs, tuple(nodes), scopes, outputs, children, file="x.yaml")


def checked(graph: Graph) -> Checked:
    report = Report()
    found = verify(graph, report)
    errors = [d for d in report.diagnostics if d.severity == "error" and d.code != "SEG304"]
    assert not errors, errors
    return found


@pytest.mark.parametrize("boxed", [False, True], ids=["alone", "boxed"])
@pytest.mark.parametrize(("name", "n"), EXAMPLES)
def test_operator(name: str, n: int, boxed: bool) -> None:
    if boxed and REGISTRY[name].bare:
        return  # refused: no container holds it
    found = checked(alone(name, REGISTRY[name].examples[n], boxed))

    def build(settings: Mapping[str, Any]) -> Checked:
        return found

    source = model_source(build)
    assert ruff(source) == ""
    torch.manual_seed(1)
    model = network(source)()
    _count(model, found, source)
    _compare_layers(model, network(instrumented_source(build))(), found)
