"""What a class computes, in order: one unit per call, and which containers hold what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segc.code import Call, Self, X
from segc.emit.structure import Blueprint, Builder, Part, ScopeKey
from segc.emit.trees import operands, slots
from segc.emit.values import Values
from segc.ir import Ref


@dataclass(frozen=True, slots=True)
class Unit:
    """One evaluation in `forward`.

    kind: "node" (an operator's expression), "class" (a call of an inner class), "run" (the items
    `start` to `stop` of a Sequential, called as one) or "loop" (those of a list, one by one).
    """

    kind: str
    part: Part
    reads: tuple[Ref, ...]
    makes: tuple[Ref, ...]
    only: str | None = None
    start: int = 0
    stop: int = 0


class Unbox(Exception):
    """A container that instances lack, but no chain: only as a class can it be passed by."""

    def __init__(self, paths: frozenset[str]) -> None:
        super().__init__("a container has to be a class")
        self.paths = paths


class Wiring(Values):
    """The wiring of one blueprint."""

    def __init__(self, blueprint: Blueprint, builder: Builder, keep: bool = False) -> None:
        self._styles: dict[str, str] = {}
        super().__init__(blueprint, builder, keep)
        for box in self.boxes.values():
            computes = any(p.only != "checkpoint" for p in box.parts)
            if box.optional and computes and not self.pure(box):
                raise Unbox(frozenset(o.full(box.rel) for o in blueprint.occurrences))

    # --- containers -----------------------------------------------------------------------
    def style(self, box: Part) -> str:
        """The container class: nn.Sequential, nn.ModuleList or nn.ModuleDict."""
        if box.rel not in self._styles:
            self._styles[box.rel] = self._style(box)
        return self._styles[box.rel]

    def _style(self, box: Part) -> str:
        numbered = all(p.name == str(n) for n, p in enumerate(box.parts))
        if not numbered or not all(self.has_module(p, box) for p in box.parts):
            return "nn.ModuleDict"
        chain = all(self.one_input(p) for p in box.parts) and not self._parallel(box)
        return "nn.Sequential" if chain else "nn.ModuleList"

    def _parallel(self, box: Part) -> bool:
        """Branches of one value, or levels of a pyramid: no chain, whatever each could be."""
        if box.optional or len(box.parts) < 2:
            return False
        own = all(p.kind in ("class", "box") or _has_weights(p) for p in box.parts)
        if own and len({self.entry(p) for p in box.parts}) == 1:
            return True
        made = [self.canon(self._output(p)) for p in box.parts]
        entries = [self.entry(p) for p in box.parts if self._operand_counts[p.rel]]
        return own and len(entries) == len(made) and not set(made[:-1]) & set(entries[1:])

    def has_module(self, part: Part, box: Part | None = None) -> bool:
        """The part can be an item of a container, keeping the numbers of those after it."""
        shared = self.shared(part)
        if shared and not (box and shared == f"{self.shared(box)}.{part.name}"):
            return False
        if part.kind != "node":
            return True
        return any(t is not None for t in self.trees(part, "module"))

    def shared(self, part: Part) -> str:
        """Path inside the class of the member whose weights this one applies again, or ""."""
        return "" if part.kind == "absent" else str(part.key.shared)

    def one_input(self, part: Part) -> bool:
        """The part is a module that is called with one value."""
        if part.kind == "absent":
            return True
        if part.kind == "box":
            return self.style(part) == "nn.Sequential"
        if part.kind == "class":
            return len(self.inner(part).first.args) == 1
        plain = all(self._plain_call(t) for t in self.trees(part, "expr") if t is not None)
        return plain and self.operand_count(part) == 1

    def chainable(self, part: Part) -> bool:
        """The part also gives one value: it can stand in a Sequential that is called whole."""
        if part.only is not None:
            return False
        if part.kind == "box":
            return self.pure(part)
        if part.kind == "class":
            return len(self.inner(part).first.returns) == 1 and not part.optional
        return part.kind == "absent" or len(part.key.ports) == 1

    def _plain_call(self, tree: Any) -> bool:
        """The expression reads its operand once, not its size: a module can stand for it."""
        return [type(o).__name__ for o in operands(tree)] == ["X"]

    def pure(self, box: Part) -> bool:
        """A Sequential that is called as a whole."""
        whole = self.style(box) == "nn.Sequential" and len(list(self._runs(box))) == 1
        return whole and all(self.chainable(p) for p in box.parts)

    def entry(self, part: Part) -> Ref:
        """The value a chainable part reads first."""
        return self.wire(part.rel, 0)

    def _runs(self, box: Part) -> Iterator[tuple[int, int]]:
        """Stretches of a Sequential inside which no value is read by anyone else."""
        start = 0
        for n in range(1, len(box.parts)):
            made = self.canon(self._output(box.parts[n - 1]))
            reader = box.parts[n]
            before = box.parts[n - 1]
            follows = self.entry(reader) == made and reader.only == before.only
            follows = follows and self.chainable(before) and self.chainable(reader)
            alone = self.reads[made] == self._reads_inside(reader, made) or self.vanished(reader)
            if not (follows and alone) and not self._passes(before, reader):
                yield start, n
                start = n
        yield start, len(box.parts)

    def _passes(self, before: Part, after: Part) -> bool:
        """`before` does nothing, and nothing but `after` reads its operand."""
        return (
            self.vanished(before)
            and self.entry(after) == self.entry(before)
            and (self.reads[self.entry(before)] <= self._reads_inside(after, self.entry(before)))
        )

    def _reads_inside(self, part: Part, value: Ref) -> int:
        """How often a part of a container reads a value, one inside another included."""
        if part.kind == "box":
            return sum(self._reads_inside(p, value) for p in part.parts)
        if part.kind == "absent" or self.vanished(part):
            return 0
        return self.operands(part).count(value)

    # --- units ----------------------------------------------------------------------------
    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return tuple(self._looped(list(self._units(self.blueprint.parts, None))))

    def _looped(self, units: list[Unit]) -> Iterator[Unit]:
        """Calls of neighbours in a list, each fed by the one before, as one unit."""
        counts = Counter(r for u in units for r in u.reads) + Counter(self.returns)
        k = 0
        while k < len(units):
            stop = k + 1
            while stop < len(units) and self._continues(units[stop - 1], units[stop], counts):
                stop += 1
            yield self._loop(units[k:stop]) if stop - k > 1 else units[k]
            k = stop

    def _continues(self, before: Unit, after: Unit, counts: Counter[Ref]) -> bool:
        box = self.boxes.get(before.part.rel.rpartition(".")[0])
        if box is None or before.kind != "class" or after.kind != "class":
            return False
        if self.style(box) != "nn.ModuleList" or self.shared(after.part) or after.part.optional:
            return False
        n = box.parts.index(before.part) + 1
        follows = n < len(box.parts) and box.parts[n] is after.part and before.only == after.only
        chain = len(before.makes) == len(after.makes) == 1 and after.reads[:1] == before.makes
        rest = before.reads[1:] == after.reads[1:] and before.makes[0] not in after.reads[1:]
        return follows and chain and rest and counts[before.makes[0]] == 1

    def _loop(self, units: list[Unit]) -> Unit:
        first, last = units[0], units[-1]
        box = self.boxes[first.part.rel.rpartition(".")[0]]
        start = box.parts.index(first.part)
        return Unit("loop", box, first.reads, last.makes, first.only, start, start + len(units))

    def _units(self, parts: Iterable[Part], only: str | None) -> Iterator[Unit]:
        for part in parts:
            phase = part.only or only
            if phase == "checkpoint":
                continue  # it has weights, and computes nothing
            if part.kind == "box":
                yield from self._box_units(part, phase)
            elif part.kind == "class":
                inner = self.inner(part)
                makes = tuple(Ref(part.rel, f"#{k}") for k in range(len(inner.first.returns)))
                yield Unit("class", part, self.operands(part), makes, phase)
            elif part.kind == "node" and not self.vanished(part):
                makes = tuple(Ref(part.rel, p) for p in part.key.ports)
                yield Unit("node", part, self.operands(part), makes, phase)

    def _box_units(self, box: Part, only: str | None) -> Iterator[Unit]:
        if box.optional:
            reads = (self.entry(box),)
            yield Unit("run", box, reads, (Ref(box.rel, "!"),), only, 0, len(box.parts))
        elif self.style(box) != "nn.Sequential":
            yield from self._units(box.parts, only)
        else:
            for start, stop in self._runs(box):
                yield from self._run(box, start, stop, only)

    def _run(self, box: Part, start: int, stop: int, only: str | None) -> Iterator[Unit]:
        items = box.parts[start:stop]
        alone = items[0] if len(items) == 1 else None
        if alone is not None and (len(box.parts) > 1 or not self.chainable(alone)):
            if alone.kind == "absent" or self.vanished(alone):
                return
            if alone.kind != "node" or not self.chainable(alone):
                yield from self._units((alone,), only)
                return
        made = self.canon(self._output(items[-1]))
        if made == self.entry(items[0]):  # nothing in it changes the value
            return
        yield Unit("run", box, (self.entry(items[0]),), (made,), only, start, stop)

    def conditional(self, unit: Unit) -> bool:
        """The unit is an `a if flag else b`: nothing can stand in for what is absent."""
        part = unit.part
        if not part.optional or unit.kind == "run":
            return False
        if unit.kind == "node":
            return not self.is_module(part)
        return not self.maps_one_to_one(part)

    def maps_one_to_one(self, part: Part) -> bool:
        inner = self.inner(part).first
        return len(inner.args) == 1 and len(inner.returns) == 1

    # --- how a node is computed -----------------------------------------------------------
    @cached_property
    def in_sequential(self) -> frozenset[str]:
        """Nodes that are items of a Sequential."""
        found: set[str] = set()
        for box in self.boxes.values():
            if self.style(box) == "nn.Sequential" or box.optional:
                found.update(p.rel for p in box.parts)
        if self.sequential:
            found.update(p.rel for p in self.blueprint.parts)
        return frozenset(found)

    @cached_property
    def sequential(self) -> bool:
        """The class is a chain of numbered members: a subclass of nn.Sequential says it all."""
        blueprint = self.blueprint
        if blueprint.key[0] != "block" or len(blueprint.first.args) != 1 or not blueprint.parts:
            return False
        whole = Part("", "box", ScopeKey((), ""), parts=blueprint.parts)
        if not self.pure(whole) or self.entry(blueprint.parts[0]) != Ref("@0"):
            return False
        return self.returns == (self.output(blueprint.parts[-1]),)

    def is_module(self, part: Part) -> bool:
        """The node has a module of its own in `__init__` instead of a function in `forward`."""
        if self.shared(part):
            return False
        if part.key.stateful or part.rel in self.in_sequential:
            return True
        modules = [t for t in self.trees(part, "module") if t is not None]
        if not modules:
            return False
        if part.rel.rpartition(".")[0] in self.boxes:
            return True
        plain = all(self._plain_call(t) for t in self.trees(part, "expr") if t is not None)
        return plain and (part.optional or not self._constant(part))

    def _constant(self, part: Part) -> bool:
        """Every value in the node's expression is the same in all occurrences."""
        found = [tuple(slots(t)) for t in self.trees(part, "expr") if t is not None]
        return all(
            repr([(w, v) for w, v, _ in tree]) == repr([(w, v) for w, v, _ in found[0]])
            for tree in found
        )

    def expression(self, part: Part) -> Any:
        """The expression tree of a node, its module called if it has one."""
        if self.is_module(part) and not part.key.stateful:
            return Call(Self(), (X(0),))
        return next(t for t in self.trees(part, "expr") if t is not None)


def _has_weights(part: Part) -> bool:
    return part.kind == "node" and bool(part.key.stateful)
