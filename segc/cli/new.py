"""`segc new`: a spec to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from segc.cli import common
from segc.cli.parser import Parser, UsageError


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("name", metavar="NAME", help="of the network and its file: my_net")
    parser.add_argument("--like", metavar="SPEC", help="start from this network, e.g. unet")
    parser.output("directory to write into (default: the current one)", "DIR")
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Write NAME.yaml and the editor's schema beside it; nothing existing is overwritten."""
    from segc import new

    name = args.name.removesuffix(".yaml")
    folder = Path(args.output or ".") / Path(name).parent
    stem = Path(name).name
    if not new.NAME.match(stem):
        raise UsageError(f"`{stem[:80]}` cannot name a network: use letters, digits and _")
    for path in new.write(folder, stem, args.like):
        common.say(f"wrote {path.as_posix()}", args)
    common.say(f"next: segc check {(folder / stem).as_posix()}.yaml", args)
    return 0
