"""What to write for a value that differs between instances: `4 * width`, `stride`, `16`.

A vector holds the value of one slot in every instance of a class and every observation of the
network. An expression is right if it gives the vector from the vectors of the class's variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from segc.emit.text import literal


class _Any:
    """The value of a slot in an instance that lacks its layer: whatever fits."""

    def __repr__(self) -> str:
        return "ANY"


ANY = _Any()
Vector = tuple[Any, ...]

MAX_FACTOR = 64
MAX_OFFSET = 8
DIVISORS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)


@dataclass(frozen=True, slots=True)
class Variable:
    """Something a class can write: a constructor parameter with its value in every instance.

    `channels` says that it counts channels; None: as a block's author meant it.
    """

    name: str
    values: Vector
    channels: bool | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """An expression and the variables it reads; `constant` holds the value of a literal."""

    text: str
    reads: tuple[str, ...] = ()


def same(a: Any, b: Any) -> bool:
    """Equal and of one type (True is not 1, 1.0 is not 1)."""
    return type(a) is type(b) and a == b


def known(values: Vector) -> list[Any]:
    return [v for v in values if v is not ANY]


def agree(values: Vector, others: Vector) -> bool:
    """The second vector has the first one's value wherever the first has one."""
    return all(a is ANY or same(a, b) for a, b in zip(values, others, strict=True))


def constant(values: Vector) -> bool:
    found = known(values)
    return all(same(v, found[0]) for v in found)


def fit(
    values: Vector, variables: Sequence[Variable], channels: bool, name: str = ""
) -> Fitted | None:
    """The plainest expression that gives `values`, or None.

    `channels`: the slot counts channels; such counts are computed from one another only. `name`
    is the attribute the slot stands for.
    """
    found = known(values)
    if not found:
        return Fitted("None")
    if constant(values):
        return Fitted(literal(found[0]))
    for v in variables:
        if agree(values, v.values):
            return Fitted(v.name, (v.name,))
    if all(type(v) is bool for v in found):
        return _condition(values, variables)
    if all(type(v) is tuple for v in found):
        return _each(values, variables, channels)
    if not all(type(v) is int for v in found):
        return None
    usable = [v for v in variables if _usable(v, channels)]
    if name.endswith("padding"):
        return next(_padding(values, usable), None) or next(_arithmetic(values, usable), None)
    return next(_arithmetic(values, usable), None)


def _each(values: Vector, variables: Sequence[Variable], channels: bool) -> Fitted | None:
    """A tuple by its items, each as it comes; sizes among them may count channels or not."""
    found = known(values)
    if len({len(v) for v in found}) != 1 or not found[0]:
        return None
    items = []
    for k in range(len(found[0])):
        column = tuple(v if v is ANY else v[k] for v in values)
        item = fit(column, variables, channels) or fit(column, variables, not channels)
        if item is None:
            return None
        items.append(item)
    texts = ", ".join(i.text for i in items) + ("," if len(items) == 1 else "")
    return Fitted(f"({texts})", tuple(dict.fromkeys(n for i in items for n in i.reads)))


def _padding(values: Vector, variables: Sequence[Variable]) -> Iterator[Fitted]:
    """The padding that keeps the size: `kernel_size // 2`, times the dilation."""
    kernels = [v for v in variables if v.name.endswith("kernel_size")]
    for k in kernels:
        if _holds(values, k, lambda x: x // 2):
            yield Fitted(f"{k.name} // 2", (k.name,))
        for d in variables:
            both = zip(d.values, k.values, strict=True)
            if d is not k and agree(values, tuple(a * (b - 1) // 2 for a, b in both)):
                yield Fitted(f"{d.name} * ({k.name} - 1) // 2", (d.name, k.name))


def _usable(variable: Variable, channels: bool) -> bool:
    if not all(type(v) is int for v in variable.values if v is not ANY):
        return False
    return variable.channels is None or variable.channels == channels


def _condition(values: Vector, variables: Sequence[Variable]) -> Fitted | None:
    """A flag from one variable: its negation, or whether it is some number."""
    for v in variables:
        if all(type(x) is bool for x in v.values) and agree(values, tuple(not x for x in v.values)):
            return Fitted(f"not {v.name}", (v.name,))
    for v in variables:
        numbers = sorted({x for x in v.values if type(x) is int})
        for n in numbers if len(numbers) > 1 else ():
            if agree(values, tuple(x != n for x in v.values)):
                return Fitted(f"{v.name} != {n}", (v.name,))
            if agree(values, tuple(x == n for x in v.values)):
                return Fitted(f"{v.name} == {n}", (v.name,))
    return None


def _arithmetic(values: Vector, variables: Sequence[Variable]) -> Iterator[Fitted]:
    varied = [v for v in variables if not constant(v.values)]
    for v in varied:
        yield from _multiple(values, v)
    for v in varied:
        yield from _fraction(values, v)
    for v in varied:
        yield from _offset(values, v)
    yield from _pairs(values, varied)
    for v in varied:
        yield from _affine(values, v)


def _first(values: Vector, v: Variable) -> tuple[int, int]:
    both = zip(values, v.values, strict=True)
    return next(((y, x) for y, x in both if y is not ANY and x is not ANY), (0, 0))


def _holds(values: Vector, v: Variable, function: Callable[[int], int]) -> bool:
    return agree(values, tuple(x if x is ANY else function(x) for x in v.values))


def _multiple(values: Vector, v: Variable) -> Iterator[Fitted]:
    y, x = _first(values, v)
    k = y // x if x else 0
    if 2 <= k <= MAX_FACTOR and _holds(values, v, lambda x: k * x):
        yield Fitted(f"{k} * {v.name}", (v.name,))


def _fraction(values: Vector, v: Variable) -> Iterator[Fitted]:
    y, x = _first(values, v)
    for k in DIVISORS:
        if x // k == y and _holds(values, v, lambda x, k=k: x // k):  # type: ignore[misc]
            yield Fitted(f"{v.name} // {k}", (v.name,))
    for a in (3, 5, 7):
        for k in (2, 4, 8):
            if a * x // k == y and _holds(values, v, lambda x, a=a, k=k: a * x // k):  # type: ignore[misc]
                yield Fitted(f"{a} * {v.name} // {k}", (v.name,))


def _offset(values: Vector, v: Variable) -> Iterator[Fitted]:
    y, x = _first(values, v)
    c = y - x
    if _evidence(values) and 0 < abs(c) <= MAX_OFFSET and _holds(values, v, lambda x: x + c):
        yield Fitted(f"{v.name} {'+' if c > 0 else '-'} {abs(c)}", (v.name,))


def _pairs(values: Vector, variables: Sequence[Variable]) -> Iterator[Fitted]:
    for i, a in enumerate(variables):
        for b in variables[i + 1 :]:
            both = list(zip(a.values, b.values, strict=True))
            if any(x is ANY or y is ANY for x, y in both):
                continue
            if agree(values, tuple(x + y for x, y in both)):
                yield Fitted(f"{a.name} + {b.name}", (a.name, b.name))
            if _evidence(values) and agree(values, tuple(x * y for x, y in both)):
                yield Fitted(f"{a.name} * {b.name}", (a.name, b.name))


def _affine(values: Vector, v: Variable) -> Iterator[Fitted]:
    both = zip(values, v.values, strict=True)
    points = {x: y for y, x in both if y is not ANY and x is not ANY}
    if len(points) < 3:
        return
    (x0, y0), (x1, y1) = list(points.items())[:2]
    k, rest = divmod(y1 - y0, x1 - x0)
    c = y0 - k * x0
    if rest == 0 and 1 <= k <= MAX_FACTOR and c and _holds(values, v, lambda x: k * x + c):
        term = v.name if k == 1 else f"{k} * {v.name}"
        yield Fitted(f"{term} {'+' if c > 0 else '-'} {abs(c)}", (v.name,))


def _evidence(values: Vector) -> bool:
    """Enough different values that agreement is no accident."""
    return len(set(known(values))) >= 3
