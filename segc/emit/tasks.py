"""What the scripts of a network are, by what it learns: their files, and the words they differ in.

A template `TASK/NAME.j2` takes the place of `NAME.j2` for that task; train.py, checkpoints.py and
runtime.py are the same for all and have the words below in their slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from segc.emit import instance_code
from segc.emit.augment_code import samples
from segc.emit.losses import SCALARS
from segc.emit.pieces import Code, import_line, number
from segc.facts import Facts

_FIRST = ("train.py", "losses.py", "eval.py", "predict.py", "inputs.py", "data.py", "sampling.py")
_LAST = ("checkpoints.py", "runtime.py")
_SCENE = "(128, 128)"  # pixels of a drawn scene that windows are cut from
_RESIZE = (
    'add("--resize", type=positive, nargs=2, metavar=("H", "W"), help="bring all images to a size")'
)
_LABEL_MAP = (
    'add("--label-map", default="", metavar="0:0,255:1", help="folder: stored label to class id")'
)
_PROPOSALS = 'add("--proposals", metavar="FILE.json", help="boxes to look at, by file name")'
_UNIT = (
    'add("--unit", type=rate, default=UNIT, metavar="U", help="folder: value of a step of a PNG")'
)


@dataclass(frozen=True, slots=True)
class Score:
    """What the best state of a run is chosen by: a key of `scores`, its name, how it is shown."""

    key: str
    name: str
    shown: str  # a format of the value `{}`
    value: str
    least: bool = False  # the smaller, the better


@dataclass(frozen=True, slots=True)
class Task:
    """The files of a task, and what train.py says of it.

    kinds: kinds of data named in the examples. batch: names of what the network reads and what it
    is compared with; totals: what `evaluate` counts, and its type. samples: arguments of `Samples`
    before what is random. view: what `evaluate` takes after the split. more: the last argument of
    `open_split`.
    """

    files: tuple[str, ...]
    score: Score
    kinds: tuple[str, str] = ("folder", "folder")
    batch: tuple[str, str] = ("images", "labels")
    batch_text: tuple[str, str] = ("Images", "their classes")
    totals: tuple[str, str, str] = ("totals", "What `scores` makes the scores", "Tensor")
    samples: tuple[str, ...] = ("args.crop", "args.seed")
    view: str = ""
    more: str = ""
    options: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    losses: str = ""  # shapes, for the head of losses.py
    too_large: str = "use --resize H W"  # the way out where no size fits an image
    flat: bool = True  # one image is [C, H, W]
    by_name: bool = False  # a batch is a mapping by the names of the inputs; the losses are outputs

    @property
    def resizes(self) -> bool:
        return _RESIZED in self.settings


_MIOU = Score("miou", "mIoU", "{100 * $:.2f}", 'result["miou"] or 0.0')
_ACCURACY = Score("accuracy", "accuracy", "{100 * $:.2f}", 'result["accuracy"] or 0.0')
# The mean over classes: patches are drawn with the classes in equal numbers.
_BALANCED = Score("mean_accuracy", "by class", "{100 * $:.2f}", 'result["mean_accuracy"] or 0.0')
_MSE = Score(
    "mse", "MSE", "{$:.3g}", 'math.inf if result["mse"] is None else result["mse"]', least=True
)
_RESIZED = '"resize": list(args.resize) if args.resize else None'
_LABELS = Task(
    (*_FIRST, "inference.py", "scoring.py", "measures.py", *_LAST),
    _MIOU,
    kinds=("camvid", "voc"),
    batch=("images", "masks"),
    batch_text=("Images", "label maps"),
    totals=("matrix", "The confusion matrix", "Tensor"),
    samples=("args.crop", "args.resize", "args.seed"),
    view="args.resize",
    more="args.label_map",
    options=(_RESIZE, _LABEL_MAP),
    settings=(_RESIZED,),
    losses="Maps of logits are [N, K, H, W], label maps [N, H, W].",
)
TASKS = {
    "labels": _LABELS,
    "patches": Task(
        (*_FIRST, "inference.py", "scoring.py", *_LAST),
        _BALANCED,
        kinds=("camvid", "voc"),
        batch=("images", "masks"),
        batch_text=("Windows", "their labels as maps"),
        totals=("totals", "The counts", "Tensor"),
        samples=("args.crop", "args.resize", "args.seed", "PATCHES"),
        view="args.resize",
        more="args.label_map",
        options=(_RESIZE, _LABEL_MAP),
        settings=(_RESIZED,),
        losses="Logits are [N, K], maps [N, H, W]: their middle counts.",
    ),
    "classes": Task(
        (*_FIRST, "scoring.py", *_LAST),
        _ACCURACY,
        totals=("totals", "The counts", "Tensor"),
        view="args.crop",
        losses="Logits are [N, K], classes [N].",
        too_large="use a smaller --crop",
    ),
    "stacks": Task(
        (*_FIRST, "scoring.py", *_LAST),
        _MSE,
        batch=("stacks", "truths"),
        batch_text=("Stacks", "disparities"),
        totals=("totals", "The sums", "Tensor"),
        more="args.unit",
        options=(_UNIT,),
        settings=('"unit": args.unit',),
        losses="Both maps are [N, 1, H, W].",
        too_large="scale it down first",
        flat=False,
    ),
    "instances": Task(
        (*_FIRST, "masks.py", "detection.py", "scoring.py", "precision.py", *_LAST),
        Score("box_ap", "box AP", "{100 * $:.2f}", 'result["box_ap"] or 0.0'),
        kinds=("coco", "coco"),
        batch=("inputs", "inputs"),
        batch_text=("What the network takes", "by name"),
        totals=("tally", "What was found", "Tally"),
        samples=("args.crop", "args.resize", "args.seed"),
        view="args.resize",
        settings=(_RESIZED,),
        losses=SCALARS,
        too_large="use --resize",
        by_name=True,
    ),
}


def task_slots(
    facts: Facts, recipe: Mapping[str, Any], losses: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What train.py, checkpoints.py, runtime.py, data.py and losses.py say of the task."""
    task = _of_objects(TASKS[facts.task], facts, recipe)
    patches = recipe.get("patches") or {"number": 16, "balanced": True}
    return {
        "first_kind": Code(task.kinds[0]),
        "other_kind": Code(f"{task.kinds[1]} --root DIR".ljust(18)),
        "data_options": [Code(option) for option in task.options],
        "data_settings": [Code(setting) for setting in task.settings],
        "resizes": Code("yes" if task.resizes else ""),
        "open_more": Code(f", {task.more}" if task.more else ""),
        "view": Code(task.view),
        "make_samples": samples(recipe.get("augment") or {}, task.samples),
        "x": Code(task.batch[0]),
        "y": Code(task.batch[1]),
        "layout": Code(", memory_format=torch.channels_last" if task.flat else ""),
        "as_index": Code(".long()" if facts.task != "stacks" else ""),
        "too_large": Code(task.too_large),
        "totals": Code(task.totals[0]),
        "totals_text": Code(task.totals[1]),
        "totals_type": Code(task.totals[2]),
        "by_name": Code("yes" if task.by_name else ""),
        "model_takes": Code(f"**{task.batch[0]}" if task.by_name else task.batch[0]),
        "loss_takes": Code("output" if task.by_name else f"output, {task.batch[1]}"),
        "recipe_size": Code(instance_code.recipe_size(recipe) if task.by_name else ""),
        "balanced": Code("yes" if patches["balanced"] else ""),
        "view_size": Code(
            f"({recipe['crop'][0]}, {recipe['crop'][1]})" if recipe.get("crop") else ""
        ),
        "chunks": Code("images" if facts.task == "patches" else "groups of images"),
        "probabilities_name": Code(
            "probabilities_of_windows" if facts.task == "patches" else "probabilities_of"
        ),
        **_score_slots(task),
        **_scene_slots(facts.task),
        **instance_code.instance_slots(facts, recipe),
        "loss_shapes": Code(task.losses),
        "minimum": Code(number(least) if (least := _minimum(losses)) else ""),
    }


def _of_objects(task: Task, facts: Facts, recipe: Mapping[str, Any]) -> Task:
    """What the task `instances` is for this network; other tasks are the same for all."""
    if facts.task != "instances":
        return task
    kind = instance_code.best_kind(facts)
    score = replace(
        task.score, key=f"{kind}_ap", name=f"{kind} AP", value=f'result["{kind}_ap"] or 0.0'
    )
    options, settings = (instance_code.resize_option(recipe),), task.settings
    if not any(taken.name == "rois" for taken in facts.takes):
        return replace(task, score=score, options=options)
    return replace(
        task,
        score=score,
        more="args.proposals",
        options=(*options, _PROPOSALS),
        settings=(*settings, '"proposals": bool(args.proposals)'),
    )


def windows_of(facts: Facts, recipe: Mapping[str, Any]) -> int:
    """How many windows a patch classifier draws from an image; 0 for other networks."""
    if facts.task != "patches":
        return 0
    return int((recipe.get("patches") or {"number": 16})["number"])


def _minimum(losses: Mapping[str, Mapping[str, Any]]) -> float:
    """The smallest number that a loss compares with; 0 where all count."""
    return max(float(loss.get("minimum") or 0) for loss in losses.values())


def _score_slots(task: Task) -> dict[str, Any]:
    score = task.score
    names = ", job.val_set.names" if task.flat else ""
    return {
        "score": Code(score.key),
        "score_name": Code(score.name),
        "score_names": Code(names),
        "score_value": Code(score.value),
        "score_sign": Code("<" if score.least else ">"),
        "score_pick": Code("min" if score.least else "max"),
        "score_text": Code(f"{score.name} {score.shown.replace('$', score.key)}"),
        "best_text": Code(f"{score.name} {score.shown.replace('$', 'at.best')}"),
        "best_start": Code("math.inf" if score.least else "-1.0"),
        "best_infinite": Code("yes" if score.least else ""),
    }


def _scene_slots(task: str) -> dict[str, Any]:
    """Drawn scenes are as large as the crop; windows of patches are cut from larger ones."""
    names = ["CHANNELS", "CLASSES", "IGNORE", "own_names", "read_image", "read_labels"]
    windows = task == "patches"
    found: dict[str, Any] = {
        "data_inputs": import_line("inputs", names + ([] if windows else ["accepted_size"])),
        "data_scene": Code(_SCENE if windows else "accepted_size(96, 96)"),
    }
    return {**found, "scene": Code(_SCENE)} if windows else found
