"""`forward`: the statements, and the names of the values between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from segc.code import SizeOf, X
from segc.emit.construct import Printer, expression
from segc.emit.layout import Bracket, Doc, Tagged, call, flat, statement
from segc.emit.structure import Part, short_name, value_name
from segc.emit.text import WIDTH, free_name, literal
from segc.emit.trees import filled
from segc.emit.units import RETURN, Statement, role, statements
from segc.emit.wiring import Unit, Wiring
from segc.ir import Ref

RUNNING = ("x", "out", "y", "z")  # names of a value that only the next line reads
Comment = Callable[[Ref], str | None]


@dataclass
class Line:
    """A statement with its place and the values that later lines read from it."""

    number: int
    statement: Statement
    names: dict[Ref, str] = field(default_factory=dict)


class Forward:
    """Writes the body of one class's `forward`."""

    def __init__(
        self, printer: Printer, comment: Comment, outputs: Mapping[str, Ref] | None = None,
        phases: Mapping[str, str] | None = None, instrument: bool = False,
    ) -> None:  # fmt: skip
        self.printer, self.plan, self.wiring = printer, printer.plan, printer.wiring
        self.comment, self.outputs, self.phases = comment, outputs, phases or {}
        self.instrument = instrument
        self.names: dict[Ref, str] = {
            Ref(f"@{n}"): name for n, name in enumerate(self.plan.arg_names)
        }
        self.sizes: dict[Ref, str] = {}
        units = self.wiring.units
        main = tuple(u for u in units if u.only is None)
        late = tuple(u for u in units if u.only is not None)
        self.returned = self._returned(None)
        every = (*self.returned, *self._returned("train"))
        both = statements(main, (*every, *_outside(late)), self.wiring)
        extra = statements(late, self._returned("train"), self.wiring)
        self.main = [Line(n, s) for n, s in enumerate(both)]
        self.late = [Line(n, s) for n, s in enumerate(extra, len(both))]
        self.uses = self._uses()

    def _returned(self, phase: str | None) -> tuple[Ref, ...]:
        """The values returned always, or in training only."""
        if self.outputs is None:
            return self.wiring.returns if phase is None else ()
        refs = zip(self.outputs, self.wiring.returns, strict=True)
        return tuple(r for name, r in refs if self.phases.get(name) == phase)

    # --- who reads what -------------------------------------------------------------------
    def _uses(self) -> dict[Ref, list[tuple[int, bool]]]:
        """For every value the (statement, only its size?) of its readers."""
        found: dict[Ref, list[tuple[int, bool]]] = {}
        for line in (*self.main, *self.late):
            for ref, size in line.statement.reads():
                found.setdefault(ref, []).append((line.number, size))
        end = len(self.main) + len(self.late)
        for ref in (*self.returned, *self._returned("train")):
            found.setdefault(ref, []).append((end, False))
        return found

    def _last(self, ref: Ref) -> int:
        """The last statement that needs the name of a value."""
        return max((n for n, size in self._named_uses(ref)), default=-1)

    def _named_uses(self, ref: Ref) -> list[tuple[int, bool]]:
        """Readers of the value itself; those of a size taken early do not count."""
        uses = self.uses.get(ref, [])
        return [u for u in uses if not u[1]] if ref in self.sizes else uses

    # --- names ----------------------------------------------------------------------------
    def _name_all(self) -> None:
        for line in (*self.main, *self.late):
            for ref in line.statement.unit.makes:
                if self.uses.get(ref):
                    self._take_size(ref, line)
            for ref in line.statement.unit.makes:
                if self.uses.get(ref):
                    line.names[ref] = self.names[ref] = self._name(ref, line)

    def _take_size(self, ref: Ref, line: Line) -> None:
        """Remember a size that is read after the value itself is no longer needed."""
        data = [n for n, size in self.uses[ref] if not size]
        sizes = [n for n, size in self.uses[ref] if size]
        if sizes and max(sizes) > max([*data, line.number + 1]):
            name = self._own(ref)
            digits = self._reader_digits(ref)
            wanted = f"size{digits}" if digits else f"{name}_size"
            taken = self._taken()
            self.sizes[ref] = free_name(f"{name}_size" if wanted in taken else wanted, taken)

    def _reader_digits(self, ref: Ref) -> str:
        """The number in the name of the first layer that reads a value: `1` for pool1."""
        for line in (*self.main, *self.late):
            for part in (s.unit.part for s in line.statement.every() if ref in s.unit.reads):
                return part.name[len(part.name.rstrip("0123456789")) :]
        return ""

    def _taken(self) -> set[str]:
        return {*self.names.values(), *self.sizes.values(), *RUNNING, *self.plan.arg_names}

    def _name(self, ref: Ref, line: Line) -> str:
        readers = {n for n, _ in self._named_uses(ref)}
        alone = sum(1 for r in line.statement.unit.makes if self.uses.get(r)) == 1
        first = ref == line.statement.unit.makes[0]
        if readers <= {line.number + 1} and (alone or first) and not self._joined(ref):
            live = {name for r, name in self.names.items() if self._last(r) > line.number}
            for name in RUNNING:
                if name not in live:
                    return name
        return free_name(self._own(ref), self._taken())

    def _joined(self, ref: Ref) -> bool:
        """One of three or more branches that are joined: each keeps the name of its layer."""
        lines = [n for n, _ in self.uses[ref]]
        reader = next((x for x in (*self.main, *self.late) if x.number in lines), None)
        if reader is None:
            return False
        joins = [s.unit for s in reader.statement.every() if ref in s.unit.reads]
        return any(role(u, self.wiring) == "merge" and len(set(u.reads)) > 2 for u in joins)

    def _own(self, ref: Ref) -> str:
        """The name of the layer that makes a value, as short as is clear."""
        part = self.wiring.parts[ref.node]
        for box in self.wiring.boxes.values():
            if self.wiring.output(box) == ref:
                return short_name(box.rel)
        if ref.port.startswith("#"):
            inner = self.wiring.inner(part).first
            inside = value_name(inner, inner.returns[int(ref.port[1:])])
            return inside or short_name(part.rel)
        name = short_name(ref.node)
        if ref.port in ("out", "!"):
            return name
        stem = name.rstrip("0123456789")
        return f"{ref.port}{name[len(stem) :]}"

    # --- expressions ----------------------------------------------------------------------
    def value(self, ref: Ref) -> str:
        return self.names[ref]

    def doc(self, line: Statement) -> Doc:
        """The expression of a statement, nested units in place."""
        unit = line.unit
        operands = {r: self.doc(s) for r, s in line.nested.items()}

        def operand(x: X | SizeOf) -> Doc:
            ref = unit.reads[x.index]
            if isinstance(x, SizeOf):
                return self._size(ref, x.axis)
            return operands[ref] if ref in operands else self.value(ref)

        if unit.kind == "node":
            return self._node_doc(unit, operand)
        args = [operands[r] if r in operands else self.value(r) for r in unit.reads]
        target = self.path(self.wiring.shared(unit.part) or unit.part.rel)
        if unit.kind == "run":
            target += _index(unit)
        return self._called(unit, target, args)

    def _called(self, unit: Unit, target: str, args: list[Doc]) -> Doc:
        name = unit.part.rel
        if unit.kind == "run" and unit.stop - unit.start == 1 < len(unit.part.parts):
            name = unit.part.parts[unit.start].rel
        if self.instrument:
            return call("_call", [literal(name), target, *args])
        flag = self.printer.flag(unit.part)
        doc = call(target, args)
        if flag is None or unit.kind == "run" or self.printer.fits_one_input(unit.part):
            return doc
        return self._if(unit.part, doc, args[0])

    def _if(self, part: Part, doc: Doc, otherwise: Doc) -> Doc:
        fitted = self.plan.texts[part.rel, "flag", ()]
        return f"{flat(doc)} if {self.printer.remembered(fitted)} else {flat(otherwise)}"

    def _node_doc(self, unit: Unit, operand: Callable[[X | SizeOf], Doc]) -> Doc:
        part = unit.part
        tree = filled(self.wiring.expression(part), (), self.printer.slot(part.rel, "expr"))
        me = self.path(self.wiring.shared(part) or part.rel)
        doc = expression(tree, operand, me)
        flag = self.printer.flag(part)
        if flag is not None and not self.wiring.is_module(part):
            doc = self._if(part, doc, operand(X(0)))
        if not self.instrument:
            return doc
        ports = [literal(p) for p in part.key.ports[1:]]
        return call("_tap", [literal(part.rel), doc, *ports])

    def _size(self, ref: Ref, axis: int | None) -> str:
        if ref in self.sizes:
            name = self.sizes[ref]
            return name if axis is None else f"{name}[{axis if axis < 0 else axis - 4}]"
        value = self.value(ref)
        return f"{value}.shape[-2:]" if axis is None else f"{value}.shape[{axis}]"

    def path(self, rel: str) -> str:
        return member_path(self.wiring, rel, "self")

    # --- lines ----------------------------------------------------------------------------
    def lines(self) -> Iterator[str]:
        """The body of `forward`."""
        self._name_all()
        main = list(self.main)
        last = self._returned_directly(main)
        if last is not None:
            main.pop()
        self.shown: str | None = None
        for line in main:
            yield from self._line(line, 8)
        if self.outputs is not None and (len(self.outputs) > 1 or self.phases):
            yield from self._return_dict()
        elif last is not None:
            yield from self._commented("return ", self.doc(last.statement), 8, self.returned[0])
        elif self.returned:
            names = ", ".join(self.value(r) for r in self.returned)
            yield f"        return {names}"

    def _returned_directly(self, lines: list[Line]) -> Line | None:
        """The last line if its value is all that is returned."""
        if not lines or lines[-1].statement.unit.kind == "loop":
            return None
        if self.late or len(self.returned) != 1 or len(self.outputs or ()) > 1:
            return None
        last = lines[-1]
        made = [r for r in last.statement.unit.makes if self.uses.get(r)]
        if len(last.statement.unit.makes) > 1 or made != [self.returned[0]]:
            return None
        return last if len(self.uses[made[0]]) == 1 else None

    def _line(self, line: Line, indent: int) -> Iterator[str]:
        unit = line.statement.unit
        if unit.kind == "class" and not unit.makes:
            return
        if unit.kind == "loop":
            yield from self._loop(line, indent)
            return
        targets = [line.names.get(r, "_") for r in unit.makes]
        first = next((r for r in unit.makes if r in line.names), None)
        yield from self._commented(
            f"{', '.join(targets)} = ", self.doc(line.statement), indent, first
        )
        for ref in unit.makes:
            if ref in self.sizes and ref in line.names:
                pad = " " * indent
                yield f"{pad}{self.sizes[ref]} = {line.names[ref]}.shape[-2:]"

    def _loop(self, line: Line, indent: int) -> Iterator[str]:
        """`for block in self.blocks: x = block(x, skip)`."""
        unit, pad = line.statement.unit, " " * indent
        target, box = line.names[unit.makes[0]], self.path(unit.part.rel)
        given, *others = (self.value(r) for r in unit.reads)
        item = free_name("block", {*self._taken(), *others, target})
        start = unit.start
        if given != target:
            yield f"{pad}{target} = {given}"
        whole = (start, unit.stop) == (0, len(unit.part.parts))
        items = box if whole else box + _index(unit)
        if self.instrument:
            yield f"{pad}for n, {item} in enumerate({items}, {start}):"
            args = ", ".join([f'f"{unit.part.rel}.{{n}}"', item, target, *others])
            yield f"{pad}    {target} = _call({args})"
        else:
            yield f"{pad}for {item} in {items}:"
            yield f"{pad}    {target} = {item}({', '.join([target, *others])})"

    def _commented(self, before: str, doc: Doc, indent: int, ref: Ref | None) -> Iterator[str]:
        lines = statement(before, doc, indent)
        text = self.comment(ref) if ref is not None else None
        if text is not None and text != self.shown:
            if len(lines[-1]) + len(text) + 4 <= WIDTH:
                self.shown = text
                lines[-1] += f"  # {text}"
        yield from lines

    def _return_dict(self) -> Iterator[str]:
        assert self.outputs is not None
        pairs = list(zip(self.outputs, self.wiring.returns, strict=True))
        always = [(n, r) for n, r in pairs if n not in self.phases]
        items = tuple(Tagged(f"{literal(n)}: ", self.value(r)) for n, r in always)
        if not self.phases:
            yield from statement("return ", Bracket("", items, "{}"), 8)
            return
        yield from statement("outputs = ", Bracket("", items, "{}"), 8)
        yield "        if self.training:"
        for line in self.late:
            yield from self._line(line, 12)
        for name, ref in pairs:
            if name in self.phases:
                yield f"            outputs[{literal(name)}] = {self.value(ref)}"
        yield "        return outputs"


def member_path(wiring: Wiring, rel: str, owner: str) -> str:
    """A member as code reaches it from an instance of its class: `self.layer1[2].conv1`."""
    text, at = owner, ""
    for word in rel.split("."):
        box = wiring.boxes.get(at)
        at = f"{at}.{word}" if at else word
        if box is not None:
            keyed = wiring.style(box) == "nn.ModuleDict"
            text += f"[{literal(word)}]" if keyed else f"[{word}]"
        elif word.isdigit():
            return f"{owner}.get_submodule({literal(rel)})"
        else:
            text += f".{word}"
    return text


def _outside(units: tuple[Unit, ...]) -> tuple[Ref, ...]:
    """Values that units of a later phase read: they must keep a name of their own."""
    made = {r for u in units for r in u.makes}
    return tuple(r for u in units for r in u.reads if r not in made)


def _index(unit: Unit) -> str:
    """`[2]`, `[:3]` or nothing for all items of a Sequential."""
    total = len(unit.part.parts)
    if (unit.start, unit.stop) == (0, total):
        return ""
    if unit.stop - unit.start == 1:
        return f"[{unit.start}]"
    start = str(unit.start) if unit.start else ""
    return f"[{start}:{'' if unit.stop == total else unit.stop}]"


__all__ = ["Forward", "RETURN", "role"]
