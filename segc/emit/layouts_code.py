"""The layouts of known checkpoints as constants of checkpoints.py."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from segc.emit.pieces import WIDTH, Code, lit, prose
from segc.ir import Layout


def layouts_code(layouts: Mapping[str, Layout]) -> Code:
    """`LAYOUTS` by name, the names there and here, and `NOTES`; "" if the spec has none."""
    if not layouts:
        return Code("")
    lines = ["LAYOUTS: dict[str, dict[str, str]] = {"]
    for layout in layouts.values():
        about = prose(layout.source, 90).replace("\n", " ")
        lines += [f"    # {about}"] if about else []
        rows = [f"{lit(line.there)}: {lit(line.here)}" for line in layout.renames]
        short = f"    {lit(layout.name)}: {{{', '.join(rows)}}},"
        if len(rows) == 1 and len(short) <= WIDTH:
            lines.append(short)
            continue
        lines.append(f"    {lit(layout.name)}: {{")
        lines += [f"        {row}," for row in rows]
        lines.append("    },")
    return Code("\n".join([*lines, "}", *_notes(layouts)]))


def _notes(layouts: Mapping[str, Layout]) -> list[str]:
    """`NOTES = {...}`: what to know before loading one of them."""
    rows = []
    for layout in layouts.values():
        text = " ".join(prose(layout.notes, 600).split())
        short = f"    {lit(layout.name)}: {lit(text)},"
        if text and len(short) <= WIDTH:
            rows.append(short)
        elif text:
            pieces = [p + " " for p in textwrap.wrap(text, WIDTH - 12)]
            pieces[-1] = pieces[-1].rstrip()
            rows += [f"    {lit(layout.name)}: (", *(f"        {lit(p)}" for p in pieces), "    ),"]
    return ["NOTES = {", *rows, "}"]
