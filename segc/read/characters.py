"""Characters a spec may not hold: what is seen must be what is read."""

from __future__ import annotations

import re
import unicodedata

from segc.diag import Report
from segc.loc import Loc
from segc.read.tree import Limits
from segc.source import Source

# Controls, invisible characters, direction changes, line breaks only some readers know,
# interlinear marks, tags, variation fillers, noncharacters, lone surrogates.
_HIDDEN = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001fffe\U0001ffff\U0002fffe-\U0002ffff"
    "\U000e0000-\U0010ffff\ud800-\udfff"
)
_IN_VALUE = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
_IN_FILE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_HIDDEN}]|\r(?!\n)")


def hidden_in(value: str) -> str | None:
    """The first character of an unescaped value that may not be there."""
    if value.isascii() and value.isprintable():
        return None
    found = _IN_VALUE.search(value)
    return found[0] if found else None


def described(char: str) -> str:
    """The message for one character: `character U+202E (right-to-left override) …`."""
    name = unicodedata.name(char, "a control character").lower()
    return f"character U+{ord(char):04X} ({name}) is not allowed"


def check(source: Source, report: Report, limits: Limits) -> bool:
    """Report tabs and hidden characters; whether the text may be given to the YAML parser."""
    _tabs(source, report, limits)
    hint = "delete it: it is invisible, or changes how the text around it is shown"
    count = 0
    for found in _IN_FILE.finditer(source.text):
        report.error("SEG005", described(found[0]), _place(source, found.start()), hint=hint)
        count += 1
        if count >= limits.errors:
            break
    return count == 0


def _tabs(source: Source, report: Report, limits: Limits) -> None:
    """The first tab of each line: invisible too, and in indentation not YAML."""
    if "\t" not in source.text:
        return
    tabbed = [n for n, line in enumerate(source.lines, 1) if "\t" in line]
    for number in tabbed[: limits.errors]:
        column = source.lines[number - 1].index("\t") + 1
        loc = Loc(source.file, number, column, column + 1)
        report.error("SEG017", "a tab character", loc, hint="use spaces")


def _place(source: Source, index: int) -> Loc:
    start = source.text.rfind("\n", 0, index) + 1
    column = index - start + 1
    return Loc(source.file, source.text.count("\n", 0, index) + 1, column, column + 1)
