"""What a class computes, in order: one unit per call, operands resolved to values of the class.

Values are named by `Ref`s inside the class: `Ref("conv1")` a layer's, `Ref("@0")` an argument,
`Ref("enc", "#1")` the second value an inner class returns, `Ref("layer1", "!")` the output of a
container that may be absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segc.code import Self
from segc.emit.structure import Blueprint, Builder, Occurrence, Part
from segc.emit.trees import operands, slots
from segc.ir import Node, Ref


CHANGING = ("merge", "shape", "region")  # families whose layers may change the channel count


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


class Wiring:
    """The wiring of one blueprint, after its inner classes are known."""

    def __init__(self, blueprint: Blueprint, builder: Builder, keep: bool = False) -> None:
        """`keep`: layers that change nothing are computed all the same."""
        self.blueprint, self.builder, self.keep = blueprint, builder, keep
        self.parts = {p.rel: p for p in blueprint.walk()}
        self.boxes = {p.rel: p for p in self.parts.values() if p.kind == "box"}
        self.alias: dict[Ref, Ref] = {}
        for part in self.parts.values():
            self._aliases(part)

    # --- occurrences ----------------------------------------------------------------------
    def inner(self, part: Part) -> Blueprint:
        """The blueprint of a class part."""
        return self.builder.blueprints[part.key.inside]

    def inner_at(self, part: Part, owner: Occurrence) -> Occurrence | None:
        """The occurrence of a class part in one occurrence of this class."""
        return self.builder.at.get((owner.view.number, owner.full(part.rel)))

    def trees(self, part: Part, what: str) -> list[Any]:
        """`module` or `expr` trees of a node in every occurrence; None where it is absent."""
        found = []
        for owner in self.blueprint.occurrences:
            node = owner.node(part.rel)
            if node is None or node.absent:
                found.append(None)
            else:
                found.append(getattr(node.op, what)(*owner.view.operand_types(node)))
        return found

    # --- values ---------------------------------------------------------------------------
    def _aliases(self, part: Part) -> None:
        if part.kind == "absent" or (part.kind == "node" and self._vanishes(part)):
            self.alias[Ref(part.rel)] = self.alias[Ref(part.rel, "!")] = self._wire(part.rel, 0)
        elif part.kind == "class":
            self._class_aliases(part)
        elif part.kind == "box" and part.parts:
            last = self._output(part.parts[-1])
            if part.optional:
                self.alias[last] = Ref(part.rel, "!")
            else:
                self.alias[Ref(part.rel, "!")] = last

    def _vanishes(self, part: Part) -> bool:
        """An identity in every occurrence, with a value to stand for it."""
        for owner in self.blueprint.occurrences:
            node = owner.node(part.rel)
            if node is None or node.absent:
                continue
            if self.keep or node.name not in owner.view.identities:
                return False
        return True

    def _class_aliases(self, part: Part) -> None:
        for owner in self.blueprint.occurrences:
            inner = self.inner_at(part, owner)
            if inner is None:
                continue
            cut = len(owner.path) + 1 if owner.path else 0
            for k, ref in enumerate(inner.returns):
                self.alias[Ref(ref.node[cut:], ref.port)] = Ref(part.rel, f"#{k}")
                if inner.scope is not None and ref == inner.scope.output:
                    self.alias[Ref(part.rel, "!")] = Ref(part.rel, f"#{k}")

    def _output(self, part: Part) -> Ref:
        """The value the name of a part stands for."""
        if part.kind == "node":
            return Ref(part.rel)
        return Ref(part.rel, "!")

    def output(self, part: Part) -> Ref:
        """The value the name of a part stands for, resolved."""
        return self.canon(self._output(part))

    def canon(self, ref: Ref) -> Ref:
        while ref in self.alias:
            ref = self.alias[ref]
        return ref

    def _wire(self, rel: str, n: int) -> Ref:
        """One name of an operand: one made in the class if there is one, then an argument."""
        names = self.blueprint.wires[rel, n]
        return min(names, key=lambda r: (r.port == "!", r.node.startswith("@")))

    def wire(self, rel: str, n: int) -> Ref:
        return self.canon(self._wire(rel, n))

    def operand_count(self, part: Part) -> int:
        return self._operand_counts[part.rel]

    def operands(self, part: Part) -> tuple[Ref, ...]:
        return tuple(self.wire(part.rel, n) for n in range(self.operand_count(part)))

    def keeps_channels(self, ref: Ref) -> Ref | None:
        """The operand whose channels a value has because its layer does not change them."""
        part = self.parts.get(ref.node)
        if part is None or part.kind != "node" or not self.operand_count(part):
            return None
        node = self.node(part)
        counted = "out_channels" in node.op.attrs or "out_features" in node.op.attrs
        keeps = not counted and node.op.style.family not in CHANGING
        return self.wire(part.rel, 0) if keeps else None

    def node(self, part: Part) -> Node:
        """The layer of a node part, in the first occurrence that has it."""
        found = (o.node(part.rel) for o in self.blueprint.occurrences)
        return next(n for n in found if n is not None and not n.absent)

    def is_join(self, part: Part, n: int) -> bool:
        """Operand `n` of a part is a join of several values."""
        maker = self.parts.get(self.wire(part.rel, n).node)
        return (
            maker is not None
            and maker.kind == "node"
            and (self.node(maker).op.style.family == "merge")
        )

    def has_weights(self, part: Part) -> bool:
        node = self.node(part)
        owner = next(o for o in self.blueprint.occurrences if o.node(part.rel) is node)
        return bool(node.op.parameters(*owner.view.operand_types(node)))

    @cached_property
    def _operand_counts(self) -> Counter[str]:
        return Counter(rel for rel, _ in self.blueprint.wires)

    @cached_property
    def returns(self) -> tuple[Ref, ...]:
        count = self._operand_counts[""]
        return tuple(self.wire("", n) for n in range(count))

    @cached_property
    def reads(self) -> Counter[Ref]:
        """How often each value is read by a layer, an inner class or the caller."""
        found: Counter[Ref] = Counter(self.returns)
        for part in self.parts.values():
            if part.kind in ("node", "class") and not self.vanished(part):
                found.update(self.operands(part))
        return found

    def vanished(self, part: Part) -> bool:
        return part.kind == "absent" or (part.kind == "node" and Ref(part.rel) in self.alias)

    # --- containers -----------------------------------------------------------------------
    def style(self, box: Part) -> str:
        """The container class: nn.Sequential, nn.ModuleList or nn.ModuleDict."""
        numbered = all(p.name == str(n) for n, p in enumerate(box.parts))
        if not numbered or not all(self.has_module(p) for p in box.parts):
            return "nn.ModuleDict"
        return "nn.Sequential" if all(self.chainable(p) for p in box.parts) else "nn.ModuleList"

    def has_module(self, part: Part) -> bool:
        """The part can be an item of a container, keeping the numbers of those after it."""
        if part.kind == "node":
            return not part.key.shared and any(t is not None for t in self.trees(part, "module"))
        return part.kind == "absent" or not self.shared(part)

    def shared(self, part: Part) -> str:
        """Path inside the class of the member whose weights this one applies again, or ""."""
        return "" if part.kind == "absent" else str(part.key.shared)

    def chainable(self, part: Part) -> bool:
        """The part maps one value to one value and is a module: it can stand in a Sequential."""
        if part.only is not None or not self.has_module(part):
            return False
        if part.kind == "absent":
            return True
        if part.kind == "box":
            return self.pure(part)
        if part.optional and part.kind == "class":
            return False
        if part.kind == "class":
            inner = self.inner(part)
            return len(inner.first.args) == 1 and len(inner.first.returns) == 1
        return (
            self._operand_counts[part.rel] == 1
            and all(self._plain_call(tree) for tree in self.trees(part, "expr") if tree is not None)
            and len(part.key.ports) == 1
        )

    def _plain_call(self, tree: Any) -> bool:
        """The expression reads its operand once, not its size: a module can stand for it."""
        return [type(o).__name__ for o in operands(tree)] == ["X"]

    def pure(self, box: Part) -> bool:
        """A Sequential that is called as a whole."""
        return self.style(box) == "nn.Sequential" and len(list(self._runs(box))) == 1

    def entry(self, part: Part) -> Ref:
        """The value a chainable part reads first."""
        return self.wire(part.rel, 0)

    def _runs(self, box: Part) -> Iterator[tuple[int, int]]:
        """Stretches of a Sequential inside which no value is read by anyone else."""
        start = 0
        for n in range(1, len(box.parts)):
            made = self.canon(self._output(box.parts[n - 1]))
            reader = box.parts[n]
            follows = self.entry(reader) == made and reader.only == box.parts[n - 1].only
            alone = self.reads[made] == self._reads_inside(reader, made)
            if not (follows and alone) and not self._passes(box.parts[n - 1], reader):
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
        if alone is not None and len(box.parts) > 1:
            if alone.kind == "absent" or self.vanished(alone):
                return
            if alone.kind != "node":
                yield from self._units((alone,), only)
                return
        made = self.canon(self._output(items[-1]))
        yield Unit("run", box, (self.entry(items[0]),), (made,), only, start, stop)

    # --- how a node is computed -----------------------------------------------------------
    @cached_property
    def in_sequential(self) -> frozenset[str]:
        """Nodes that are items of a Sequential."""
        found: set[str] = set()
        for box in self.boxes.values():
            if self.style(box) == "nn.Sequential" or box.optional:
                found.update(p.rel for p in box.parts)
        return frozenset(found)

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
            from segc.code import Call, X

            return Call(Self(), (X(0),))
        return next(t for t in self.trees(part, "expr") if t is not None)
