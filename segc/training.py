"""Do losses and recipe go with the network?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from segc.check import Checked
from segc.diag import Report, did_you_mean
from segc.facts import Facts, accepted_crop, facts_of
from segc.inference import check_inference
from segc.ir import Graph
from segc.layouts import check_layouts
from segc.loc import Loc
from segc.read.loss_table import LOSSES
from segc.task import check_task
from segc.types import UNKNOWN, Type, Unknown


def check_training(checked: Checked, report: Report) -> None:
    """Report losses, recipes, layouts of checkpoints that do not go with the network's tensors.

    With parameters other than the spec's own, sizes and class counts may have changed on purpose:
    the harness then adapts, and only what could never train is reported.
    """
    check_layouts(checked, report)
    facts = facts_of(checked)
    graph = checked.graph
    _check_outputs(checked, facts, report)
    _check_estimators(graph, facts, report)
    if facts is None:
        return
    check_task(graph.recipe, facts.task, report)
    _check_channels(graph.recipe, facts, report)
    _check_groups(checked, report)
    _check_accumulate(graph, report)
    if dict(graph.params) == dict(graph.defaults):
        if facts.task != "stacks":
            _check_classes(checked, facts, report)
        _check_crop(checked, facts, report)
        check_inference(checked, facts.margin, facts.outputs, report)


def loc_of(data: Any, path: str, otherwise: Loc | None) -> Loc | None:
    """Where a value of `losses` or `recipe` stands."""
    found = getattr(data, "locs", {}).get(path, otherwise)
    return found if isinstance(found, Loc) else otherwise


def _check_outputs(checked: Checked, facts: Facts | None, report: Report) -> None:
    graph = checked.graph
    for name, loss in graph.losses.items():
        kind = LOSSES[loss["kind"]]
        outputs = {loss["kind"]: (loss["output"], kind.channels)}
        for key, f in kind.fields.items():
            if f.kind == "output" and key != loss["kind"]:
                outputs[key] = (loss[key], "one")
        for key, (output, channels) in outputs.items():
            ref = graph.outputs.get(output)
            fault = _misfit(checked.types.get(ref, UNKNOWN), loss, channels) if ref else None
            if fault:
                text, hint = fault
                place = loc_of(graph.losses, f"{name}.{key}", graph.loc)
                report.error("SEG602", f"loss `{name}`: `{output}` {text}", place, hint=hint)
        if (
            facts
            and loss.get("resize", "logits") != "logits"
            and loss["output"] not in facts.coarse
        ):
            text = (
                f"loss `{name}` samples labels, but `{loss['output']}` has a score for each pixel"
            )
            place = loc_of(graph.losses, f"{name}.resize", graph.loc)
            report.error("SEG602", text, place, hint="leave `resize` out, or name a coarser output")


def _misfit(value: Type, loss: Mapping[str, Any], channels: str) -> tuple[str, str] | None:
    """What is wrong with the shape of a loss's output, and the way out."""
    if isinstance(value, Unknown) or channels == "any":
        return None
    shape = value.shape
    if channels == "scalar" and shape:
        text = f"has {len(shape)} axes, a loss that the network computes is one number"
        return text, "name the output of a layer that is a loss"
    if channels == "scalar":
        return None
    axes = 2 if loss.get("target") in ("centre", "label") else 4
    if len(shape) != axes and axes == 2:
        what = "pixel" if loss["target"] == "centre" else "image"
        return f"has {len(shape)} axes, the label of one {what} needs [N, K]", "use `target: mask`"
    if axes == 2 and not isinstance(shape[1], int):
        text = f"has {shape[1]} values, which is no number of classes"
        return text, "`squeeze` axes of size 1 instead of `flatten`"
    if len(shape) != axes:
        hint = "it needs [N, K, H, W]"
        if len(shape) == 2 and loss["kind"] == "cross_entropy":
            hint += "; for the class of a patch's centre, `target: centre`, of an image `label`"
        return f"has {len(shape)} axes, no map of classes", hint
    if channels == "classes" and shape[1] == 1:
        text = "has one channel, whose softmax is 1 everywhere: the loss is 0 for ever"
        way = ", or use `binary_cross_entropy`" if loss["kind"] == "cross_entropy" else ""
        return text, f"give the output two channels{way}"
    if channels == "one" and shape[1] != 1:
        own = loss["kind"] == "binary_cross_entropy"
        way = "use `cross_entropy` for several classes" if own else "name an output of one channel"
        return f"has {shape[1]} channels, one is needed", way
    return None


def _check_channels(recipe: Mapping[str, Any], facts: Facts, report: Report) -> None:
    for key, values in (recipe.get("normalize") or {}).items():
        if values and len(values) != facts.channels:
            text = f"`{key}` has {len(values)} values, the image {facts.channels} channels"
            report.error("SEG604", text, loc_of(recipe, f"normalize.{key}", None))
    jitter = (recipe.get("augment") or {}).get("color_jitter") or {}
    for key in ("saturation", "hue"):
        if jitter.get(key) and facts.channels != 3:
            text = f"`{key}` is of colours in 3 channels, the image has {facts.channels}"
            place = loc_of(recipe, f"augment.color_jitter.{key}", None)
            hint = "give `brightness` and `contrast` alone"
            report.error("SEG604", text, place, hint=hint)


def _check_classes(checked: Checked, facts: Facts, report: Report) -> None:
    graph = checked.graph
    classes = facts.named
    named = graph.recipe.get("classes")
    if named and len(named) != classes:
        besides = " and the background" if facts.task == "instances" else ""
        text = f"`classes` names {len(named)} classes, the network has {classes}{besides}"
        report.error("SEG604", text, loc_of(graph.recipe, "classes", graph.loc))
    for name, loss in graph.losses.items():
        weights = loss.get("class_weights")
        if isinstance(weights, list) and len(weights) != facts.outputs:
            text = f"`class_weights` has {len(weights)} values, the network {classes} classes"
            place = loc_of(graph.losses, f"{name}.class_weights", graph.loc)
            report.error("SEG604", text, place, hint="`median_frequency` counts them")


def _check_crop(checked: Checked, facts: Facts, report: Report) -> None:
    recipe, fixed = checked.graph.recipe, [facts.height, facts.width]
    resize = recipe.get("resize")
    if resize and all(isinstance(side, int) for side in fixed) and resize["size"] != fixed:
        text = f"the network takes images of {fixed[0]} x {fixed[1]} alone"
        place = loc_of(recipe, "resize", checked.graph.loc)
        report.error("SEG605", text, place, hint=f"`{{size: {fixed}}}`, or leave it out")
    crop = recipe.get("crop")
    if not crop:
        return
    nearest = accepted_crop(facts.domain, facts, *crop)
    if list(nearest) != list(crop):
        text = f"the network does not take crops of {crop[0]} x {crop[1]}"
        place = loc_of(recipe, "crop", checked.graph.loc)
        report.error("SEG605", text, place, hint=f"the next size it takes is {list(nearest)}")


def _check_groups(checked: Checked, report: Report) -> None:
    recipe = checked.graph.recipe
    if not recipe.get("groups"):
        return
    names = list(parameter_names(checked))
    for number, group in enumerate(recipe["groups"]):
        pattern = group["match"]
        if names and pattern and not any(fnmatchcase(name, pattern) for name in names):
            place = loc_of(recipe, f"groups.{number}.match", checked.graph.loc)
            hint = f"parameters are named like `{names[0]}`; * stands for anything"
            report.error("SEG606", f"no parameter is named `{pattern}`", place, hint=hint)


def divisors(losses: Mapping[str, Any]) -> set[str]:
    """What the losses' sums over pixels are divided by, seen from a part of a batch.

    sum: nothing that goes beyond an image; batch: the number of images; pixels: the number of
    labelled pixels; weights: the sum of their class weights; other: anything else.
    """
    return {_divisor(loss) for loss in losses.values()}


def _divisor(loss: Mapping[str, Any]) -> str:
    reduction = loss.get("reduction")
    if reduction in ("sum", "images", "batch"):
        return "batch" if reduction == "batch" else "sum"
    plain = loss["kind"] in ("cross_entropy", "binary_cross_entropy")
    resized = str(loss.get("resize") or "logits") != "logits"
    if not plain or resized or loss.get("target", "mask") != "mask" or loss.get("balanced"):
        return "other"
    if reduction == "valid_pixels":
        return "pixels"
    if loss.get("border_weight") or loss.get("class_weights") == "per_image":
        return "other"
    return "weights" if loss.get("class_weights") else "pixels"


def _check_accumulate(graph: Graph, report: Report) -> None:
    """Sums of the parts of a batch add up, averages must be averaged: a mixture can do neither."""
    found = divisors(graph.losses)
    if graph.recipe.get("accumulate", 1) > 1 and "sum" in found and len(found) > 1:
        place = loc_of(graph.recipe, "accumulate", graph.loc)
        text = "some losses are sums over pixels, others are averages: parts of a batch do not add"
        report.error("SEG621", text, place, hint="give all losses one `reduction`")


def _check_estimators(graph: Graph, facts: Facts | None, report: Report) -> None:
    """Estimators read outputs, and look at regions that come from elsewhere."""
    estimators = graph.recipe.get("estimators") or {}
    for name, values in estimators.items():
        if values and values["features"] not in graph.outputs:
            place = loc_of(graph.recipe, f"estimators.{name}.features", graph.loc)
            text = f"`{name}` reads `{values['features']}`, which is not an output"
            near = did_you_mean(values["features"], graph.outputs)
            hint = near or f"outputs: {', '.join(graph.outputs)}"
            report.error("SEG602", text, place, hint=hint)
    finds = facts is not None and facts.task == "instances"
    if estimators and (facts is None or (finds and "rois" not in graph.inputs)):
        place = loc_of(graph.recipe, "estimators", graph.loc)
        text = "estimators are for networks that find objects in regions given as an input `rois`"
        report.error("SEG623", text, place, hint="leave `estimators` out")


def parameter_names(checked: Checked) -> Iterable[str]:
    """State-dict names of all weights."""
    for node in checked.graph.nodes:
        if not node.absent and node.shared is None:
            for parameter in node.op.parameters(*checked.inputs_of(node)):
                yield f"{node.name}.{parameter.name}"
