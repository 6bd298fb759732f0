"""One network of a spec's files, and those of the stages its recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from segc.diag import Fail, Report
from segc.ir import Graph, StageNet
from segc.loc import Loc
from segc.read.files import Files
from segc.read.layouts import own_layouts, read_layouts
from segc.read.network import build_graph
from segc.read.params import ParamDecl, parameter_values
from segc.read.spec import read_spec
from segc.source import Source

Choice = Callable[[Mapping[str, ParamDecl]], Mapping[str, Any]]


def read_network(files: Files, source: Source, choose: Choice, max_layers: int) -> Graph | None:
    """The network of a spec; `choose` gives values for the parameters it declares."""
    report = files.report
    document = files.document(source)
    if document is None:
        return None
    spec = read_spec(document, files.blocks(document), report)
    layouts = read_layouts([*files.weights.values(), *own_layouts(spec)], report)
    env = parameter_values(spec.params, choose(spec.params), report)
    if env is None:
        return None
    graph = build_graph(spec, env, report, max_layers, source.file)
    return replace(graph, layouts=layouts, texts=tuple(s.text for s in files.sources.values()))


def read_stages(graph: Graph, source: Source, files: Files, max_layers: int) -> dict[str, StageNet]:
    """The networks of stages that have another one; they get this network's parameters by name."""
    found: dict[str, StageNet] = {}
    locs = getattr(graph.recipe, "locs", {})
    for number, stage in enumerate(graph.recipe["stages"]):
        if not stage["network"] and not stage["params"]:
            continue
        place: Loc | None = locs.get(f"stages.{number}.network", graph.loc)
        other = _open(stage["network"], source, files, place) if stage["network"] else source
        if other is None:
            continue
        values = _Values(graph.params, stage["params"] or {}, locs, f"stages.{number}.", files)
        inner = Files(files.report, files.limits, files.sources)
        network = read_network(inner, other, values, max_layers)
        if network is not None:
            found[stage["name"]] = StageNet(other, values.chosen, network)
    return found


def _open(name: str, source: Source, files: Files, place: Loc | None) -> Source | None:
    beside = files.sources.get(place.file, source) if place else source
    try:
        return beside.open_beside(name)
    except Fail as fail:
        if fail.exit != 1:
            raise
        for d in fail.diagnostics:
            files.report.error(d.code, d.message, place, hint=d.hint)
        return None


class _Values:
    """Values for a stage's network: those the stage states, then those of this network."""

    def __init__(
        self,
        here: Mapping[str, Any],
        stated: Mapping[str, Any],
        locs: Mapping[str, Loc],
        path: str,
        files: Files,
    ) -> None:
        self.here, self.stated = here, stated
        self.place = locs.get(f"{path}params")
        self.report: Report = files.report
        self.chosen: dict[str, Any] = {}

    def __call__(self, declared: Mapping[str, ParamDecl]) -> Mapping[str, Any]:
        for name in self.stated:
            if name not in declared:
                hint = self.report.suggest(name, declared, "its parameters:")
                message = f"the stage's network has no parameter `{name}`"
                self.report.error("SEG114", message, self.place, hint=hint)
        values = {**self.here, **self.stated}
        self.chosen = {name: values[name] for name in declared if name in values}
        return self.chosen
