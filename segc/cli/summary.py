"""`segc summary`: the layer table of a network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from segc.cli import common
from segc.cli.parser import Parser, UsageError

if TYPE_CHECKING:
    from segc.diag import Diagnostic
    from segc.summary import Limit


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec()
    parser.sets()
    parser.sizes()
    parser.add_argument("--format", choices=("text", "md", "json", "csv"), help="default: text")
    parser.add_argument(
        "--budget",
        metavar="LIMITS",
        help="exit 1 if exceeded, e.g. 'params<40M,macs<200G'; also trainable, peak_bytes, layers",
    )
    parser.output()
    parser.manner()


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 if a budget is exceeded."""
    from segc import summary
    from segc.analyse import table

    limits = _limits(args.budget)
    sizes = common.sizes(args.inputs)
    if summary.needs_sizes(limits) and not sizes:
        raise UsageError("a budget of MACs or memory needs --input, e.g. image=1x3x512x512")
    checked, loaded = common.require(args.spec, args)
    found = table(checked, sizes or None)
    over = summary.exceeded(limits, found.totals)
    if common.wants_json(args):
        _write_json(loaded, args, over)
    else:
        form = args.format or "text"
        if form == "csv":
            common.deliver(summary.as_csv(found), args)
        else:
            render = summary.as_markdown if form == "md" else summary.as_text
            common.deliver(render(checked, found), args)
        common.show(over, {}, args)
    return int(bool(over))


def _limits(text: str | None) -> tuple[Limit, ...]:
    from segc.summary import budget

    try:
        return budget(text) if text is not None else ()
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None


def _write_json(loaded: common.Loaded, args: argparse.Namespace, over: list[Diagnostic]) -> None:
    from segc.cli import check

    result = check.Result(loaded, common.sizes(args.inputs))
    for diagnostic in over:
        loaded.report.add(diagnostic)
    common.write_json(check.as_json(result), args)
