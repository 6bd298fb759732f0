"""The training harness of a semantic network: train.py, eval.py, predict.py and what they share.

The templates are fixed text; what differs between networks is put into their slots as `Code`,
which only this package makes. Nothing emitted imports segc.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from segc.check import Checked
from segc.dim import Dim, DimLike, Domain, symbols
from segc.emit import recipe_code
from segc.emit.losses import arguments_of, border_weight, loss_slots, weighting
from segc.emit.pieces import WIDTH, Code, block, joined, lit, number, prose
from segc.ir import Graph
from segc.read.loss_table import completed
from segc.training import Facts, accepted_crop, facts_of

CONSTRAINT_WORDS = ("floor", "ceil", "min", "max", "in", "or", "and", "not")
FILES = (
    "train.py",
    "losses.py",
    "eval.py",
    "predict.py",
    "inputs.py",
    "data.py",
    "sampling.py",
    "scoring.py",
    "checkpoints.py",
    "runtime.py",
)
CHECKPOINT_NAMES = (
    "Keeper",
    "Place",
    "load_fitting",
    "load_optimizer",
    "load_strict",
    "same_settings",
    "saved_state",
)
RUNTIME_NAMES = (
    "Interrupt",
    "Log",
    "Progress",
    "Stop",
    "any_rank",
    "autocast",
    "ignore_signals",
    "join",
    "lock",
    "pick_device",
    "run",
    "wait_for_all",
)
SAMPLING_NAMES = ("IGNORE", "accepted_size", "to_input")
TRIAL_SIZE = 96  # pixels: what a trial on synthetic scenes is labelled on, or a little more

DEFAULT_RECIPE: dict[str, Any] = {
    "optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}},
    "schedule": {"poly": {"power": 0.9}},
    "batch_size": 8,
    "input": {"channels": "rgb", "range": 1},
}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def harness_files(checked: Checked) -> dict[str, str]:
    """The text of each file by its name: for a network that labels the pixels of an image.

    Such a network has one input [N, C, H, W] and at least one output [N, K, h, w]. Of another there
    is losses.py alone, if it has losses.
    """
    facts = facts_of(checked)
    if facts is None:
        return _losses_alone(checked)
    slots = _slots(checked, facts)
    return {name: _render(f"{name}.j2", slots) for name in FILES}


def _losses_alone(checked: Checked) -> dict[str, str]:
    """losses.py for a training loop that is not emitted."""
    graph = checked.graph
    if not graph.losses:
        return {}
    losses = {name: completed(loss) for name, loss in graph.losses.items()}
    slots = loss_slots(losses, frozenset(graph.outputs), len(graph.outputs) == 1, harness=False)
    title = prose(graph.title or graph.name, 70)
    return {"losses.py": _render("losses.py.j2", {"title": title, **slots})}


# --- slots ----------------------------------------------------------------------------------


def complete_recipe(checked: Checked, facts: Facts) -> dict[str, Any]:
    """The spec's recipe with what it leaves open; the usual choices where there is none."""
    stated = dict(checked.graph.recipe)
    recipe = {**DEFAULT_RECIPE, **stated}
    if facts.channels == 1:
        recipe["input"] = {**recipe["input"], "channels": "gray"}
    if not stated.get("max_steps") and not stated.get("epochs"):
        recipe["epochs"] = 50
    if recipe.get("crop"):  # other parameters may have changed what is accepted
        recipe["crop"] = list(accepted_crop(checked.domain, facts, *recipe["crop"]))
    if len(recipe.get("classes") or ()) != max(2, facts.outputs):
        recipe["classes"] = None
    if not stated:
        recipe["crop"] = list(_crop_for(checked.domain, facts, 256, 256))
        recipe["augment"] = {"scale": [0.5, 2.0], "flip": True}
        if facts.channels == 3:
            recipe["normalize"] = IMAGENET
    return recipe


def _crop_for(domain: Domain, facts: Facts, height: int, width: int) -> tuple[int, int]:
    """The smallest accepted crop whose output is at least this large."""
    lost = 2 * (facts.margin or 0)
    return accepted_crop(domain, facts, height + lost, width + lost)


def complete_losses(checked: Checked, facts: Facts) -> dict[str, dict[str, Any]]:
    """The losses that read maps of classes; plain cross entropy where the spec has none."""
    stated = {n: completed(v) for n, v in checked.graph.losses.items()}
    for loss in stated.values():
        weights = loss.get("class_weights")
        if isinstance(weights, list) and len(weights) != facts.outputs:
            loss["class_weights"] = "median_frequency"  # those of the spec are for other classes
    if stated:
        return stated
    kind = "cross_entropy" if facts.outputs > 1 else "binary_cross_entropy"
    return {"seg": completed({"kind": kind, "output": facts.main})}


def _slots(checked: Checked, facts: Facts) -> dict[str, Any]:
    graph = checked.graph
    recipe, losses = complete_recipe(checked, facts), complete_losses(checked, facts)
    return {
        "title": prose(graph.title or graph.name, 70),
        "source": prose(graph.source),
        "model": Code(graph.name),
        **_input_slots(facts, recipe),
        **_class_slots(facts, recipe, losses),
        **_size_slots(checked.domain, facts),
        **_output_slots(graph.outputs, facts),
        **loss_slots(losses, facts.coarse, len(graph.outputs) == 1, harness=True),
        **_training_slots(graph, recipe, losses, facts),
        **_border_slots(losses),
        "trial_crop": Code(str(_crop_for(checked.domain, facts, TRIAL_SIZE, TRIAL_SIZE))),
    }


def _input_slots(facts: Facts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    order, white = recipe["input"]["channels"], recipe["input"]["range"]
    norm = recipe.get("normalize") or {}
    name = {"rgb": "RGB", "bgr": "BGR", "gray": "grey"}[order]
    if facts.channels not in (1, 3):
        name = f"{facts.channels} channels"
    words = f"{name}, 0 to {white}"
    if norm:
        words += ", minus MEAN" + (", over STD" if norm.get("std") else "")
    return {
        "channels": Code(str(facts.channels)),
        "channel_text": Code("grey levels" if facts.channels == 1 else "RGB"),
        "mean": Code(_tuple(norm["mean"])) if norm else "",
        "std": Code(_tuple(norm["std"])) if norm.get("std") else "",
        "range_text": Code(f"{name}, 0 to {white}"),
        "input_text": Code(words),
        "to_input": Code(_to_input(order == "bgr", white, norm)),
        "pad_text": Code("MEAN" if norm else "black"),
    }


def _to_input(swapped: bool, white: int, norm: Mapping[str, Any]) -> str:
    value = "image.flip(0).float()" if swapped else "image.float()"
    value += " / 255" if white == 1 else ""
    if not norm:
        return f"    return {value}"
    lines = ["    mean = torch.tensor(MEAN).view(-1, 1, 1)"]
    if not norm.get("std"):
        return "\n".join([*lines, f"    return {value} - mean"])
    lines.append("    std = torch.tensor(STD).view(-1, 1, 1)")
    return "\n".join([*lines, f"    return ({value} - mean) / std"])


def _tuple(values: Any) -> str:
    return "(" + ", ".join(number(v) for v in values) + ("," if len(values) == 1 else "") + ")"


def _class_slots(
    facts: Facts, recipe: Mapping[str, Any], losses: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    binary = facts.outputs == 1
    names = recipe.get("classes")
    softmax = "logits.softmax(1)"
    return {
        "classes": Code(str(2 if binary else facts.outputs)),
        "ignore": Code(str(next(iter(losses.values()))["ignore_index"])),
        "class_names": Code(block("CLASS_NAMES", [lit(n) for n in names])) if names else "",
        "probabilities": Code("logits.sigmoid()" if binary else softmax),
        "labels": Code("probabilities[:, 0] > 0.5" if binary else "probabilities.argmax(1)"),
    }


def _size_slots(domain: Domain, facts: Facts) -> dict[str, Any]:
    height, width = (_size_name(s, n) for s, n in ((facts.height, "H"), (facts.width, "W")))
    terms = [
        f"{name} == {side}"
        for name, side in ((height, facts.height), (width, facts.width))
        if isinstance(side, int)
    ]
    known = {height, width, *CONSTRAINT_WORDS}
    for text in domain.constraints():
        if set(re.findall(r"[A-Za-z_]\w*", text)) <= known:
            terms.append(_plain(text))
    body = joined("return", terms or [f"min({height}, {width}) >= 1"], " and ")
    margin = facts.margin or 0
    return {
        "height": Code(height),
        "width": Code(width),
        "accepts": Code(body),
        "math_names": Code(", ".join(n for n in ("ceil", "floor") if f"{n}(" in body)),
        "margin": Code(str(margin)) if margin else "",
        "margin_import": Code("MARGIN, " if margin else ""),
        "sampling_inputs": _import(
            "inputs", SAMPLING_NAMES + (("MARGIN", "mirror") if margin else ())
        ),
        "scene": Code(
            "(args.crop[0] - 2 * MARGIN, args.crop[1] - 2 * MARGIN) if args.crop else (96, 96)"
            if margin
            else "args.crop or (96, 96)"
        ),
    }


def _size_name(side: DimLike, fallback: str) -> str:
    if isinstance(side, Dim):
        names = sorted(symbols(side))
        return names[0] if names else fallback
    return fallback


def _plain(text: str) -> str:
    """A constraint, which Python reads as it is written; anything unexpected is refused."""
    if not re.fullmatch(r"[\w\s+*/%()=<>!,.-]+", text):
        raise ValueError(f"not a constraint: {text!r}")
    return f"({text})" if " or " in text else text


def _output_slots(outputs: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    call = "model(padded)"
    if len(outputs) > 1:
        call = f'model(padded)["{facts.main}"]'
    return {"call": Code(call), "strided": Code("yes") if facts.margin is None else ""}


def _training_slots(
    graph: Graph,
    recipe: Mapping[str, Any],
    losses: Mapping[str, Mapping[str, Any]],
    facts: Facts,
) -> dict[str, Any]:
    single = len(graph.outputs) == 1
    weights = weighting(losses)
    counted, grouped = isinstance(weights, str), bool(recipe.get("groups"))
    augment = recipe.get("augment") or {}
    stdlib = [
        "import argparse",
        *(["import json"] if counted else []),
        "import math",
        "import os",
        "import sys",
        "from dataclasses import asdict",
        *(["from fnmatch import fnmatchcase"] if grouped else []),
        "from pathlib import Path",
        "from typing import Any",
    ]
    return {
        "stdlib": Code("\n".join(stdlib)),
        "own_imports": _own_imports(facts, weights, graph.name),
        "knobs": recipe_code.knobs(recipe, weights),
        "schedule": recipe_code.schedule(recipe),
        "groups": Code(recipe_code.GROUPS) if grouped else "",
        "group_rate": Code('lr * group["factor"]' if grouped else "lr"),
        "recompute_bn": Code(recipe_code.RECOMPUTE_BN) if recipe.get("recompute_bn") else "",
        "class_weights": recipe_code.class_weights(weights) if counted else "",
        "weights_line": Code(_weights_line(weights)) if weights else "",
        "pass_weights": Code("".join(f", {name}" for name in arguments_of(losses))),
        "optimizer": recipe_code.optimizer(recipe),
        "length": Code("max_steps" if recipe.get("max_steps") else "epochs"),
        "scale": Code("SCALE" if augment.get("scale") else "None"),
        "flip": Code(str(bool(augment.get("flip")))),
        "ddp_unused": Code("" if single else ", find_unused_parameters=True"),
    }


def _border_slots(losses: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How the weights near borders travel from sampling.py, which makes them, to the loss."""
    if border_weight(losses) is None:
        return {"borders": "", "batch_names": Code("images, masks, picked")}
    return {"borders": Code("yes"), "batch_names": Code("images, masks, picked, borders")}


def _own_imports(facts: Facts, weights: Any, model: str) -> list[Code]:
    """What train.py takes from the files beside it."""
    counted = isinstance(weights, str)
    data = ["KINDS", "fingerprint", "open_split"]
    data += ["Split", "count_labels", "read_pair"] if counted else []
    data += ["median_frequency"] if weights == "median_frequency" else []
    losses = ["total_loss", *(["inverse_log"] if weights == "inverse_log" else [])]
    inputs = ["accepted_size", "accepts"]
    inputs += ["MARGIN"] if facts.margin else []
    return [
        _import("checkpoints", CHECKPOINT_NAMES),
        _import("data", data),
        _import("inputs", inputs),
        _import("losses", losses),
        _import("model", [model]),
        _import("runtime", RUNTIME_NAMES),
        _import("sampling", ["Picks", "Samples"]),
        _import("scoring", ["evaluate", "scores"]),
    ]


def _import(module: str, names: Iterable[str]) -> Code:
    ordered = sorted(names, key=_import_key)
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return Code(line)
    return Code(f"from {module} import (\n" + "".join(f"    {n},\n" for n in ordered) + ")")


def _import_key(name: str) -> tuple[int, str]:
    """Constants, classes, functions: the order ruff sorts imported names in."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _weights_line(weights: Any) -> str:
    if isinstance(weights, str):
        return "weights = class_weights(train_set, args.out, rank).to(device)"
    return "weights = torch.tensor(CLASS_WEIGHTS, device=device)"


def _render(name: str, slots: Mapping[str, Any]) -> str:
    return str(_environment().get_template(name).render(slots))


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("segc.emit"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_code,
    )


def _only_code(value: Any) -> Any:
    """Nothing but `Code` reaches a file, so that no text of a spec can by mistake."""
    if not isinstance(value, Code):
        raise TypeError(f"templates print Code only, not {type(value).__name__}")
    return value
