"""Slots of inputs.py: what the network takes, accepted sizes, classes, labels from scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from segc.dim import Dim, DimLike, Domain, symbols
from segc.emit.pieces import Code, block, joined, lit, number
from segc.facts import Facts

CONSTRAINT_WORDS = ("floor", "ceil", "min", "max", "in", "or", "and", "not")


def input_slots(facts: Facts, recipe: Mapping[str, Any]) -> dict[str, Any]:
    order, white = recipe["input"]["channels"], recipe["input"]["range"]
    norm = recipe.get("normalize") or {}
    name = {"rgb": "RGB", "bgr": "BGR", "gray": "grey"}[order]
    if facts.channels not in (1, 3):
        name = f"{facts.channels} channels"
    words = f"{name}, 0 to {white}"
    stack = [str(facts.slices)] if facts.slices else []
    if norm:
        words += ", minus MEAN" + (", over STD" if norm.get("std") else "")
    return {
        "channels": Code(str(facts.channels)),
        "channel_text": Code("grey levels" if facts.channels == 1 else "RGB"),
        "mean": Code(_tuple(norm["mean"])) if norm else "",
        "std": Code(_tuple(norm["std"])) if norm.get("std") else "",
        "range_text": Code(f"{name}, 0 to {white}"),
        "input_text": Code(words),
        "input_shape": Code(", ".join([*stack, str(facts.channels), "H", "W"])),
        "slices": Code(str(facts.slices)),
        "to_input": Code(_to_input(order == "bgr", white, norm, -3 if facts.slices else 0)),
        "pad_text": Code("MEAN" if norm else "black"),
    }


def _to_input(swapped: bool, white: int, norm: Mapping[str, Any], axis: int) -> str:
    value = f"image.flip({axis}).float()" if swapped else "image.float()"
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


def class_slots(
    facts: Facts, recipe: Mapping[str, Any], losses: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    binary = facts.outputs == 1
    names = recipe.get("classes")
    return {
        "classes": Code(str(2 if binary else facts.outputs)),
        "ignore": Code(str(next(iter(losses.values())).get("ignore_index", 255))),
        "class_names": Code(block("CLASS_NAMES", [lit(n) for n in names])) if names else "",
        "labels": Code("probabilities[:, 0] > 0.5" if binary else "probabilities.argmax(1)"),
    }


def size_slots(domain: Domain, facts: Facts) -> dict[str, Any]:
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
