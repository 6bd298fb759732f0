"""`losses:` of a spec, checked and turned into plain data. The keys stand in loss_table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from segc.diag import Report, did_you_mean
from segc.loc import Loc
from segc.read.loss_table import LOSSES
from segc.read.names import check_identifier
from segc.read.recipe import Data, Reader
from segc.read.yaml import Mapping_, Scalar, YNode

# What total_loss calls its own arguments and libraries.
TAKEN = frozenset(("output", "mask", "weights", "borders", "torch", "F", "Tensor"))
# There is one label map, one set of class weights, one map of border weights.
_SHARED = ("ignore_index", "class_weights", "border_weight")
# Keys that mean nothing where the label is that of the whole image.
_OF_PIXELS = {
    "ignore_index": "ignored pixels",
    "border_weight": "borders",
    "resize": "map that could be resized",
}


def read_losses(
    node: YNode, report: Report, outputs: Iterable[str], env: Mapping[str, Any]
) -> Data:
    """Plain data of `losses:`: by name, `{kind, output, ignore_index, weight, …}`.

    env: the parameters, for `when`; a loss whose `when` is false is checked and left out.
    """
    reader, known, found = Reader(report, env), list(outputs), {}
    for key, value in reader.mapping(node, "`losses`"):
        kind = _kind(key, value, report)
        if kind is None or not check_identifier(key, report, "loss"):
            continue
        what = f"loss `{key.text}`"
        values = reader.section(value, LOSSES[kind].fields, what, key.text + ".")
        reader.locs[key.text] = key.loc
        _check_outputs(kind, key.text, values, known, reader)
        _check_together(kind, key.text, values, reader)
        output = values.pop(kind)
        if values.pop("when"):
            found[key.text] = {"kind": kind, "output": output, **values}
    _one_label_space(found, reader.locs, report)
    return Data(found, reader.locs)


def _kind(key: Scalar, value: YNode, report: Report) -> str | None:
    """The key of a loss that says which loss it is."""
    if not isinstance(value, Mapping_):
        hint = "for example {cross_entropy: logits, target: mask}"
        report.error("SEG103", f"loss `{key.text}` must be a mapping", value.loc, hint=hint)
        return None
    words = [k.text for k, _ in value.entries]
    kinds = [word for word in words if word in LOSSES]
    if len(kinds) == 1:
        return kinds[0]
    near = [(way, k.loc) for k, _ in value.entries if (way := did_you_mean(k.text, LOSSES))]
    problem = f"has both `{kinds[0]}` and `{kinds[1]}`" if kinds else "says not which loss it is"
    exactly = (f"give exactly one of {', '.join(LOSSES)}", key.loc)
    hint, place = near[0] if near and not kinds else exactly
    report.error("SEG601", f"loss `{key.text}` {problem}", place, hint=hint)
    return None


def _check_outputs(
    kind: str, name: str, values: Mapping[str, Any], known: list[str], reader: Reader
) -> None:
    for key, f in LOSSES[kind].fields.items():
        output = values[key]
        if f.kind != "output" or output is None or output in known:
            continue
        hint = did_you_mean(output, known) or f"outputs: {', '.join(known)}"
        text = f"loss `{name}` reads `{output}`, which is not an output"
        reader.report.error("SEG602", text, reader.locs.get(f"{name}.{key}"), hint=hint)


def _check_together(kind: str, name: str, values: Mapping[str, Any], reader: Reader) -> None:
    """Keys that mean nothing beside each other."""

    def clash(key: str, text: str, hint: str) -> None:
        place = reader.locs.get(f"{name}.{key}")
        reader.report.error("SEG603", f"loss `{name}`: {text}", place, hint=hint)

    target, sampled = values.get("target"), values.get("resize") not in (None, "logits")
    if LOSSES[kind].dense and target and (target in TAKEN or "_loss" in target or target in LOSSES):
        clash("target", f"`{target}` is a name total_loss uses itself", "choose another name")
    if target == "centre":
        if values["border_weight"]:
            clash("border_weight", "the label of one pixel has no borders", "leave it out")
        if sampled:
            clash("resize", "the label of one pixel is not resized", "leave it out")
    elif target == "label":
        for key, text in _OF_PIXELS.items():
            if values[key] != LOSSES[kind].fields[key].default:
                clash(key, f"the class of an image has no {text}", "leave it out")
        if isinstance(values["class_weights"], str):
            clash("class_weights", "classes of images are not counted", "give one weight a class")
        if values["reduction"] not in ("mean", "sum"):
            clash("reduction", "there is one label an image", "`mean` or `sum`")
    elif values.get("border_weight") and sampled:
        hint = "leave one of them out"
        clash("resize", "border weights belong to the full label map, not to a sampled one", hint)
    if values.get("edges") and target == "mask" and kind == "binary_cross_entropy":
        clash("edges", "`edges` without the target it is about", "add `target: edges`")


def _one_label_space(
    losses: Mapping[str, Mapping[str, Any]], locs: Mapping[str, Loc], report: Report
) -> None:
    """All losses look at one mask with one set of class weights and one map of borders."""
    for key in _SHARED:
        stated = {n: v[key] for n, v in losses.items() if v.get(key) is not None}
        values = list(stated.values())
        for name, value in stated.items():
            if value != values[0]:
                place = locs.get(f"{name}.{key}")
                report.error("SEG603", f"losses differ in `{key}`", place, hint="use one value")
