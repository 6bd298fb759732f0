"""`segc schema`: the JSON Schema of the language, for editors."""

from __future__ import annotations

import argparse

from segc.cli import common
from segc.cli.parser import Parser


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--draft",
        choices=("2020-12", "7"),
        default="2020-12",
        help="JSON Schema draft; yaml-language-server reads 7",
    )
    parser.output()
    parser.manner(json=False)


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    from segc.schema import schema

    common.write_json(schema(args.draft), args)
    return 0
