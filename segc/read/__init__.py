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
from segc.read.stages import read_network, read_stages
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
    stages: bool = True,
) -> Graph | None:
    """The network a spec describes, or None where nothing sensible is left after the reports.

    params: values of the spec's parameters; text is read as a value of the parameter's type, as
    on the command line. sources: filled with every file read, by the name diagnostics use. stages:
    whether to read the networks of the recipe's stages too.
    """
    files = Files(report, limits, sources if sources is not None else {})
    graph = read_network(files, source, lambda declared: params, max_layers)
    if graph is None or report.failed or not stages or not graph.recipe.get("stages"):
        return graph
    networks = read_stages(graph, source, files, max_layers)
    return replace(graph, stages=networks, texts=tuple(s.text for s in files.sources.values()))
