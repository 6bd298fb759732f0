"""Diagnostics as text with carets, JSON, GitHub annotations and SARIF.

Whatever stands in a spec, what is printed is inert: control characters are shown as escapes, and
a stream that is not UTF-8 gets ASCII (`ascii_only`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from segc.diag import Diagnostic, Note, in_order
from segc.loc import Loc
from segc.source import Source, visible

SHOWN = 20  # diagnostics printed as text; the others are counted
TEXT_LIMIT = 60_000  # characters of all text printed
MESSAGE_LIMIT = 1_500  # characters of one message, hint or note
NOTES_SHOWN = 8

_STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "caret": "31",
    "note": "36",
    "help": "32",
    "bold": "1",
}  # colours, as the numbers of an ANSI sequence


def render(
    diagnostics: Iterable[Diagnostic],
    sources: Mapping[str, Source],
    fmt: str = "text",
    color: bool = False,
    ascii_only: bool = False,
) -> str:
    """All diagnostics, in file order, in the format "text", "json", "github" or "sarif".

    `sources` maps the file names of places to their text, for the quoted lines.
    """
    found = in_order(diagnostics)
    if fmt == "json":
        return json.dumps([as_json(d) for d in found], indent=2) + "\n"
    if fmt == "sarif":
        return json.dumps(as_sarif(found), indent=2) + "\n"
    if fmt == "github":
        return _limited([_github(d) for d in found[:SHOWN]], len(found), "::notice::")
    if fmt == "text":
        return _Text(sources, color, ascii_only).render(found)
    raise ValueError(f"unknown format {fmt!r}")


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """Such as "2 errors, 1 warning"; empty if there are none."""
    found = in_order(diagnostics)
    errors = sum(d.severity == "error" for d in found)
    counts = ((errors, "error"), (len(found) - errors, "warning"))
    return ", ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in counts if n)


def _limited(blocks: Sequence[str], total: int, prefix: str = "") -> str:
    """The blocks that fit, and the number of those left out."""
    kept: list[str] = []
    size = 0
    for block in blocks:
        size += len(block) + 1
        if kept and size > TEXT_LIMIT:
            break
        kept.append(block)
    rest = total - len(kept)
    more = [f"{prefix}and {rest:,} more"] if rest else []
    return "".join(block + "\n" for block in kept + more)


def _cut(text: str) -> str:
    return text if len(text) < MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 3] + "..."


class _Text:
    """The text format for one terminal or file."""

    def __init__(self, sources: Mapping[str, Source], color: bool, ascii_only: bool) -> None:
        self.sources = sources
        self.color = color
        self.ascii_only = ascii_only

    def render(self, found: Sequence[Diagnostic]) -> str:
        return _limited([self.block(d) for d in found[:SHOWN]], len(found))

    def block(self, d: Diagnostic) -> str:
        """One diagnostic: the message, the quoted line, notes, the way out."""
        head = f"{self.paint(d.severity, f'{d.severity} {d.code}')}: {self.bold(d.message)}"
        lines = [f"{self.place(d.loc)}{head}", *self.quoted(d.loc)]
        lines += [self.note(n) for n in d.notes[:NOTES_SHOWN]]
        if len(d.notes) > NOTES_SHOWN:
            lines.append(f"  {self.paint('note', 'note')}: and {len(d.notes) - NOTES_SHOWN:,} more")
        if d.hint:
            lines.append(f"  {self.paint('help', 'help')}: {self.show(d.hint)}")
        return "\n".join(lines)

    def note(self, note: Note) -> str:
        return f"  {self.paint('note', 'note')}: {self.place(note.loc)}{self.show(note.text)}"

    def place(self, loc: Loc | None) -> str:
        return "" if loc is None else f"{self.show(loc.file)}:{loc.line}:{loc.column}: "

    def quoted(self, loc: Loc | None) -> list[str]:
        source = self.sources.get(loc.file) if loc is not None else None
        if loc is None or source is None or not (text := source.excerpt(loc, self.ascii_only)):
            return []
        line, carets = text.split("\n")
        number = str(loc.line)
        blank = " " * len(number)
        return [f"  {number} | {line}".rstrip(), f"  {blank} | {self.paint('caret', carets)}"]

    def show(self, text: str) -> str:
        return _cut(visible(text[:MESSAGE_LIMIT], self.ascii_only))

    def bold(self, text: str) -> str:
        return self.paint("bold", self.show(text))

    def paint(self, style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color else text


def _place_json(loc: Loc | None) -> dict[str, Any]:
    if loc is None:
        return {"file": None, "line": None, "column": None, "end_column": None}
    return {
        "file": loc.file,
        "line": loc.line,
        "column": loc.column,
        "end_column": loc.end_column,
    }


def as_json(d: Diagnostic) -> dict[str, Any]:
    """The object of one diagnostic in `--json` output."""
    return {
        "code": d.code,
        "severity": d.severity,
        "message": _cut(d.message),
        "hint": _cut(d.hint) if d.hint else d.hint,
        **_place_json(d.loc),
        "notes": [{"message": _cut(n.text), **_place_json(n.loc)} for n in d.notes],
    }


def _whole(d: Diagnostic) -> str:
    """Message, notes and hint as plain lines."""
    plain = _Text({}, False, False)
    lines = [plain.show(d.message)]
    lines += [f"note: {plain.place(n.loc)}{plain.show(n.text)}" for n in d.notes[:NOTES_SHOWN]]
    if d.hint:
        lines.append(f"help: {plain.show(d.hint)}")
    return "\n".join(lines)


def _github(d: Diagnostic) -> str:
    """A workflow command: https://docs.github.com/actions/reference/workflow-commands."""
    fields = {"title": d.code}
    if d.loc is not None:
        fields = {
            "file": d.loc.file,
            "line": str(d.loc.line),
            "endLine": str(d.loc.line),
            "col": str(d.loc.column),
            "endColumn": str(d.loc.end_column),
            **fields,
        }
    given = ",".join(f"{key}={_percent(visible(value), ':,')}" for key, value in fields.items())
    return f"::{d.severity} {given}::{_percent(_whole(d))}"


def _percent(text: str, also: str = "") -> str:
    for char in "%\r\n" + also:  # "%" first, as it marks the escapes
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def as_sarif(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """A SARIF 2.1.0 log with one run; its rules are the catalogue entries of the codes found."""
    found = in_order(diagnostics)
    codes = sorted({d.code for d in found})
    driver = {
        "name": "segc",
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, codes.index(d.code)) for d in found],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return {"$schema": schema, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    from segc.catalogue import CATALOGUE  # only where it is needed: `check` starts without it

    entry = CATALOGUE.get(code)
    if entry is None:
        return {"id": code}
    return {
        "id": code,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.text},
        "help": {"text": f"{entry.text}\nRun `segc explain {code}` for an example and the fix."},
    }


def _result(d: Diagnostic, rule: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": d.severity,
        "message": {"text": _whole(d)},
    }
    if d.loc is not None:
        result["locations"] = [{"physicalLocation": _physical(d.loc)}]
    related = [
        {
            "id": number,
            "physicalLocation": _physical(n.loc),
            "message": {"text": visible(_cut(n.text))},
        }
        for number, n in enumerate(d.notes)
        if n.loc is not None
    ]
    return result | ({"relatedLocations": related} if related else {})


def _physical(loc: Loc) -> dict[str, Any]:
    uri = quote(loc.file, errors="backslashreplace")
    region = {"startLine": loc.line, "startColumn": loc.column, "endColumn": loc.end_column}
    return {
        "artifactLocation": {"uri": f"file://{uri}" if uri.startswith("/") else uri},
        "region": region,
    }
