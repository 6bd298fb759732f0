"""Does the recipe speak of what the network learns?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.loc import Loc

_WARPS = ("resize", "scale", "scales", "rotate", "shift", "elastic")
_COLOURS = ("color_jitter", "blur")
_BOXES = ("shorts", "expand", "iou_crop")  # what objects are cut out and placed by
# What means nothing for a task: keys of the recipe, keys of its `augment`.
_FOREIGN: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "labels": (
        "a network that labels pixels",
        ("patches", "resize", "estimators"),
        ("resized_crop", *_BOXES),
    ),
    "patches": (
        "a patch classifier",
        ("inference", "resize", "estimators"),
        (*_WARPS, "resized_crop", *_BOXES),
    ),
    "classes": (
        "a classifier of images",
        ("inference", "patches", "resize", "estimators"),
        (*_WARPS, *_BOXES),
    ),
    "stacks": (
        "a network that reads focal stacks",
        ("inference", "patches", "classes", "resize", "estimators"),
        (*_WARPS, *_COLOURS, "resized_crop", *_BOXES),
    ),
    "instances": (
        "a network that finds objects",
        ("inference", "patches", "recompute_bn"),
        (*_WARPS, "resized_crop"),
    ),
}


def check_task(recipe: Mapping[str, Any], task: str, report: Report) -> None:
    """Report keys of a recipe that mean nothing for what the network learns (`Facts.task`)."""
    what, keys, changes = _FOREIGN[task]
    augment = recipe.get("augment") or {}
    found = [key for key in keys if recipe.get(key)]
    found += [f"augment.{key}" for key in changes if augment.get(key)]
    for path in found:
        place = getattr(recipe, "locs", {}).get(path)
        text = f"`{path.rpartition('.')[2]}` means nothing for {what}"
        known = [key for key in _known(changes) if path.startswith("augment.")]
        hint = f"leave it out; known here: {', '.join(known)}" if known else "leave it out"
        report.error("SEG623", text, place if isinstance(place, Loc) else None, hint=hint)


def _known(foreign: tuple[str, ...]) -> list[str]:
    every = (*_WARPS, "flip", "quarter_turns", "resized_crop", *_COLOURS, *_BOXES)
    return [key for key in every if key not in foreign]
