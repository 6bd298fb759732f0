"""`forward`: the statements, and the names of the values between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from segc.code import SizeOf, X
from segc.emit.answer import Answer, Group, Line
from segc.emit.construct import Printer, expression
from segc.emit.layout import Doc, call, flat, statement
from segc.emit.structure import Part, short_name, value_name
from segc.emit.text import WIDTH, free_name, literal
from segc.emit.trees import filled
from segc.emit.units import Statement, in_phases, role, statements
from segc.emit.wiring import Unit, Wiring
from segc.ir import Ref
from segc.rows import PHASES

RUNNING = ("x", "out", "y", "z")  # names of a value that only the next line reads
Comment = Callable[[Ref], str | None]


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
        self.returns_dict = outputs is not None and (len(outputs) > 1 or bool(self.phases))
        self.returned = self._returned(None)
        units = in_phases(self.wiring)
        lasting = {r for u in units if u.only is None or u.kind == "pick" for r in u.makes}
        passing = {r for u in units for r in u.makes} - lasting
        self.maybe = (
            () if self.returns_dict else tuple(r for r in self.returned if r in passing)
        )  # returned values that are None in the other phase
        every = [r for phase in (None, *PHASES) for r in self._returned(phase)]
        found = statements(units, tuple(every), self.wiring)
        self.every = [Line(n, s) for n, s in enumerate(found)]
        self.uses = self._uses(every)

    def _returned(self, phase: str | None) -> tuple[Ref, ...]:
        """The values returned always, or in one phase only."""
        if self.outputs is None:
            return self.wiring.returns if phase is None else ()
        refs = zip(self.outputs, self.wiring.returns, strict=True)
        return tuple(r for name, r in refs if self.phases.get(name) == phase)

    # --- who reads what -------------------------------------------------------------------
    def _uses(self, returned: Sequence[Ref]) -> dict[Ref, list[tuple[int, bool]]]:
        """For every value the (statement, only its size?) of its readers."""
        found: dict[Ref, list[tuple[int, bool]]] = {}
        for line in self.every:
            for ref, size in line.statement.reads():
                found.setdefault(ref, []).append((line.number, size))
        for ref in returned:
            found.setdefault(ref, []).append((len(self.every), False))
        return found

    def _last(self, ref: Ref) -> int:
        """The last statement that needs the name of a value."""
        uses = self.uses.get(ref, [])
        return max((n for n, size in uses if not size or ref not in self.sizes), default=-1)

    # --- names ----------------------------------------------------------------------------
    def _name_all(self) -> None:
        self.active = {ref: self._last(ref) for ref in self.names}  # values that have a name
        self.by_number = {line.number: line for line in self.every}
        functions = (helper.name for helper in self.plan.blueprint.helpers())
        self.taken = {*RUNNING, *self.plan.arg_names, *functions}
        self.before: Ref | None = None  # the value of the statement before, if it kept its name
        for line in self.every:
            self._name_line(line)

    def _name_line(self, line: Line) -> None:
        made = [r for r in line.statement.unit.makes if self.uses.get(r)]
        self.active = {r: last for r, last in self.active.items() if last > line.number}
        for ref in made:
            self._take_size(ref, line)
        for ref in made:
            name = self.names.get(ref) or self._name(ref, line, made)
            line.names[ref] = self.names[ref] = name
            self.active[ref] = self._last(ref)
            self.taken.add(name)
        self.before = made[0] if len(made) == 1 and line.names[made[0]] not in RUNNING else None

    def _take_size(self, ref: Ref, line: Line) -> None:
        """Remember a size that is read after the value itself is no longer needed."""
        data = [n for n, size in self.uses[ref] if not size]
        sizes = [n for n, size in self.uses[ref] if size]
        if sizes and max(sizes) > max([*data, line.number + 1]):
            name, digits = self._own(ref), self._reader_digits(ref)
            wanted = f"size{digits}" if digits else f"{name}_size"
            again = f"{name}_size" if wanted in self.taken else wanted
            self.sizes[ref] = free_name(again, self.taken)
            self.taken.add(self.sizes[ref])

    def _reader_digits(self, ref: Ref) -> str:
        """The number in the name of the first layer that reads a value: `1` for pool1."""
        line = self.by_number.get(min(n for n, _ in self.uses[ref]))
        readers = (
            [s.unit.part for s in line.statement.every() if ref in s.unit.reads] if line else []
        )
        name = readers[0].name if readers else ""
        return name[len(name.rstrip("0123456789")) :]

    def _name(self, ref: Ref, line: Line, made: list[Ref]) -> str:
        passing = self._last(ref) <= line.number + 1 and ref == line.statement.unit.makes[0]
        shown = self._output_name(ref)
        live = {self.names[r] for r in self.active}
        if line.statement.unit.kind == "loop":  # its operands are read in every round
            live |= {self.names[r] for r in line.statement.unit.reads[1:]}
        if passing and shown is None and ref not in self.maybe and not self._joined(ref, line):
            for name in RUNNING:
                if name not in live:
                    return name
        if shown in RUNNING and shown not in live and ref not in self.maybe:
            return shown
        return free_name(shown or self._own(ref), self.taken)

    def _output_name(self, ref: Ref) -> str | None:
        """The name under which a value is returned in a dict."""
        if not self.returns_dict:
            return None
        pairs = zip(self.outputs or {}, self.wiring.returns, strict=True)
        return next((name for name, r in pairs if r == ref), None)

    def _joined(self, ref: Ref, line: Line) -> bool:
        """A branch of a join keeps its layer's name: one of three or more, or of two that are
        made side by side."""
        reader = self.by_number.get(self._last(ref))
        joins = [s.unit for s in reader.statement.every() if ref in s.unit.reads] if reader else []
        reads = {r for u in joins if role(u, self.wiring) == "merge" for r in u.reads}
        return len(reads) > 2 or (len(reads) == 2 and self.before in reads)

    def _own(self, ref: Ref) -> str:
        """The name of the layer that makes a value, as short as is clear."""
        part = self.wiring.parts[ref.node]
        if ref in self.wiring.box_outputs:
            return short_name(self.wiring.box_outputs[ref])
        if ref.port.startswith("#"):
            first = self.plan.blueprint.first
            inner = self.wiring.inner_at(part, first) or self.wiring.inner(part).first
            inside = value_name(inner, inner.returns[int(ref.port[1:])])
            return inside or short_name(part.rel)
        first = self.plan.blueprint.first
        label = first.view.graph.labels.get(Ref(first.full(ref.node), ref.port))
        if label is not None:
            return label
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
        if unit.kind == "pick":
            return self._tapped(unit, operand(X(0)))
        args = [operands[r] if r in operands else self.value(r) for r in unit.reads]
        target = self.path(self.wiring.shared(unit.part) or unit.part.rel)
        if unit.kind == "run":
            target += _index(unit)
        return self._called(unit, target, args)

    def _called(self, unit: Unit, target: str, args: list[Doc]) -> Doc:
        name = unit.part.rel
        if unit.kind == "run" and unit.stop - unit.start == 1 < len(unit.part.parts):
            name = unit.part.parts[unit.start].rel
        flag = self.printer.flag(unit.part)
        doc = call(target, args)
        if self.instrument:
            doc = call("_call", [literal(name), target, *args])
        if flag is None or not self.wiring.conditional(unit):
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
        return self._tapped(unit, doc)

    def _tapped(self, unit: Unit, doc: Doc) -> Doc:
        if not self.instrument:
            return doc
        ports = [literal(p) for p in unit.part.key.ports[1:]]
        return call("_tap", [literal(unit.part.rel), doc, *ports])

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
        lines = list(self.every)
        last = self._returned_directly(lines)
        if last is not None:
            lines.pop()
        self.shown: str | None = None
        groups = grouped(lines)
        if self.returns_dict:
            yield from Answer(self, groups).lines()
            return
        yield from self.segments(groups)
        if last is not None:
            yield from self.commented("return ", self.doc(last.statement), 8, self.returned[0])
        elif self.returned:
            names = ", ".join(self.value(r) for r in self.returned)
            yield f"        return {names}"

    def segments(self, groups: Sequence[Group]) -> Iterator[str]:
        """Statements, those of one phase under a condition."""
        n = 0
        while n < len(groups):
            only, lines = groups[n]
            other = groups[n + 1] if n + 1 < len(groups) else (None, [])
            paired = only is not None and other[0] is not None
            if only is None:
                for line in lines:
                    yield from self.line(line, 8)
            else:
                yield from self._conditional(only, lines, other[1] if paired else [])
            n += 2 if paired else 1

    def _conditional(self, only: str, lines: list[Line], others: list[Line]) -> Iterator[str]:
        """`if self.training:`, with what the other phase does instead."""
        for ref in self.maybe:
            if any(ref in line.statement.unit.makes for line in (*lines, *others)):
                yield f"        {self.value(ref)} = None"
        yield f"        if {'' if only == 'train' else 'not '}self.training:"
        for line in lines:
            yield from self.line(line, 12)
        if others:
            yield "        else:"
        for line in others:
            yield from self.line(line, 12)

    def _returned_directly(self, lines: list[Line]) -> Line | None:
        """The last line if its value is all that is returned."""
        if not lines or lines[-1].statement.unit.kind == "loop":
            return None
        last = lines[-1]
        phased = any(e.statement.unit.only is not None for e in lines)
        if phased or len(self.returned) != 1 or self.returns_dict:
            return None
        made = [r for r in last.statement.unit.makes if self.uses.get(r)]
        if len(last.statement.unit.makes) > 1 or made != [self.returned[0]]:
            return None
        return last if len(self.uses[made[0]]) == 1 else None

    def line(self, line: Line, indent: int) -> Iterator[str]:
        unit = line.statement.unit
        if unit.kind == "class" and not unit.makes:
            return
        if unit.kind == "loop":
            yield from self._loop(line, indent)
            return
        targets = [line.names.get(r, "_") for r in unit.makes]
        first = next((r for r in unit.makes if r in line.names), None)
        before, pad = ", ".join(targets), " " * indent
        if indent + len(before) > WIDTH - 20:  # as many lines as targets
            yield from (f"{pad}(", *(f"{pad}    {target}," for target in targets))
            before = ")"
        yield from self.commented(f"{before} = ", self.doc(line.statement), indent, first)
        for ref in unit.makes:
            if ref in self.sizes and ref in line.names:
                yield f"{pad}{self.sizes[ref]} = {line.names[ref]}.shape[-2:]"

    def _loop(self, line: Line, indent: int) -> Iterator[str]:
        """`for block in self.blocks: x = block(x, skip)`."""
        unit, pad = line.statement.unit, " " * indent
        target, box = line.names[unit.makes[0]], self.path(unit.part.rel)
        given, *others = (self.value(r) for r in unit.reads)
        item = free_name("block", {*self.taken, *others, target})
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

    def commented(self, before: str, doc: Doc, indent: int, ref: Ref | None) -> Iterator[str]:
        lines = statement(before, doc, indent)
        text = self.comment(ref) if ref is not None else None
        fits = text is not None and len(lines[-1]) + len(text) + 4 <= WIDTH
        if fits and text != self.shown:
            self.shown = text
            lines[-1] += f"  # {text}"
        yield from lines


def grouped(lines: Sequence[Line]) -> list[Group]:
    """Neighbours of one phase together: where no line of both stands between them, first all
    lines of training, then all of test."""
    found: list[Group] = []
    for phased, run in groupby(lines, lambda line: line.statement.unit.only is not None):
        own = list(run)
        if not phased:
            found.append((None, own))
            continue
        for phase in PHASES:
            there = [line for line in own if line.statement.unit.only == phase]
            found += [(phase, there)] if there else []
    return found


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


def _index(unit: Unit) -> str:
    """`[2]`, `[:3]` or nothing for all items of a Sequential."""
    total = len(unit.part.parts)
    if (unit.start, unit.stop) == (0, total):
        return ""
    if unit.stop - unit.start == 1:
        return f"[{unit.start}]"
    start = str(unit.start) if unit.start else ""
    return f"[{start}:{'' if unit.stop == total else unit.stop}]"
