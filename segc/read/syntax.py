"""The YAML parser's complaints, in words that help."""

from __future__ import annotations

import re
from typing import Any

import yaml

from segc.diag import Diagnostic, Note
from segc.loc import Loc
from segc.source import Source

_CLOSE = "close it, on the same line"
_SIBLINGS = "align it with its siblings"
_TEXT_BLOCK = ("a value after `|` or `>`", "start the text on the next line, or quote the value")
_START = ("a value cannot start with this character", "quote the value")
_ESCAPE = ("an escape lacks hexadecimal digits", "write `\\\\` for a backslash")
_AFTER = ("text after the end of the document", "indent it, or quote the text above")
_NOTHING = ("a value is missing here, or a bracket is not closed", "write the value, or close it")

# part of what libyaml or the pure-Python parser says -> what it means, the way out
_WORDS: dict[str, tuple[str, str]] = {
    "mapping values are not allowed": ("a second `: ` in one value", "quote the value"),
    "could not find expected ':'": ("a key without `:`", "write `key: value`, with the space"),
    "expected ',' or '}'": ("`{` is not closed, or a `,` is missing", "add `}` or `,`"),
    "expected ',' or ']'": ("`[` is not closed, or a `,` is missing", "add `]` or `,`"),
    "expected key": ("indentation that fits no key above", _SIBLINGS),
    "expected <block end>": ("indentation that fits no key above", _SIBLINGS),
    "expected '-' indicator": ("a list item without `-`", _SIBLINGS),
    "sequence entries are not allowed": (
        "a `- ` list item in the middle of a line",
        "start the list on the next line, or write [a, b]",
    ),
    "mapping keys are not allowed": ("a `? ` key in the middle of a line", "write `key: value`"),
    "unexpected end of stream": ("a quote is not closed", _CLOSE),
    "unexpected document indicator": ("a quote is not closed", _CLOSE),
    "document separator": ("a quote is not closed", _CLOSE),
    "cannot start any token": _START,
    "found character '": _START,
    "unknown escape character": (
        "an unknown `\\` escape",
        "in double quotes write `\\\\`; or use single quotes",
    ),
    "invalid Unicode character": (
        "an escape stands for no character",
        "write the character itself",
    ),
    "hexdecimal": _ESCAPE,
    "expected escape sequence": _ESCAPE,
    "document start>": _AFTER,
    "unexpected ':'": ("`:` inside a plain word", "quote the value"),
    "node content": _NOTHING,
    "comment or line break": _TEXT_BLOCK,
    "a comment or a line break": _TEXT_BLOCK,
    "chomping": _TEXT_BLOCK,
    "indentation indicator": _TEXT_BLOCK,
}


_ESCAPE_PAIR = re.compile(r"\\.")


def syntax_fault(error: yaml.YAMLError, source: Source) -> Diagnostic:
    """The diagnostic for an error of the parser: where it broke, and what was open there."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None) or ""
    loc = _loc(getattr(error, "problem_mark", None), source) or Loc(source.file, 1, 1, 1)
    quote = _open_quote(source)
    if quote is not None and quote.line < loc.line:
        note = Note(loc, "noticed here")
        return Diagnostic("SEG007", "a quote is not closed", quote, _CLOSE, (note,))
    if "nesting depth" in problem:  # newer parsers have a limit of their own
        hint = "move the inner layers into a block"
        return Diagnostic("SEG011", "nested too deep for the parser", loc, hint)
    if "directive" in problem or "directive" in context or "incompatible YAML" in problem:
        return Diagnostic("SEG010", "directives are not part of the language", loc, "delete it")
    if "tag" in problem or "tag" in context:
        hint = 'quote the value if it starts with "!"'
        return Diagnostic("SEG010", "tags (`!`) are not part of the language", loc, hint)
    if any(word in problem + context for word in ("alias", "anchor")):
        hint = "quote the value if it starts with `&` or `*`"
        message = "anchors and aliases are not part of the language"
        return Diagnostic("SEG009", message, loc, hint)
    return _not_yaml(problem, loc, _loc(getattr(error, "context_mark", None), source), source)


def _not_yaml(problem: str, loc: Loc, opener: Loc | None, source: Source) -> Diagnostic:
    """Placed where it broke, or where a bracket or quote opened if that was on an earlier line."""
    message, hint = _words(problem)
    if "expected key" in problem and source.lines[loc.line - 1].startswith(":", loc.column - 1):
        message, hint = "no key before `:`", "write `key: value`"
    if "not closed" in message and source.lines[loc.line - 1].startswith("[", loc.column - 1):
        message, hint = "a `[` in the middle of a value", 'quote the expression: "rates[i]"'
    if opener is None or opener == loc:
        return Diagnostic("SEG007", message, loc, hint)
    if "not closed" in message and opener.line < loc.line:
        return Diagnostic("SEG007", message, opener, hint, (Note(loc, "noticed here"),))
    return Diagnostic("SEG007", message, loc, hint, (Note(opener, "it began here"),))


def _words(problem: str) -> tuple[str, str]:
    for part, words in _WORDS.items():
        if part in problem:
            return words
    return f"not YAML: {problem}", "quote the value if it is text"


def _open_quote(source: Source) -> Loc | None:
    """The quote that turned inside and outside around for the rest of the file, if one did.

    A double quote left open ends at the next one, so the parser stumbles far below. Text over
    several lines has an even number of lines with an odd number of quotes; otherwise the first
    of these lines is to blame.
    """
    bare = (_ESCAPE_PAIR.sub("..", line) for line in source.lines)
    odd = [
        (number, line)
        for number, line in enumerate(bare, 1)
        if line.count('"') % 2 and not line.lstrip().startswith("#")
    ]
    if len(odd) % 2 == 0:
        return None
    number, line = odd[0]
    column = line.rindex('"') + 1
    return Loc(source.file, number, column, column + 1)


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
