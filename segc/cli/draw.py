"""`segc draw`: the diagram of a network; the suffix of -o chooses the format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segc.cli import common
from segc.cli.parser import Parser, UsageError

LEVELS = ("system", "block", "layer")


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec()
    parser.sets()
    parser.sizes()
    parser.output("file to write: .svg .dot .pdf .png .pptx .html (default: SVG on stdout)")
    parser.add_argument("--level", choices=LEVELS, default="block", help="how much is shown")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument(
        "--expand", metavar="BLOCK", action="append", default=[], help="open a block (repeatable)"
    )
    parser.add_argument(
        "--fold", metavar="BLOCK", action="append", default=[], help="draw a block as one box"
    )
    parser.add_argument(
        "--layout", choices=("auto", "dot"), default="auto", help="dot: laid out by Graphviz"
    )
    parser.add_argument("--diff", metavar="OTHER", help="not in this version")
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Write the picture."""
    from segc.draw import FORMATS, draw

    if args.diff is not None:
        raise UsageError("--diff is not in this version; `segc diff` says what changed in words")
    form = _format(args.output, FORMATS)
    checked, _ = common.require(args.spec, args)
    drawing = draw(
        checked,
        level=args.level,
        theme=args.theme,
        expand=args.expand,
        fold=args.fold,
        sizes=common.sizes(args.inputs) or None,
        layout=args.layout,
    )
    data = drawing.data(form)
    if args.output in (None, "-"):
        sys.stdout.write(data.decode("utf-8"))
    else:
        common.write_file(Path(args.output), data)
        common.say(f"wrote {args.output}", args)
    return 0


def _format(output: str | None, known: tuple[str, ...]) -> str:
    if output in (None, "-"):
        return "svg"
    suffix = Path(str(output)).suffix.removeprefix(".").lower()
    if suffix not in known:
        listed = " ".join(f".{form}" for form in known)
        raise UsageError(f"-o {output}: the suffix chooses the format; there are {listed}")
    return suffix
