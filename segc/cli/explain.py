"""`segc explain`: the manual page of an op, a transform, a diagnostic code, a topic."""

from __future__ import annotations

import argparse

from segc.cli import common
from segc.cli.parser import Parser, UsageError
from segc.diag import did_you_mean


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "things", metavar="THING", nargs="*", help="e.g. conv2d, SEG203, sizes; none: list them"
    )
    parser.output()
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Print the pages asked for, or the list of all."""
    from segc import manual

    if not args.things:
        common.deliver(manual.contents(), args)
        return 0
    pages = []
    for thing in args.things:
        page = manual.page(thing)
        if page is None:
            hint = did_you_mean(thing, manual.names()) or "`segc explain` lists what there is"
            raise UsageError(f"nothing is known of `{thing[:80]}`; {hint}")
        pages.append(page)
    common.deliver("\n".join(pages), args)
    return 0
