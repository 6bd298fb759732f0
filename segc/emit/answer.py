"""The end of the network's `forward`: a dict of its outputs, or one for each phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from segc.emit.layout import Bracket, Tagged, statement
from segc.emit.text import literal
from segc.emit.units import Statement
from segc.ir import Ref

if TYPE_CHECKING:
    from segc.emit.forward import Forward


@dataclass
class Line:
    """A statement with its place and the values that later lines read from it."""

    number: int
    statement: Statement
    names: dict[Ref, str] = field(default_factory=dict)


Group = tuple[str | None, list[Line]]  # lines of both phases (None) or of one


class Answer:
    """Writes the last part of `forward` of a network with several outputs."""

    def __init__(self, forward: Forward, groups: Sequence[Group]) -> None:
        assert forward.outputs is not None
        self.forward, self.groups = forward, list(groups)
        self.phases = forward.phases
        self.pairs = list(zip(forward.outputs, forward.wiring.returns, strict=True))

    def lines(self) -> Iterator[str]:
        if "test" in self.phases.values() or any(only == "test" for only, _ in self.groups):
            yield from self._by_phase()
            return
        late = self.groups.pop()[1] if self.groups and self.groups[-1][0] == "train" else []
        yield from self.forward.segments(self.groups)
        always = self._items(None)
        if len(always) == len(self.pairs):
            yield from statement("return ", Bracket("", always, "{}"), 8)
            return
        yield from statement("outputs = ", Bracket("", always, "{}"), 8)
        yield "        if self.training:"
        yield from self._added(late)
        yield "        return outputs"

    def _items(self, phase: str | None) -> tuple[Tagged, ...]:
        """`"name": value` of the outputs of one phase, None for those of both."""
        pairs = ((n, r) for n, r in self.pairs if self.phases.get(n) == phase)
        return tuple(Tagged(f"{literal(n)}: ", self.forward.value(r)) for n, r in pairs)

    def _added(self, late: list[Line]) -> Iterator[str]:
        """Outputs that training adds, made where they are stored if nothing else reads them."""
        forward = self.forward
        given = {r: n for n, r in self.pairs if n in self.phases}
        for line in late:
            unit = line.statement.unit
            ref = unit.makes[0]
            alone = len(unit.makes) == len(forward.uses.get(ref, ())) == 1 and unit.kind != "loop"
            if ref in given and alone:
                target = f"outputs[{literal(given.pop(ref))}] = "
                yield from forward.commented(target, forward.doc(line.statement), 12, ref)
            else:
                yield from forward.line(line, 12)
        for ref, name in given.items():
            yield f"            outputs[{literal(name)}] = {forward.value(ref)}"

    def _by_phase(self) -> Iterator[str]:
        """Each phase returns at the end of its own lines."""
        last: dict[str, list[Line]] = {"train": [], "test": []}
        while self.groups and self.groups[-1][0] is not None:
            only, lines = self.groups.pop()
            last[str(only)] = [*lines, *last[str(only)]]
        yield from self.forward.segments(self.groups)
        always = self._items(None)
        yield "        if self.training:"
        yield from self._returned(last["train"], (*always, *self._items("train")), 12)
        yield from self._returned(last["test"], (*always, *self._items("test")), 8)

    def _returned(self, lines: list[Line], items: tuple[Tagged, ...], indent: int) -> Iterator[str]:
        for line in lines:
            yield from self.forward.line(line, indent)
        yield from statement("return ", Bracket("", items, "{}"), indent)
