"""Small pieces of Python source, laid out as `ruff format` would at 100 columns.

Only text made here may be printed by the templates: see `Code`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 100


class Code(str):
    """Source text made by segc itself, or an escaped literal: the only thing templates print."""

    __slots__ = ()


def lit(value: Any) -> Code:
    """A plain value as an ASCII literal, text in double quotes."""
    if not isinstance(value, str):
        return Code(ascii(value))
    inner = ascii(value)
    if inner[0] == "'" and '"' not in inner:
        inner = f'"{inner[1:-1]}"'
    return Code(inner)


def number(value: float) -> str:
    """1e-4 as 0.0001, 10000 as it is, 1e-10 as 1e-10."""
    text = repr(value)
    if "e" in text:
        digits, exponent = text.split("e")
        return f"{digits}e{int(exponent)}"
    return text


def prose(text: str, limit: int = 1000) -> Code:
    """Free text of a spec inside a docstring: printable ASCII that cannot end it, in lines."""
    safe = text.translate({ord("\\"): "/", ord('"'): "'"})
    shown = (c if " " <= c <= "~" else " " if c.isspace() else "?" for c in safe)
    flat = " ".join("".join(shown).split())
    if len(flat) > limit:
        flat = flat[: limit - 3].rstrip() + "..."
    return Code(textwrap.fill(flat, WIDTH))


def call(head: str, arguments: Sequence[str], indent: int = 4) -> str:
    """`head(arguments)` on one line, or broken the way the formatter breaks it."""
    space = " " * indent
    line = f"{space}{head}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    inner = f"{space}    {', '.join(arguments)}"
    if len(inner) <= WIDTH:
        return f"{space}{head}(\n{inner}\n{space})"
    rows = "".join(f"{space}    {a},\n" for a in arguments)
    return f"{space}{head}(\n{rows}{space})"


def joined(keyword: str, terms: Sequence[str], operator: str, indent: int = 4) -> str:
    """`return a + b` on one line, or one term a line in parentheses."""
    space = " " * indent
    line = f"{space}{keyword} {operator.join(terms)}"
    if len(line) <= WIDTH:
        return line
    lead = operator.strip()
    rows = [f"{space}    {terms[0]}", *(f"{space}    {lead} {term}" for term in terms[1:])]
    return "\n".join([f"{space}{keyword} (", *rows, f"{space})"])


def block(name: str, items: Sequence[str], comment: str = "") -> str:
    """`NAME = (a, b, c)`, or one item a line."""
    note = f"  # {comment}" if comment else ""
    tail = "," if len(items) == 1 else ""
    line = f"{name} = ({', '.join(items)}{tail})"
    if len(line + note) <= WIDTH:
        return line + note
    rows = "".join(f"    {item},\n" for item in items)
    return f"{name} = ({note}\n{rows})"


def import_line(module: str, names: Iterable[str]) -> Code:
    """`from module import a, b`, or one name a line."""
    ordered = sorted(names, key=_import_key)
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return Code(line)
    return Code(f"from {module} import (\n" + "".join(f"    {n},\n" for n in ordered) + ")")


def _import_key(name: str) -> tuple[int, str]:
    """Constants, classes, functions: the order ruff sorts imported names in."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
