"""The values of one class: what its layers read and make, by one name each.

Values are named by `Ref`s inside the class: `Ref("conv1")` a layer's, `Ref("@0")` an argument,
`Ref("enc", "#1")` the second value an inner class returns, `Ref("layer1", "!")` the output of a
container that may be absent.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

from segc.emit.structure import Blueprint, Builder, Occurrence, Part
from segc.ir import Node, Ref

CHANGING = ("merge", "shape", "region")  # families whose layers may change the channel count


class Values:
    """The values of one blueprint, after its inner classes are known."""

    def __init__(self, blueprint: Blueprint, builder: Builder, keep: bool = False) -> None:
        """`keep`: layers that change nothing are computed all the same."""
        self.blueprint, self.builder, self.keep = blueprint, builder, keep
        self.parts = {p.rel: p for p in blueprint.walk()}
        self.boxes = {p.rel: p for p in self.parts.values() if p.kind == "box"}
        self.alias: dict[Ref, Ref] = {}
        self._trees: dict[tuple[str, str], list[Any]] = {}
        for part in self.parts.values():
            self._aliases(part)

    # --- occurrences ----------------------------------------------------------------------
    def inner(self, part: Part) -> Blueprint:
        """The blueprint of a class part."""
        number: int = part.key.inside
        return self.builder.blueprints[number]

    def inner_at(self, part: Part, owner: Occurrence) -> Occurrence | None:
        """The occurrence of a class part in one occurrence of this class."""
        return self.builder.at.get((owner.view.number, owner.full(part.rel)))

    def trees(self, part: Part, what: str) -> list[Any]:
        """`module` or `expr` trees of a node in every occurrence; None where it is absent."""
        if (part.rel, what) not in self._trees:
            owners = self.blueprint.occurrences
            self._trees[part.rel, what] = [_tree(o, o.node(part.rel), what) for o in owners]
        return self._trees[part.rel, what]

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

    @cached_property
    def box_outputs(self) -> dict[Ref, str]:
        """The containers by the values their names stand for, outer ones last."""
        inner_first = sorted(self.boxes.values(), key=lambda b: -b.rel.count("."))
        return {self.output(b): b.rel for b in inner_first if b.parts}

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


def _tree(owner: Occurrence, node: Node | None, what: str) -> Any:
    if node is None or node.absent:
        return None
    code = owner.view.code(node)
    return code.module if what == "module" else code.expr
