"""Expressions laid out as `ruff format` would: on one line if it fits, else one item per line.

A broken bracket always ends with a trailing comma, which keeps it broken: so what is printed here
is a fixed point of the formatter without the formatter being needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segc.emit.text import WIDTH


@dataclass(frozen=True, slots=True)
class Bracket:
    """`head(item, item)`; `tail` follows the closing bracket; `tall` breaks it even if it fits."""

    head: Doc
    items: tuple[Doc, ...]
    pair: str = "()"
    tail: str = ""
    tall: bool = False


@dataclass(frozen=True, slots=True)
class Tagged:
    """`tag` directly in front of something: `stride=` or `*`."""

    tag: str
    doc: Doc


@dataclass(frozen=True, slots=True)
class Parts:
    """Pieces joined by a separator that breaks only all at once: `a + b`, a comprehension.

    `lead` says the separator starts the new lines (an operator) instead of a line break alone.
    """

    items: tuple[Doc, ...]
    operator: str = ""


Doc = str | Bracket | Tagged | Parts


def call(head: Doc, args: Iterable[Doc], tail: str = "") -> Bracket:
    return Bracket(head, tuple(args), "()", tail)


def flat(doc: Doc) -> str:
    """The expression on one line."""
    if isinstance(doc, str):
        return doc
    if isinstance(doc, Tagged):
        return doc.tag + flat(doc.doc)
    if isinstance(doc, Parts):
        joint = f" {doc.operator} " if doc.operator else " "
        return joint.join(flat(i) for i in doc.items)
    inner = ", ".join(flat(i) for i in doc.items)
    if doc.head == "" and doc.pair == "()" and len(doc.items) == 1:
        inner += ","
    return f"{flat(doc.head)}{doc.pair[0]}{inner}{doc.pair[1]}{doc.tail}"


def is_tall(doc: Doc) -> bool:
    if isinstance(doc, str):
        return False
    if isinstance(doc, Tagged):
        return is_tall(doc.doc)
    if isinstance(doc, Bracket):
        return doc.tall or any(is_tall(i) for i in doc.items)
    return any(is_tall(i) for i in doc.items)


def statement(before: str, doc: Doc, indent: int, after: str = "") -> list[str]:
    """Source lines of `before` + expression + `after`, the first one indented by `indent`."""
    pad = " " * indent
    line = f"{pad}{before}{flat(doc)}{after}"
    if not is_tall(doc) and len(line) <= WIDTH:
        return [line]
    return _broken(f"{pad}{before}", doc, indent, after)


def _broken(start: str, doc: Doc, indent: int, after: str) -> list[str]:
    if isinstance(doc, Tagged):
        return _broken(start + doc.tag, doc.doc, indent, after)
    if isinstance(doc, Bracket) and doc.items:
        return _bracket(start, doc, indent, after)
    if isinstance(doc, Parts) and len(doc.items) > 1 and doc.operator:
        return _parenthesised(start, doc, indent, after)
    return [f"{start}{flat(doc)}{after}"]


def _bracket(start: str, doc: Bracket, indent: int, after: str) -> list[str]:
    pad = " " * indent
    opening = f"{start}{flat(doc.head)}{doc.pair[0]}"
    inner: list[str] = []
    if len(doc.items) == 1 and isinstance(doc.items[0], Parts) and not doc.items[0].operator:
        for item in doc.items[0].items:  # a comprehension: its clauses below each other
            inner += statement("", item, indent + 4)
    elif _one_line_body(doc, indent):
        inner = [f"{pad}    {', '.join(flat(i) for i in doc.items)}"]
    elif len(doc.items) == 1 and isinstance(doc.items[0], Bracket) and doc.head:
        inner = statement("", doc.items[0], indent + 4)  # f([...]): no comma after the one item
    else:
        for item in doc.items:
            inner += statement("", item, indent + 4, ",")
    return [opening, *inner, f"{pad}{doc.pair[1]}{doc.tail}{after}"]


def _one_line_body(doc: Bracket, indent: int) -> bool:
    """All arguments of a call fit on the line below it; then the formatter puts them there."""
    if doc.pair != "()" or doc.head == "" or is_tall(doc):
        return False
    return indent + 4 + len(", ".join(flat(i) for i in doc.items)) <= WIDTH


def _parenthesised(start: str, doc: Parts, indent: int, after: str) -> list[str]:
    pad = " " * indent
    lines = [f"{start}("]
    for n, item in enumerate(doc.items):
        lines += statement(f"{doc.operator} " if n else "", item, indent + 4)
    return [*lines, f"{pad}){after}"]
