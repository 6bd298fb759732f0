"""YAML text to a tree of values with their places.

Reads libyaml's *events* with an explicit stack and budgets. No loader, composer or constructor is
involved, so nothing in the text can run code, expand aliases or recurse. What YAML 1.1 and YAML
1.2 read differently is refused with the unambiguous spelling.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from segc.diag import Note, Report
from segc.loc import Loc
from segc.read import characters
from segc.read.scalar import (
    MERGE_HINT,
    Resolved,
    Trouble,
    resolve,
    resolve_key,
    resolve_letter,
    shorten,
)
from segc.read.syntax import syntax_fault
from segc.read.tree import STRICT, Limits, Mapping_, Scalar, Sequence_, YNode
from segc.source import Source

__all__ = ["STRICT", "Limits", "Mapping_", "Scalar", "Sequence_", "YNode", "parse"]


class PureParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """The same events without libyaml, about ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)

    def get_event(self) -> Any:
        """The next event, None at the end; raises YAMLError."""
        try:
            return super().get_event()  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError) as error:  # chr() of an escape beyond Unicode
            problem = "found invalid Unicode character"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark()) from error


try:
    from yaml._yaml import CParser as _CParser

    Parser: Any = _CParser
except ImportError:  # PyYAML built without libyaml
    Parser = PureParser


def parse(
    source: Source, report: Report, limits: Limits = STRICT, parser: Any = Parser
) -> Mapping_ | None:
    """The tree of one document, or None if its structure cannot be known.

    A fault of a single value or key is reported and the tree is still returned, with a best guess
    in its place, so that later checks can find the other faults too: look at `report.failed`.
    """
    if len(source.text) > limits.size:
        message = f"larger than {limits.size:,} characters"
        hint = "split it: shared blocks go into files named under `use`"
        report.error("SEG003", message, Loc(source.file, 1, 1, 1), hint=hint)
        return None
    if not characters.check(source, report, limits):
        return None
    collecting = gc.isenabled()
    gc.disable()  # nothing here is cyclic; collecting would make a large file quadratic
    try:
        return _Builder(source, report, limits).document(parser)
    finally:
        if collecting:
            gc.enable()


class _Stop(Exception):
    """The rest of the document cannot be read."""


@dataclass(slots=True)
class _Frame:
    """An open collection: `key` waits for its value; `seen` has the keys so far."""

    loc: Loc
    mapping: bool
    items: list[Any] = field(default_factory=list)
    key: Scalar | None = None
    seen: dict[str, Scalar] = field(default_factory=dict)


class _Builder:
    """Builds the tree of one document from events, on a stack of its own.

    The bottom frame is a list that receives the document's one value.
    """

    def __init__(self, source: Source, report: Report, limits: Limits) -> None:
        self.source = source
        self.report = report
        self.limits = limits
        self.file = source.file
        self.room = limits.values  # values that may still come
        self.longest = limits.text
        self.faults = 0
        self.broken = False
        self.top = self.frame = _Frame(Loc(source.file, 1, 1, 1), mapping=False)
        self.stack: list[_Frame] = []  # the frames around `frame`
        self.values: dict[str, Resolved] = {}
        self.keys: dict[str, Trouble | None] = {}

    def document(self, parser: Any) -> Mapping_ | None:
        """Read all events; the top mapping if there is one and nothing is broken."""
        try:
            self.read(parser(self.source.text).get_event)
        except _Stop:
            return None
        except yaml.YAMLError as error:
            self.syntax(error)
            return None
        return None if self.broken else self.mapping_on_top()

    def read(self, get: Callable[[], Any]) -> None:
        """The loop over events; three quarters of them are scalars."""
        handlers: dict[type, Callable[[Any], None]] = {
            events.MappingStartEvent: self.on_start,
            events.SequenceStartEvent: self.on_start,
            events.MappingEndEvent: self.on_end,
            events.SequenceEndEvent: self.on_end,
            events.AliasEvent: self.on_alias,
            events.DocumentStartEvent: self.on_document,
        }
        scalar, on_scalar = events.ScalarEvent, self.on_scalar
        while (event := get()) is not None:
            if type(event) is scalar:
                on_scalar(event)
            elif handler := handlers.get(type(event)):
                handler(event)

    def on_document(self, event: Any) -> None:
        """Refuse directives, and every document but the first."""
        if self.top.items:
            self.fault("SEG006", "a second document", self.start_of(event), "keep one per file")
            raise _Stop
        before = self.source.lines[: event.end_mark.line] if event.explicit else []
        for number, line in enumerate(before, 1):
            if line.startswith("%"):
                loc = Loc(self.file, number, 1, len(line) + 1)
                self.fault("SEG010", "directives are not part of the language", loc, "delete it")
                self.broken = True

    def on_scalar(self, event: Any) -> None:
        """A key or a value."""
        start, end, text, style = event.start_mark, event.end_mark, event.value, event.style
        line, stop = start.line, end.column
        if end.line != line:
            stop = len(self.source.lines[line])
        loc = Loc(self.file, line + 1, start.column + 1, stop + 1)
        if style or event.tag is not None or event.anchor is not None or len(text) > self.longest:
            self.check_scalar(event, loc)
        frame = self.frame
        if frame.mapping and frame.key is None:
            self.put_key(frame, Scalar(text, loc, text, bool(style)))
        else:
            value = text if style else self.value(text, loc)
            self.put(Scalar(value, loc, text, bool(style)))

    def check_scalar(self, event: Any, loc: Loc) -> None:
        """What is rare: properties, excessive length, escapes of hidden characters."""
        self.refuse_properties(event)
        if len(event.value) > self.longest:
            self.refuse_excess(f"a text of more than {self.longest:,} characters", loc)
        if char := characters.hidden_in(event.value):
            self.fault("SEG005", characters.described(char), loc, "write it without this character")

    def value(self, text: str, loc: Loc) -> str | int | float | bool | None:
        """What a plain value means; trouble with it is reported."""
        found = self.values.get(text)
        if found is None:
            found = self.values[text] = resolve(text)
        value, trouble = found
        if trouble is None and len(text) == 1 and self.frame.mapping:
            trouble = resolve_letter(text)
        if trouble is not None:
            self.fault(trouble.code, trouble.message, loc, trouble.hint)
        return value

    def put_key(self, frame: _Frame, key: Scalar) -> None:
        """Take a key: text, given once."""
        text = key.text
        frame.key = key
        if not key.quoted:
            if text not in self.keys:
                self.keys[text] = resolve_key(text)
            if (trouble := self.keys[text]) is not None:
                self.fault(trouble.code, trouble.message, key.loc, trouble.hint)
                self.broken = self.broken or text == "<<"
        if (earlier := frame.seen.setdefault(text, key)) is not key:
            message = f"`{shorten(text)}` is already given on line {earlier.loc.line}"
            note = Note(earlier.loc, "first given here")
            self.fault("SEG008", message, key.loc, "keep one of the two", note)
        elif len(frame.seen) > self.limits.keys:
            self.refuse_excess(f"a mapping of more than {self.limits.keys:,} keys", key.loc)

    def put(self, node: YNode) -> None:
        """Hang a finished value where it belongs."""
        self.room -= 1
        if self.room < 0:
            self.refuse_excess(f"more than {self.limits.values:,} values", node.loc)
        frame = self.frame
        key = frame.key
        if key is None:
            frame.items.append(node)
            return
        if frame.seen[key.text] is key:  # of two with the same key the first one counts
            frame.items.append((key, node))
        frame.key = None

    def on_start(self, event: Any) -> None:
        """Open a mapping or a sequence."""
        loc = self.start_of(event)
        self.refuse_properties(event)
        if len(self.stack) >= self.limits.depth:
            message = f"nested deeper than {self.limits.depth}"
            self.fault("SEG011", message, loc, "move the inner layers into a block")
            raise _Stop
        if self.frame.mapping and self.frame.key is None:
            hint = "a key is one word; quote it if it must contain brackets"
            self.fault("SEG016", "a list or mapping as a key", loc, hint)
            raise _Stop
        self.stack.append(self.frame)
        self.frame = _Frame(loc, type(event) is events.MappingStartEvent)

    def on_end(self, event: Any) -> None:
        """Close the innermost collection."""
        frame = self.frame
        self.frame = self.stack.pop()
        if not frame.mapping:
            self.put(Sequence_(tuple(frame.items), frame.loc))
            return
        loc = frame.loc
        if frame.items and frame.items[0][0].loc.line == loc.line:
            first = frame.items[0][0].loc
            loc = first if first.column == loc.column else loc
        self.put(Mapping_(tuple(frame.items), loc))

    def on_alias(self, event: Any) -> None:
        """Refuse `*name`; go on with nothing in its place."""
        loc = self.start_of(event)
        self.fault("SEG009", "aliases (`*`) are not part of the language", loc, MERGE_HINT)
        self.broken = True
        frame = self.frame
        if frame.mapping and frame.key is None:
            frame.key = frame.seen.setdefault("*", Scalar("*", loc, "*", True))
        else:
            self.put(Scalar(None, loc, "", False))

    def refuse_properties(self, event: Any) -> None:
        """Report `!tag` and `&anchor`."""
        if event.tag is None and event.anchor is None:
            return
        mark = event.start_mark
        word = self.source.lines[mark.line][mark.column :].split(" ", 1)[0]
        loc = Loc(self.file, mark.line + 1, mark.column + 1, mark.column + len(word) + 1)
        if event.anchor is not None:
            message = "anchors (`&`) are not part of the language"
            self.fault("SEG009", message, loc, MERGE_HINT)
        if event.tag is not None:
            hint = 'delete the tag; quote the value if it starts with "!"'
            self.fault("SEG010", "tags (`!`) are not part of the language", loc, hint)
        self.broken = True

    def refuse_excess(self, what: str, loc: Loc) -> None:
        """Report what is too much, and stop."""
        self.fault("SEG012", f"{what}: too much for one spec", loc, "split it, or use `repeat`")
        raise _Stop

    def fault(self, code: str, message: str, loc: Loc, hint: str, note: Note | None = None) -> None:
        """Report; stop after too many."""
        self.report.error(code, message, loc, hint=hint, notes=() if note is None else (note,))
        self.faults += 1
        if self.faults >= self.limits.errors:
            raise _Stop

    def start_of(self, event: Any) -> Loc:
        """The first character of an event."""
        mark = event.start_mark
        column = mark.column + 1
        return Loc(self.file, mark.line + 1, column, column + 1)

    def mapping_on_top(self) -> Mapping_ | None:
        """The top value, which must be a mapping."""
        top = self.top.items[0] if self.top.items else None
        if isinstance(top, Mapping_):
            return top
        if top is None or (isinstance(top, Scalar) and top.value is None and not top.quoted):
            hint = "start with `segc new NAME`, or see docs/language.md"
            self.report.error("SEG001", "the file holds no document", self.top.loc, hint=hint)
            return None
        kind = "a list" if isinstance(top, Sequence_) else "a single value"
        hint = "write `key: value` lines, starting with `segc: 1`"
        self.report.error("SEG002", f"the top level is {kind}, not a mapping", top.loc, hint=hint)
        return None

    def syntax(self, error: yaml.YAMLError) -> None:
        """Report what the parser said, unless a tab that broke it is already named."""
        if not any(d.code == "SEG017" for d in self.report.diagnostics):
            self.report.add(syntax_fault(error, self.source))
