"""Specs of the repository, checked, and their layers run on values."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from emit_kit import builder, network
from op_torch import Built
from test_specs import ROOT

from segc.analyse import shapes
from segc.build import check_source
from segc.check import Checked
from segc.emit.module import model_source
from segc.ir import Node
from segc.source import Source


@cache
def _load(name: str, params: tuple[tuple[str, Any], ...]) -> Checked:
    return check_source(Source.open(ROOT / "specs" / f"{name}.yaml"), dict(params))


def load(name: str, **params: Any) -> Checked:
    return _load(name, tuple(params.items()))


def layer(name: str, at: str, **params: Any) -> Node:
    return load(name, **params).graph.by_name[at]


def sizes(name: str, height: int, width: int, **params: Any) -> dict[str, tuple[int, ...]]:
    """Layer -> (channels, height, width) for one image."""
    found = shapes(load(name, **params), {"N": 1, "H": height, "W": width})
    return {ref.node: s[1:] for ref, s in found.items() if ref.port == "out"}


def module(name: str, **params: Any) -> Any:
    return network(model_source(builder(str(ROOT / "specs" / f"{name}.yaml"), params)))


def run(name: str, at: str, *xs: torch.Tensor) -> Any:
    """The operator of one layer of a spec on values."""
    checked = load(name)
    node = checked.graph.by_name[at]
    types = [checked.types[ref] for ref in node.inputs]
    with torch.no_grad():
        return Built(node.op, types).double()(*xs)
