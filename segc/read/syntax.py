"""The YAML parser's complaints, in words that help."""

from __future__ import annotations

from typing import Any

import yaml

from segc.diag import Diagnostic, Note
from segc.loc import Loc
from segc.source import Source

# what the parser says (the start of it) -> what it means, the way out
_WORDS: dict[str, tuple[str, str | None]] = {
    "mapping values are not allowed": (
        "a second `: ` in one value",
        "quote the value if it contains `: `",
    ),
    "could not find expected ':'": (
        "a key without `:`",
        "write `key: value`; `:` is followed by a space",
    ),
    "did not find expected ',' or '}'": ("`{` is not closed, or a `,` is missing", None),
    "expected ',' or '}'": ("`{` is not closed, or a `,` is missing", None),
    "did not find expected ',' or ']'": ("`[` is not closed, or a `,` is missing", None),
    "expected ',' or ']'": ("`[` is not closed, or a `,` is missing", None),
    "did not find expected key": (
        "indentation that fits no key above",
        "align it with its siblings",
    ),
    "expected <block end>": ("indentation that fits no key above", "align it with its siblings"),
    "did not find expected '-' indicator": (
        "a list item without `-`",
        "align it with its siblings",
    ),
    "block sequence entries are not allowed": (
        "a `- ` list item in the middle of a line",
        "start the list on the next line, or write [a, b]",
    ),
    "sequence entries are not allowed": (
        "a `- ` list item in the middle of a line",
        "start the list on the next line, or write [a, b]",
    ),
    "mapping keys are not allowed": ("a `? ` key in the middle of a line", "write `key: value`"),
    "found unexpected end of stream": ("a quote is not closed", "close it, on the same line"),
    "found character that cannot start any token": (
        "a value cannot start with this character",
        "quote the value",
    ),
    "found character '": ("a value cannot start with this character", "quote the value"),
    "found unknown escape character": (
        "an unknown `\\` escape",
        "in double quotes write `\\\\`; or use single quotes",
    ),
    "found invalid Unicode character": ("an escape stands for no character", None),
    "did not find expected hexdecimal number": ("an escape lacks hexadecimal digits", None),
    "expected escape sequence": ("an escape lacks hexadecimal digits", None),
    "did not find expected <document start>": (
        "text after the end of the document",
        "indent it, or quote the text above",
    ),
    "expected '<document start>'": (
        "text after the end of the document",
        "indent it, or quote the text above",
    ),
    "found unexpected ':'": ("`:` inside a plain word", "quote the value"),
    "found unexpected document indicator": ("a quote is not closed", "close it, on the same line"),
}


def syntax_fault(error: yaml.YAMLError, source: Source) -> Diagnostic:
    """The diagnostic for an error of the parser: where it broke, and what was open there."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None) or ""
    loc = _loc(getattr(error, "problem_mark", None), source) or Loc(source.file, 1, 1, 1)
    if "directive" in problem or "directive" in context or "incompatible YAML" in problem:
        return Diagnostic("SEG010", "directives are not part of the language", loc, "delete it")
    if "tag" in problem or "tag" in context:
        hint = 'quote the value if it starts with "!"'
        return Diagnostic("SEG010", "tags (`!`) are not part of the language", loc, hint)
    if any(word in problem + context for word in ("alias", "anchor")):
        hint = "quote the value if it starts with `&` or `*`"
        message = "anchors and aliases are not part of the language"
        return Diagnostic("SEG009", message, loc, hint)
    message, hint = _words(problem)
    opener = _loc(getattr(error, "context_mark", None), source)
    notes = (Note(opener, "it began here"),) if opener and opener != loc else ()
    return Diagnostic("SEG007", message, loc, hint, notes)


def _words(problem: str) -> tuple[str, str | None]:
    for said, words in _WORDS.items():
        if problem.startswith(said):
            return words
    return f"not YAML: {problem}", None


def _loc(mark: Any, source: Source) -> Loc | None:
    """A mark as a place; at the end of the file, the last line that has text."""
    if mark is None:
        return None
    line, column = mark.line, mark.column
    lines = source.lines
    if line >= len(lines) or (line == len(lines) - 1 and not lines[line]):
        line = next((n for n in range(len(lines) - 1, -1, -1) if lines[n].strip()), 0)
        column = len(lines[line])
    return Loc(source.file, line + 1, column + 1, column + 2)
