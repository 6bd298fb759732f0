"""The stages of a training: do their networks, sizes and patterns go with the spec?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from segc.check import Checked, verify
from segc.diag import Report
from segc.facts import Facts, accepted_crop, facts_of
from segc.ir import Ref, StageNet
from segc.loc import Loc
from segc.training import loc_of, parameter_names

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
Stage = Mapping[str, Any]


def check_stages(checked: Checked, report: Report) -> None:
    """Report stages that cannot be trained one after the other."""
    graph, facts = checked.graph, facts_of(checked)
    stages = graph.recipe.get("stages")
    if not stages or facts is None or report.failed:
        return
    names: set[str] = set()
    for number, stage in enumerate(stages):
        place = loc_of(graph.recipe, f"stages.{number}.name", graph.loc)
        _check_name(stage["name"], names, place, report)
        network = _network(stage["name"], checked, _place(number, checked), report)
        if network is None:
            return
        _check_patterns(number, checked, network, report)
        _check_crop(number, stage, checked, facts, report)
    _check_last(checked, report)


def _network(name: str, checked: Checked, place: Loc | None, report: Report) -> Checked | None:
    """The checked network of a stage; None after a report."""
    net = checked.graph.stages.get(name)
    if net is None:
        return checked
    inner = Report()
    network = verify(net.graph, inner)
    for diagnostic in inner.diagnostics:
        report.add(diagnostic)
    if inner.failed:
        return None
    _check_network(name, checked, network, place, report)
    return network


def _check_name(name: str, names: set[str], place: Loc | None, report: Report) -> None:
    if not _NAME.match(name or ""):
        hint = "small letters, digits and underscores, a letter first: it names files"
        report.error("SEG620", f"`{name}` cannot name a stage", place, hint=hint)
    elif name in names:
        report.error("SEG620", f"a second stage is named `{name}`", place, hint="rename one")
    names.add(name)


def _place(number: int, checked: Checked) -> Loc | None:
    """Where a stage says which network it has."""
    recipe, place = checked.graph.recipe, checked.graph.loc
    for key in ("name", "params", "network"):
        place = loc_of(recipe, f"stages.{number}.{key}", place)
    return place


def _check_last(checked: Checked, report: Report) -> None:
    graph = checked.graph
    number = len(graph.recipe["stages"]) - 1
    last = graph.recipe["stages"][number]
    if last["name"] in graph.stages:
        place = _place(number, checked)
        text = f"the last stage, `{last['name']}`, trains another network than the spec's"
        report.error("SEG620", text, place, hint="leave out its `network` and `params`")


def _check_network(
    name: str, checked: Checked, network: Checked, place: Loc | None, report: Report
) -> None:
    """The network of a stage reads the same images, and the losses can read its outputs."""
    graph, other = checked.graph, network.graph
    shapes = [{i: g.shape(Ref(i)) for i in g.graph.inputs} for g in (checked, network)]
    wrong = "has another input" if shapes[0] != shapes[1] else ""
    for output in dict.fromkeys(loss["output"] for loss in graph.losses.values()):
        if output not in other.outputs:
            wrong = wrong or f"has no output `{output}`"
            continue
        mine, theirs = graph.outputs[output], other.outputs[output]
        if checked.shape(mine) != network.shape(theirs):
            wrong = wrong or f"gives `{output}` another shape"
    if network.domain.constraints() != checked.domain.constraints():
        wrong = wrong or "accepts other sizes"
    if wrong:
        text = f"the network of stage `{name}`, {other.name}, {wrong}"
        hint = "a stage is trained with the losses and images of the spec"
        report.error("SEG620", text, place, hint=hint)


def _check_patterns(number: int, checked: Checked, network: Checked, report: Report) -> None:
    """What a stage freezes, and the groups of the recipe, name parameters of its network."""
    recipe = checked.graph.recipe
    stage, names = recipe["stages"][number], list(parameter_names(network))
    for pattern in stage["freeze"] or ():
        if names and not any(fnmatchcase(name, pattern) for name in names):
            place = loc_of(recipe, f"stages.{number}.freeze", checked.graph.loc)
            hint = f"parameters are named like `{names[0]}`; * stands for anything"
            report.error("SEG606", f"no parameter is named `{pattern}`", place, hint=hint)
    if network is checked:
        return
    for k, group in enumerate(recipe.get("groups") or ()):
        if names and not any(fnmatchcase(name, group["match"]) for name in names):
            place = loc_of(recipe, f"groups.{k}.match", checked.graph.loc)
            text = f"in stage `{stage['name']}` no parameter is named `{group['match']}`"
            report.error("SEG606", text, place, hint="a pattern must match in every stage")


def _check_crop(number: int, stage: Stage, checked: Checked, facts: Facts, report: Report) -> None:
    crop = stage["crop"]
    if not crop or dict(checked.graph.params) != dict(checked.graph.defaults):
        return
    nearest = accepted_crop(facts.domain, facts, *crop)
    if list(nearest) != list(crop):
        text = f"the network does not take crops of {crop[0]} x {crop[1]}"
        place = loc_of(checked.graph.recipe, f"stages.{number}.crop", checked.graph.loc)
        report.error("SEG605", text, place, hint=f"the next size it takes is {list(nearest)}")


def modules(stages: Mapping[str, StageNet]) -> dict[str, str]:
    """The emitted module of each stage that has a network of its own; equal networks share one."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, net in stages.items():
        key = repr((net.source.file, sorted(net.params.items())))
        found[name] = first.setdefault(key, f"stage_{name}")
    return found
