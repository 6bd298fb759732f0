"""The learning rate over the steps as emitted Python: constants and `decay`.

`per: epoch` holds a rate from the start of an epoch to its end, `every` for that many steps or
epochs: the step is rounded down before the formula. So the last epoch of a polynomial decay trains
at (1 / epochs) ** power of the base rate, as a scheduler that steps once an epoch does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from segc.emit.pieces import Code, number

Recipe = Mapping[str, Any]


def slots(recipe: Recipe) -> dict[str, Any]:
    """What train.py.j2 prints of schedules."""
    per_epoch = ", len(job.train_set) // args.batch_size" if by_epoch(recipe) else ""
    return {"schedule": decay(recipe, by_epoch(recipe)), "per_epoch": Code(per_epoch)}


def by_epoch(recipe: Recipe) -> bool:
    """Whether any schedule, of the recipe or of a stage, needs to know where epochs begin."""
    given = [recipe, *(stage for stage in recipe.get("stages") or () if stage["schedule"])]
    return any(_by_epoch(_schedule(one)[1]) for one in given)


def knobs(recipe: Recipe) -> list[str]:
    """The constants at the top of train.py."""
    kind, values = _schedule(recipe)
    comments = {
        "POWER": "of the decay to zero",
        "RATE_EVERY": f"{_unit(values)} for which a rate holds",
        "LR_FLOOR": "LR falls no lower",
        "DROP_EVERY": _unit(values),
        "DROP_AT": _unit(values),
        "GAMMA": "factor of a drop",
    }
    used = decay(recipe, by_epoch(recipe))
    found = constants(values)
    lines = [
        f"{n} = {v}  # {comments[n]}" for n, v in found.items() if re.search(rf"\b{n}\b", used)
    ]
    return lines + _warmup_knobs(recipe)


def constants(values: Mapping[str, Any]) -> dict[str, str]:
    """The literals of a schedule's values by the names they have in `decay`."""
    names = {
        "power": "POWER",
        "every": "RATE_EVERY",
        "floor": "LR_FLOOR",
        "size": "DROP_EVERY",
        "at": "DROP_AT",
        "gamma": "GAMMA",
    }
    return {names[key]: _literal(values[key]) for key in names if key in values}


def _literal(value: Any) -> str:
    if isinstance(value, list):
        inner = ", ".join(_literal(one) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return f"{value:_}" if isinstance(value, int) else number(value)


def _warmup_knobs(recipe: Recipe) -> list[str]:
    warmup = recipe.get("warmup")
    if not warmup:
        return []
    return [
        f"WARMUP_STEPS = {warmup['steps']:_}  # of linear growth to the rate of the schedule",
        f"WARMUP_FACTOR = {number(warmup['factor'])}  # share of it at step 0",
    ]


def decay(recipe: Recipe, per_epoch: bool) -> Code:
    """`decay(step, steps)`, or with `per_epoch` too: the factor of the base learning rate."""
    kind, values = _schedule(recipe)
    text, result = {
        "constant": ("constant", "1.0"),
        "poly": ("polynomial to zero", "(1 - step / steps) ** POWER"),
        "step": (f"dropped by GAMMA every DROP_EVERY {_unit(values)}", _step(values)),
        "milestones": (f"dropped by GAMMA at DROP_AT, {_unit(values)}", _milestones(values)),
        "cosine": ("half a cosine to zero", "0.5 * (1 + math.cos(math.pi * step / steps))"),
    }[kind]
    held, period = _held(values) if kind in ("poly", "cosine") else ("", "")
    lines = [
        f"def decay(step: int, steps: int{', per_epoch: int' if per_epoch else ''}) -> float:",
        f'    """Factor of the learning rate at a step: {text}{held}."""',
    ]
    if values.get("floor"):
        result = f"max(LR_FLOOR / LR, {result})"
    if recipe.get("warmup"):
        lines.append("    growth = WARMUP_FACTOR + (1 - WARMUP_FACTOR) * step / WARMUP_STEPS")
        result = f"min(1.0, growth) * {result}"
    lines += [f"    step -= step % {period}"] if period else []
    return Code("\n".join([*lines, f"    return {result}"]))


def _schedule(recipe: Recipe) -> tuple[str, Mapping[str, Any]]:
    ((kind, values),) = recipe["schedule"].items()
    return kind, values


def _by_epoch(values: Mapping[str, Any]) -> bool:
    return values.get("per") == "epoch"


def _unit(values: Mapping[str, Any]) -> str:
    return "epochs" if _by_epoch(values) else "steps"


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


def _step(values: Mapping[str, Any]) -> str:
    now = "step // per_epoch" if _by_epoch(values) else "step"
    return f"GAMMA ** ({now} // DROP_EVERY)"


def _milestones(values: Mapping[str, Any]) -> str:
    now = "step // per_epoch" if _by_epoch(values) else "step"
    return f"GAMMA ** sum({now} >= drop for drop in DROP_AT)"
