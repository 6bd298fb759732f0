"""`segc diff`: what changed between two networks, and what follows from it."""

from __future__ import annotations

import argparse

from segc.cli import common
from segc.cli.parser import Parser, UsageError

FORMATS = ("text", "md", "json", "html", "svg", "dot")
_LATER = ("html", "svg", "dot")


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="two specs, or one and --against")
    parser.add_argument("--against", metavar="REV", help="the same file at a revision in git")
    parser.sets()
    parser.sizes()
    parser.add_argument("--format", choices=FORMATS, help="default: text")
    parser.add_argument(
        "--exit-code", action="store_true", help="1 if the networks differ, as git diff's"
    )
    parser.output()
    parser.manner()


def run(args: argparse.Namespace) -> int:
    """Print the difference."""
    from segc import diff_render
    from segc.diff import diff

    form = "json" if args.json else args.format or "text"
    if form in _LATER:
        raise UsageError(f"--format {form} is not in this version; there are text, md and json")
    titles = _pair(args)
    a, _ = common.require(titles[0], args)
    b, _ = common.require(titles[1], args)
    found = diff(a, b, common.sizes(args.inputs))
    if form == "json":
        common.write_json(diff_render.as_json(found, titles), args)
    else:
        render = diff_render.as_markdown if form == "md" else diff_render.as_text
        common.deliver(render(found, titles), args)
    return int(args.exit_code and not found.identical)


def _pair(args: argparse.Namespace) -> tuple[str, str]:
    """The two specs; with --against, the older one comes first."""
    if args.against is None:
        if len(args.specs) != 2:
            raise UsageError("diff needs two specs, or one and --against REV")
        return args.specs[0], args.specs[1]
    if len(args.specs) != 1:
        raise UsageError("--against takes one spec")
    spec = args.specs[0]
    if spec == "-" or args.against.startswith("-"):
        raise UsageError("--against needs a file and a revision, e.g. --against HEAD~1")
    return f"{args.against}:{spec}", spec
