"""The learning rate over the steps as emitted Python: constants, `decay`, and the line that asks.

`per: epoch` holds a rate from the start of an epoch to its end, `every` for that many steps or
epochs: the step is rounded down before the formula. So the last epoch of a polynomial decay trains
at (1 / epochs) ** power of the base rate, as a scheduler that steps once an epoch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.emit.pieces import Code, number

Recipe = Mapping[str, Any]


def knobs(recipe: Recipe) -> list[str]:
    """The constants at the top of train.py."""
    kind, values = _schedule(recipe)
    unit = "epochs" if _by_epoch(values) else "steps"
    lines = []
    if kind == "poly":
        lines.append(f"POWER = {number(values['power'])}  # of the decay to zero")
        if _every(values) > 1:
            lines.append(f"RATE_EVERY = {values['every']}  # {unit} for which a rate holds")
        if values.get("floor"):
            lines.append(f"LR_FLOOR = {number(values['floor'])}  # the base rate falls no lower")
    if kind == "step":
        lines.append(f"DROP_EVERY = {values['size']:_}  # {unit}")
    if kind == "milestones":
        at = ", ".join(f"{step:_}" for step in values["at"])
        tail = "," if len(values["at"]) == 1 else ""
        lines.append(f"DROP_AT = ({at}{tail})  # {unit}")
    if kind in ("step", "milestones"):
        lines.append(f"GAMMA = {number(values['gamma'])}  # factor of a drop")
    return lines + _warmup_knobs(recipe)


def _warmup_knobs(recipe: Recipe) -> list[str]:
    warmup = recipe.get("warmup")
    if not warmup:
        return []
    return [
        f"WARMUP_STEPS = {warmup['steps']:_}  # of linear growth to the rate of the schedule",
        f"WARMUP_FACTOR = {number(warmup['factor'])}  # share of it at step 0",
    ]


def decay(recipe: Recipe) -> Code:
    """`decay(step, steps)`, or with `per_epoch` too: the factor of the base learning rate."""
    kind, values = _schedule(recipe)
    text, result = {
        "constant": ("constant", "1.0"),
        "poly": ("polynomial to zero", "(1 - step / steps) ** POWER"),
        "step": _step(values),
        "milestones": _milestones(values),
        "cosine": ("half a cosine to zero", "0.5 * (1 + math.cos(math.pi * step / steps))"),
    }[kind]
    extra = ", per_epoch: int" if _by_epoch(values) else ""
    held, period = _held(values) if kind in ("poly", "cosine") else ("", "")
    lines = [
        f"def decay(step: int, steps: int{extra}) -> float:",
        f'    """Factor of the learning rate at a step: {text}{held}."""',
    ]
    if recipe.get("warmup"):
        lines.append("    growth = WARMUP_FACTOR + (1 - WARMUP_FACTOR) * step / WARMUP_STEPS")
        result = f"min(1.0, growth) * {result}"
    lines += [f"    step -= step % {period}"] if period else []
    return Code("\n".join([*lines, f"    return {result}"]))


def rate(recipe: Recipe) -> Code:
    """The base rate of a step, as train.py's loop asks for it."""
    _, values = _schedule(recipe)
    extra = ", per_epoch" if _by_epoch(values) else ""
    product = f"args.lr * decay(at.step, steps{extra})"
    return Code(f"max(LR_FLOOR, {product})" if values.get("floor") else product)


def _schedule(recipe: Recipe) -> tuple[str, Mapping[str, Any]]:
    ((kind, values),) = recipe["schedule"].items()
    return kind, values


def _by_epoch(values: Mapping[str, Any]) -> bool:
    return values.get("per") == "epoch"


def _every(values: Mapping[str, Any]) -> int:
    return int(values.get("every") or 1)


def _held(values: Mapping[str, Any]) -> tuple[str, str]:
    """For how long a rate holds: in words, and in steps."""
    every = _every(values)
    if _by_epoch(values) and every == 1:
        return ", held over each epoch", "per_epoch"
    if _by_epoch(values):
        return ", held for RATE_EVERY epochs", "(RATE_EVERY * per_epoch)"
    return (", held for RATE_EVERY steps", "RATE_EVERY") if every > 1 else ("", "")


def _step(values: Mapping[str, Any]) -> tuple[str, str]:
    if _by_epoch(values):
        return (
            "dropped by GAMMA every DROP_EVERY epochs",
            "GAMMA ** (step // per_epoch // DROP_EVERY)",
        )
    return "dropped by GAMMA every DROP_EVERY steps", "GAMMA ** (step // DROP_EVERY)"


def _milestones(values: Mapping[str, Any]) -> tuple[str, str]:
    if _by_epoch(values):
        return (
            "dropped by GAMMA at each epoch of DROP_AT",
            "GAMMA ** sum(step // per_epoch >= epoch for epoch in DROP_AT)",
        )
    return "dropped by GAMMA at each step of DROP_AT", "GAMMA ** sum(step >= at for at in DROP_AT)"
