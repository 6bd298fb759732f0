"""`segc fmt`: the canonical layout, comments kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segc.cli import common
from segc.cli.parser import Parser, UsageError
from segc.diag import Diagnostic, Fail
from segc.loc import Loc
from segc.source import Source


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec(many=True)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    parser.add_argument("--diff", action="store_true", help="show what would change; write nothing")
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Lay out every file; from standard input to standard output."""
    specs = common.expand(args.specs)
    status = 0
    for spec in specs:
        try:
            status = max(status, _one(spec, args))
        except Fail as fault:
            status = max(status, common.report_failure(fault, args))
    return status


def _one(spec: str, args: argparse.Namespace) -> int:
    from segc.fmt import formatted

    source = Source.open(spec)
    if source.revision is not None and not (args.check or args.diff):
        raise UsageError(f"{spec} is a version in git: fmt can --check or --diff it, not write it")
    try:
        text = formatted(source)
    except Fail as fault:
        raise common.SpecFault(
            *fault.diagnostics, exit=fault.exit, sources={source.file: source}
        ) from None
    before = _text_on_disk(spec, source)
    if args.diff:
        sys.stdout.write(_difference(source.file, before, text))
    if args.check or args.diff:
        return _checked(source, before, text, args)
    if spec == "-":
        sys.stdout.write(text)
    elif text != before:
        common.write_file(Path(spec), text.encode("utf-8"))
        common.say(f"laid out {spec}", args)
    return 0


def _text_on_disk(spec: str, source: Source) -> str:
    """The text with its line ends and byte order mark, which the layout normalises."""
    if spec == "-" or source.revision is not None:
        return source.text
    return Path(spec).read_bytes().decode("utf-8")


def _checked(source: Source, before: str, text: str, args: argparse.Namespace) -> int:
    if before == text:
        return 0
    if args.check:
        line = _first_difference(before, text)
        place = Loc(source.file, line, 1, 1)
        hint = f"run `segc fmt {source.file}`"
        fault = Diagnostic("SEG085", "not in the canonical layout", place, hint)
        common.show([fault], {source.file: source}, args)
    return 1


def _first_difference(before: str, after: str) -> int:
    pairs = zip(before.split("\n"), after.split("\n"), strict=False)
    return next((n for n, (a, b) in enumerate(pairs, 1) if a != b), 1)


def _difference(name: str, before: str, after: str) -> str:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, name
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
