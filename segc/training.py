"""What the derived shapes say about training: which output, which sizes, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from segc.check import Checked
from segc.diag import Report
from segc.dim import DimLike, Domain, evaluate, symbols
from segc.inference import check_inference
from segc.ir import Graph, Ref
from segc.layouts import check_layouts
from segc.loc import Loc
from segc.read.loss_table import LOSSES


@dataclass(frozen=True, slots=True)
class Facts:
    """What the derived shapes say about feeding and scoring a network.

    `main` is the output that is predicted from; `margin` the pixels by which it is smaller than
    the image on every side, None if it is a coarser grid; `coarse` the outputs on a coarser grid.
    """

    channels: int
    height: DimLike
    width: DimLike
    main: str
    outputs: int  # channels of the main output
    margin: int | None
    coarse: frozenset[str]


def facts_of(checked: Checked) -> Facts | None:
    """The facts, or None if this is not a network from one image to a map of classes.

    Nor is it one if a loss compares with something else than a label map.
    """
    graph = checked.graph
    inputs = [i for i in graph.inputs if len(_shape_of(checked, i)) == 4]
    maps = {name: checked.shape(ref) for name, ref in graph.outputs.items()}
    maps = {name: s for name, s in maps.items() if len(s) == 4 and isinstance(s[1], int)}
    if len(graph.inputs) != 1 or len(inputs) != 1 or not maps:
        return None
    if any(_without_map(loss) for loss in graph.losses.values()):
        return None
    shape = _shape_of(checked, inputs[0])
    main = _main_output(graph.losses, graph.output_only, maps)
    if main is None or not isinstance(shape[1], int):
        return None
    margin = _margin(checked.domain, maps[main], shape)
    coarse = frozenset(n for n, s in maps.items() if _margin(checked.domain, s, shape) != margin)
    if margin is None:
        coarse = frozenset(maps)
    count = maps[main][1]
    assert isinstance(count, int)
    return Facts(shape[1], shape[2], shape[3], main, count, margin, coarse)


def _without_map(loss: Mapping[str, Any]) -> bool:
    """Whether a loss compares with something else than a label map."""
    return LOSSES[loss["kind"]].dense or loss.get("target") == "centre"


def _shape_of(checked: Checked, name: str) -> tuple[DimLike, ...]:
    return checked.shape(Ref(name))


def _main_output(
    losses: Mapping[str, Any], phases: Mapping[str, str], maps: Mapping[str, Any]
) -> str | None:
    """The first output outside training that has a loss; failing that, the first output.

    A loss that samples the labels down to its output looks at a map on the way to the prediction.
    """
    lasting = [name for name in maps if phases.get(name) != "train"]
    trained = [
        v["output"]
        for v in losses.values()
        if v["output"] in lasting and v.get("resize", "logits") == "logits"
    ]
    return next(iter(trained or lasting), None)


def _margin(domain: Domain, output: tuple[DimLike, ...], image: tuple[DimLike, ...]) -> int | None:
    """Half of what the image is larger than the output, if that is the same at every size."""
    found = set()
    for small, large in zip(output[2:], image[2:], strict=True):
        lost = _value(domain, large) - _value(domain, small)
        if lost < 0 or lost % 2 or domain.relation(small + lost, large) != "always":
            return None
        found.add(lost // 2)
    return found.pop() if len(found) == 1 else None


def _value(domain: Domain, d: DimLike) -> int:
    """The value of a size at one accepted image size."""
    if isinstance(d, int):
        return d
    return int(evaluate(d, {name: accepted(domain, name, 512) for name in sorted(symbols(d))}))


def accepted(domain: Domain, name: str, value: int) -> int:
    below, above = domain.nearest(name, value)
    return above if above is not None else int(below or 1)


def accepted_crop(domain: Domain, facts: Facts, height: int, width: int) -> tuple[int, int]:
    """The smallest accepted image at least this large; the largest there is, failing that."""
    sides = []
    for side, wanted in ((facts.height, height), (facts.width, width)):
        names = [] if isinstance(side, int) else sorted(symbols(side))
        sides.append(accepted(domain, names[0], wanted) if names else _value(domain, side))
    return sides[0], sides[1]


# --- does the recipe fit the network? -------------------------------------------------------


def check_training(checked: Checked, report: Report) -> None:
    """Report losses, recipes, layouts of checkpoints that do not go with the network's tensors.

    With parameters other than the spec's own, sizes and class counts may have changed on purpose:
    the harness then adapts, and only what could never train is reported.
    """
    check_layouts(checked, report)
    facts = facts_of(checked)
    graph = checked.graph
    _check_outputs(checked, facts, report)
    if facts is None:
        return
    _check_channels(graph.recipe, facts, report)
    _check_groups(checked, report)
    _check_accumulate(graph, report)
    if dict(graph.params) == dict(graph.defaults):
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
            fault = _misfit(checked.shape(ref), loss, channels) if ref is not None else None
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


def _misfit(
    shape: tuple[DimLike, ...], loss: Mapping[str, Any], channels: str
) -> tuple[str, str] | None:
    """What is wrong with the shape of a loss's output, and the way out."""
    if not shape or channels == "any":
        return None
    axes = 2 if loss.get("target") == "centre" else 4
    if len(shape) != axes and axes == 2:
        return f"has {len(shape)} axes, the label of one pixel needs [N, K]", "use `target: mask`"
    if len(shape) != axes:
        hint = "it needs [N, K, H, W]"
        if len(shape) == 2 and loss["kind"] == "cross_entropy":
            hint += "; for the class of a patch's centre, `target: centre`"
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
    classes = max(2, facts.outputs)
    named = graph.recipe.get("classes")
    if named and len(named) != classes:
        text = f"`classes` names {len(named)} classes, the network has {classes}"
        report.error("SEG604", text, loc_of(graph.recipe, "classes", graph.loc))
    for name, loss in graph.losses.items():
        weights = loss.get("class_weights")
        if isinstance(weights, list) and len(weights) != facts.outputs:
            text = f"`class_weights` has {len(weights)} values, the network {classes} classes"
            place = loc_of(graph.losses, f"{name}.class_weights", graph.loc)
            report.error("SEG604", text, place, hint="`median_frequency` counts them")


def _check_crop(checked: Checked, facts: Facts, report: Report) -> None:
    crop = checked.graph.recipe.get("crop")
    if not crop:
        return
    nearest = accepted_crop(checked.domain, facts, *crop)
    if list(nearest) != list(crop):
        text = f"the network does not take crops of {crop[0]} x {crop[1]}"
        place = loc_of(checked.graph.recipe, "crop", checked.graph.loc)
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


def parameter_names(checked: Checked) -> Iterable[str]:
    """State-dict names of all weights."""
    for node in checked.graph.nodes:
        if not node.absent and node.shared is None:
            for parameter in node.op.parameters(*checked.inputs_of(node)):
                yield f"{node.name}.{parameter.name}"
