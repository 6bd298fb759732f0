"""YAML -> Graph: syntax, declarations, expansion. Every problem at once, with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import segc.ops  # noqa: F401  (fills the operator registry)
from segc.diag import Report
from segc.ir import Graph
from segc.read.expand import MAX_LAYERS
from segc.read.files import Files
from segc.read.layouts import own_layouts, read_layouts
from segc.read.network import build_graph
from segc.read.params import parameter_values
from segc.read.spec import read_spec
from segc.read.yaml import STRICT, Limits
from segc.source import Source

__all__ = ["read", "MAX_LAYERS", "Params"]

Params = Mapping[str, Any]


def read(
    source: Source,
    params: Params,
    report: Report,
    *,
    sources: dict[str, Source] | None = None,
    limits: Limits = STRICT,
    max_layers: int = MAX_LAYERS,
) -> Graph | None:
    """The network a spec describes, or None where nothing sensible is left after the reports.

    params: values of the spec's parameters; text is read as a value of the parameter's type, as
    on the command line. sources: filled with every file read, by the name diagnostics use.
    """
    files = Files(report, limits, sources if sources is not None else {})
    document = files.document(source)
    if document is None:
        return None
    spec = read_spec(document, files.blocks(document), report)
    layouts = read_layouts([*files.weights.values(), *own_layouts(spec)], report)
    env = parameter_values(spec.params, params, report)
    if env is None:
        return None
    graph = build_graph(spec, env, report, max_layers, source.file)
    return replace(graph, layouts=layouts, texts=tuple(s.text for s in files.sources.values()))
