"""From units to statements: which calls nest, in which order they stand, who reads what when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from segc.code import SizeOf
from segc.emit.trees import operands
from segc.emit.wiring import Unit, Wiring
from segc.ir import Ref

NEST = 3  # calls in one line: act(norm(conv(x)))


@dataclass(eq=False)
class Statement:
    """One line of `forward`: a unit, with the units nested into it by the value they make."""

    unit: Unit
    nested: dict[Ref, Statement] = field(default_factory=dict)

    def reads(self) -> Iterator[tuple[Ref, bool]]:
        """Every (value, whether only its size is read), nested units included."""
        for ref, size in self.unit_reads:
            if ref in self.nested:
                yield from self.nested[ref].reads()
            else:
                yield ref, size

    unit_reads: tuple[tuple[Ref, bool], ...] = ()

    def every(self) -> Iterator[Statement]:
        """The statement and those nested into it."""
        yield self
        for inner in self.nested.values():
            yield from inner.every()

    @property
    def depth(self) -> int:
        """The longest chain of calls in the line."""
        return 1 + max((s.depth for s in self.nested.values()), default=0)


def in_phases(wiring: Wiring) -> tuple[Unit, ...]:
    """The units in the order of their statements.

    Layers of training come last where nothing outside it waits for a phase. A value that joins the
    phases is made twice, in each from the operand of that phase.
    """
    units: list[Unit] = []
    for unit in wiring.units:
        phases = _joined(unit, wiring)
        if not phases:
            units.append(unit)
        for phase, ref in zip(phases, unit.reads, strict=False):
            if unit.only in (None, phase):
                units.append(Unit("pick", unit.part, (ref,), unit.makes, phase))
    if any(u.only == "test" for u in units):
        return tuple(units)
    return (*(u for u in units if u.only is None), *(u for u in units if u.only is not None))


def _joined(unit: Unit, wiring: Wiring) -> tuple[str, ...]:
    """The phases of a unit's operands, if it joins values of several."""
    if unit.kind != "node":
        return ()
    op = wiring.node(unit.part).op
    found = [op.operand_phase(n) for n in range(len(unit.reads))]
    return tuple(p for p in found if p is not None)


def role(unit: Unit, wiring: Wiring) -> str:
    """What a unit is for a reader: conv norm act down merge call shape …"""
    if unit.kind in ("class", "loop", "pick"):
        return unit.kind.replace("class", "call")
    if unit.kind == "run":
        items = unit.part.parts[unit.start : unit.stop]
        if len(items) > 1 or items[0].kind != "node":
            return "call"
        part = items[0]
    else:
        part = unit.part
    node = wiring.node(part)
    family = node.op.style.family
    if node.op.name.startswith(("dropout", "alpha_dropout", "feature_dropout")):
        return "act"
    return {"dilated": "conv", "predict": "conv", "context": "conv"}.get(family, family)


def unit_reads(unit: Unit, wiring: Wiring) -> tuple[tuple[Ref, bool], ...]:
    """(value, only its size?) in the order the expression reads them."""
    if unit.kind != "node":
        return tuple((r, False) for r in unit.reads)
    tree = wiring.expression(unit.part)
    return tuple((unit.reads[o.index], isinstance(o, SizeOf)) for o in operands(tree))


def statements(
    units: tuple[Unit, ...], returned: tuple[Ref, ...], wiring: Wiring, nest: bool = True
) -> list[Statement]:
    """The lines of one phase, in order."""
    lines: list[Statement] = []
    count: dict[Ref, int] = {}
    for unit in units:
        for ref, _ in unit_reads(unit, wiring):
            count[ref] = count.get(ref, 0) + 1
    for ref in returned:
        count[ref] = count.get(ref, 0) + 1
    for unit in units:
        line = Statement(unit, unit_reads=unit_reads(unit, wiring))
        while nest and lines and _nests(lines[-1], line, count, wiring):
            inner = lines.pop()
            line.nested[_made(inner, count)] = inner
        lines.append(line)
    return lines


def _made(line: Statement, count: dict[Ref, int]) -> Ref:
    return next(ref for ref in line.unit.makes if count.get(ref))


def _nests(before: Statement, after: Statement, count: dict[Ref, int], wiring: Wiring) -> bool:
    """`before` is read by `after` alone, and the two read well as one line."""
    read = [r for r in before.unit.makes if count.get(r)]
    if len(read) != 1 or before.unit.makes[0] != read[0] or len(before.unit.makes) > 1:
        return False
    value = read[0]
    places = [k for k, (r, size) in enumerate(after.unit_reads) if r == value and not size]
    if count[value] != 1 or len(places) != 1 or before.unit.only != after.unit.only:
        return False
    if wiring.conditional(before.unit):
        return False
    first, second = role(before.unit, wiring), role(after.unit, wiring)
    if second == "pick":
        return first not in ("loop", "pick")
    if second == "merge":
        few = len(after.unit_reads) == 2 and not after.nested
        return places[0] > 0 and first == "call" and before.depth == 1 and few
    if places[0] != 0 or after.nested or before.depth >= NEST:
        return False
    if second == "norm":
        return first in ("conv", "up", "call")
    if second == "act":
        return first in ("conv", "norm", "merge", "call", "up", "act")
    return second == "call" and first == "down" and before.depth == 1
