"""The training harness of a network: train.py, eval.py, predict.py and what they share.

The templates are fixed text; what differs between networks is put into their slots as `Code`,
which only this package makes. Nothing emitted imports segc.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from segc.check import Checked
from segc.emit import augment_code, recipe_code, schedule_code
from segc.emit.inference_code import inference_slots
from segc.emit.input_code import class_slots, input_slots, size_slots
from segc.emit.instance_code import completed_size
from segc.emit.layouts_code import layouts_code
from segc.emit.losses import arguments_of, border_weight, loss_slots, weighting
from segc.emit.pieces import Code, import_line, prose
from segc.emit.stages_code import stages_slots
from segc.emit.tasks import TASKS, task_slots, windows_of
from segc.facts import Facts, accepted_crop, facts_of
from segc.ir import Graph
from segc.read.loss_table import completed

FILES = TASKS["labels"].files
OPTIONAL = {"crf.py": "crf"}  # files that only some recipes use, and the slot that says so
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
TRIAL_SIZE = 96  # pixels: what a trial on synthetic scenes is labelled on, or a little more
TRIAL_OBJECTS = 128  # pixels: the same of a trial in which objects are found

DEFAULT_RECIPE: dict[str, Any] = {
    "optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}},
    "schedule": {"poly": {"power": 0.9}},
    "batch_size": 8,
    "input": {"channels": "rgb", "range": 1},
}
AUGMENT: dict[str, dict[str, Any]] = {  # where there is no recipe
    "labels": {"scale": [0.5, 2.0], "flip": True},
    "patches": {"flip": True},
    "classes": {
        "resized_crop": {"area": [0.08, 1.0], "ratio": [3 / 4, 4 / 3]},
        "flip": True,
    },
    "stacks": {"flip": True},
    "instances": {"flip": True},
}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def harness_files(checked: Checked) -> dict[str, str]:
    """The text of each file by its name, for what the network learns (see `Facts.task`).

    Of a network that learns something else there is losses.py alone, if it has losses.
    """
    facts = facts_of(checked)
    if facts is None:
        return _losses_alone(checked)
    slots = _slots(checked, facts)
    names = [*TASKS[facts.task].files]
    if facts.task == "labels":
        names += [name for name, slot in OPTIONAL.items() if slots[slot]]
    if slots.get("estimators"):
        names.append("estimators.py")
    return {name: _render(name, slots, facts.task) for name in names}


def _losses_alone(checked: Checked) -> dict[str, str]:
    """losses.py for a training loop that is not emitted."""
    graph = checked.graph
    if not graph.losses:
        return {}
    losses = {name: completed(loss) for name, loss in graph.losses.items()}
    slots = loss_slots(losses, frozenset(graph.outputs), len(graph.outputs) == 1, harness=False)
    title = prose(graph.title or graph.name, 70)
    return {"losses.py": _render("losses.py", {"title": title, **slots})}


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
        recipe["crop"] = list(accepted_crop(facts.domain, facts, *recipe["crop"]))
    recipe["stages"] = [
        {
            **stage,
            "crop": stage["crop"] and list(accepted_crop(facts.domain, facts, *stage["crop"])),
        }
        for stage in recipe.get("stages") or ()
    ]
    if len(recipe.get("classes") or ()) != facts.named:
        recipe["classes"] = None
    if not stated:
        recipe["crop"] = None
        if facts.task != "instances":
            recipe["crop"] = list(_crop_for(facts, 256, 256))
        recipe["augment"] = AUGMENT[facts.task]
        if facts.channels == 3:
            recipe["normalize"] = IMAGENET
    if facts.task == "instances":
        recipe["resize"] = completed_size(facts, recipe.get("resize"), bool(stated))
    if facts.task in ("patches", "classes") and not recipe.get("crop"):
        recipe["crop"] = list(_crop_for(facts, 224, 224))
    return recipe


def _crop_for(facts: Facts, height: int, width: int) -> tuple[int, int]:
    """The smallest accepted crop whose output is at least this large."""
    lost = 2 * (facts.margin or 0)
    return accepted_crop(facts.domain, facts, height + lost, width + lost)


def complete_losses(checked: Checked, facts: Facts) -> dict[str, dict[str, Any]]:
    """The losses that read maps of classes; plain cross entropy where the spec has none."""
    stated = {n: completed(v) for n, v in checked.graph.losses.items()}
    for loss in stated.values():
        weights = loss.get("class_weights")
        if isinstance(weights, list) and len(weights) != facts.outputs:
            # Those of the spec are for other classes.
            loss["class_weights"] = None if facts.task == "classes" else "median_frequency"
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
        **input_slots(facts, recipe),
        **class_slots(facts, recipe, losses),
        **size_slots(facts.domain, facts),
        **_output_slots(graph.outputs, facts),
        **loss_slots(losses, facts.coarse, len(graph.outputs) == 1, harness=True),
        **_training_slots(graph, recipe, losses, facts),
        **_batch_slots(losses, facts),
        **inference_slots(recipe, facts, import_line),
        **task_slots(facts, recipe, losses),
        "layouts": layouts_code(graph.layouts),
        "trial_crop": Code(str(_trial_crop(facts))),
    }


def _trial_crop(facts: Facts) -> tuple[int, int]:
    side = TRIAL_OBJECTS if facts.task == "instances" else TRIAL_SIZE
    return _crop_for(facts, side, side)


def _output_slots(outputs: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    pick = f'["{facts.main}"]' if len(outputs) > 1 else ""
    return {
        "call": Code(f"model(padded){pick}"),
        "pick": Code(pick),
        "strided": Code("yes") if facts.margin is None else "",
    }


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
    stages = stages_slots(graph, recipe, losses)
    margin = facts.margin or 0
    layout = ", memory_format=torch.channels_last" if TASKS[facts.task].flat else ""
    stdlib = [
        "import argparse",
        *(["import json"] if counted else []),
        "import math",
        "import os",
        "import sys",
        f"from collections.abc import {'Callable, ' if stages['schedule_first'] else ''}Iterator",
        "from dataclasses import asdict, dataclass",
        *(
            ["from fnmatch import fnmatchcase"]
            if grouped or "fnmatchcase" in stages["freezes"]
            else []
        ),
        "from pathlib import Path",
        "from typing import Any",
    ]
    return {
        "stdlib": Code("\n".join(stdlib)),
        "own_imports": _own_imports(facts, weights, "IGNORE" in stages["accumulate"], graph.name),
        "knobs": recipe_code.knobs(recipe, weights, windows_of(facts, recipe)),
        **schedule_code.slots(recipe),
        "groups": Code(recipe_code.GROUPS) if grouped else "",
        "group_rate": Code('lr * group["factor"]' if grouped else "lr"),
        "recompute_bn": recipe_code.recompute_bn(layout) if recipe.get("recompute_bn") else "",
        "class_weights": recipe_code.class_weights(weights) if counted else "",
        "weights_line": Code(_weights_line(weights)) if weights else "",
        "pass_weights": Code("".join(f", {_ARGUMENTS[name]}" for name in arguments_of(losses))),
        "optimizer": recipe_code.optimizer(recipe),
        "length": Code("max_steps" if recipe.get("max_steps") else "epochs"),
        "sampling_inputs": import_line("inputs", augment_code.inputs(augment, margin)),
        **augment_code.slots(augment, facts.channels, margin),
        "synchronized": Code("yes" if any(n.op.synchronized for n in graph.nodes) else ""),
        **stages,
        "ddp_unused": Code("" if single else ", find_unused_parameters=True"),
    }


_ARGUMENTS = {"weights": "job.weights", "borders": "borders"}  # what train.py gives total_loss


def _batch_slots(losses: Mapping[str, Mapping[str, Any]], facts: Facts) -> dict[str, Any]:
    """What a batch holds. Weights near borders come from sampling.py, which makes them."""
    task = TASKS[facts.task]
    if task.by_name:
        return {
            "borders": Code(""),
            "batch_names": Code("inputs, picked"),
            "part_names": Code("inputs, _"),
            "picked_at": Code("1"),
            "batch_type": Code("tuple[dict[str, Tensor], list[int]]"),
            "batch_text": Code("What the network takes by name, numbers of the images"),
        }
    names, types = [*task.batch, "picked"], ["Tensor", "Tensor", "list[int]"]
    text = f"{', '.join(task.batch_text)}, numbers of the {'images' if task.flat else 'stacks'}"
    borders = border_weight(losses) is not None
    if borders:
        names, types = [*names, "borders"], [*types, "Tensor"]
        text += ", weights near borders"
    return {
        "borders": Code("yes" if borders else ""),
        "batch_names": Code(", ".join(names)),
        "picked_at": Code("2"),
        "part_names": Code(", ".join(names).replace("picked", "_")),
        "batch_type": Code(f"tuple[{', '.join(types)}]"),
        "batch_text": Code(text),
    }


def _own_imports(facts: Facts, weights: Any, ignore: bool, model: str) -> list[Code]:
    """What train.py takes from the files beside it."""
    objects = facts.task == "instances"
    counted = isinstance(weights, str)
    data = ["KINDS", "Split", "fingerprint", "open_split"]
    data += ["count_labels", "read_pair"] if counted else []
    data += ["median_frequency"] if weights == "median_frequency" else []
    losses = ["total_loss", *(["inverse_log"] if weights == "inverse_log" else [])]
    inputs = ["accepted_size", "accepts"]
    inputs += ["IGNORE"] if ignore else []
    inputs += ["MARGIN"] if facts.margin else []
    inputs += ["UNIT"] if facts.task == "stacks" else []
    inputs += ["RESIZE"] if objects else []
    return [
        import_line("checkpoints", CHECKPOINT_NAMES),
        import_line("data", data),
        import_line("inputs", inputs),
        import_line("losses", losses),
        import_line("model", [model]),
        import_line("runtime", RUNTIME_NAMES),
        import_line("sampling", ["Picks", "Samples", *(["on_device"] if objects else [])]),
        import_line("scoring", [*(["Tally"] if objects else []), "evaluate", "scores"]),
    ]


def _weights_line(weights: Any) -> str:
    if isinstance(weights, str):
        return "weights = class_weights(train_set, args.out, rank).to(device)"
    return "weights = torch.tensor(CLASS_WEIGHTS, device=device)"


def _render(name: str, slots: Mapping[str, Any], task: str = "") -> str:
    """The task's own template of a file, or the one that all share."""
    template = _environment().select_template([f"{task}/{name}.j2", f"{name}.j2"])
    return str(template.render(slots))


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
