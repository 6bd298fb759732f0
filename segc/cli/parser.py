"""One argument parser per verb: argparse whose errors say what was meant."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from segc.diag import did_you_mean
from segc.source import visible


class UsageError(Exception):
    """Wrong usage: exit status 2. `usage` is the verb's usage line, if another than its own."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(visible(message))
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """The parser of one verb."""

    def __init__(self, verb: str, help: str, example: str) -> None:
        super().__init__(
            prog=f"segc {verb}",
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.verb = verb

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage())

    def unknown(self, rest: list[str]) -> NoReturn:
        """Say which of the words left over is not understood, and what may be meant."""
        word = next((w for w in rest if w.startswith("-") and w != "-"), rest[0])
        word = word.partition("=")[0]
        if not word.startswith("-"):
            self.error(f"unexpected argument `{word[:200]}`")
        hint = did_you_mean(word, self._option_string_actions)
        self.error(f"unknown option `{word[:200]}`" + (f"; {hint}" if hint else ""))

    # --- options several verbs share ---
    def spec(self, many: bool = False) -> None:
        """The positional SPEC, or SPEC…"""
        text = "path, directory, REV:path (a version in git), or - (standard input)"
        if many:
            self.add_argument("specs", metavar="SPEC", nargs="+", help=text)
        else:
            self.add_argument("spec", metavar="SPEC", help=text)

    def sets(self) -> None:
        """`--set name=value`."""
        self.add_argument(
            "--set",
            metavar="NAME=VALUE",
            dest="sets",
            action="append",
            default=[],
            type=assignment,
            help="value of a parameter of the spec (repeatable)",
        )

    def sizes(self) -> None:
        """`--input name=1x3x512x512`."""
        self.add_argument(
            "--input",
            metavar="NAME=1x3x512x512",
            dest="inputs",
            action="append",
            default=[],
            type=sized_input,
            help="concrete size of an input (repeatable)",
        )

    def optimisations(self) -> None:
        """`--optimise`, `--rule`, `--balance`: what may be done to the deploy module."""
        self.add_argument(
            "--optimise",
            choices=("none", "safe", "all"),
            default="all",
            help="of the deploy module: safe only removes work; all also exchanges computations "
            "where the cost model says it pays (all)",
        )
        self.add_argument(
            "--rule",
            metavar="NAME=off|on",
            dest="rules",
            action="append",
            default=[],
            type=switch,
            help="never use an optimisation, or use it wherever it is exact (repeatable)",
        )
        self.add_argument(
            "--balance",
            metavar="N",
            type=positive_number,
            default=None,
            help="multiply-accumulates the machine does while it moves one byte (6; a GPU: 100)",
        )

    def output(self, help: str = "write the result to FILE", metavar: str = "FILE") -> None:
        """`-o`."""
        self.add_argument("-o", "--output", metavar=metavar, help=help)

    def manner(self, json: bool = True) -> None:
        """`--json`, `--color`, `-q`, `-v`."""
        if json:
            self.add_argument("--json", action="store_true", help="result as JSON")
        self.add_argument(
            "--color",
            choices=("auto", "always", "never"),
            default="auto",
            help="colour of messages (auto: on a terminal, unless NO_COLOR is set)",
        )
        self.add_argument("-q", "--quiet", action="store_true", help="errors only")
        self.add_argument("-v", "--verbose", action="store_true", help="say more")


def assignment(text: str) -> tuple[str, str]:
    """`name=value` of --set."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"`{text[:200]}` is not NAME=VALUE, e.g. width=32")
    return name, value


def switch(text: str) -> tuple[str, str]:
    """`name=off` or `name=on` of --rule."""
    name, _, state = text.partition("=")
    if state not in ("on", "off"):
        message = f"`{text[:200]}` is not NAME=off or NAME=on, e.g. nearest_conv=off"
        raise argparse.ArgumentTypeError(message)
    return name, state


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"`{text[:200]}` is not a number above 0")
    return value


_SIZE = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=([0-9]{1,9}(?:[x,][0-9]{1,9})*)\Z")


def sized_input(text: str) -> tuple[str, tuple[int, ...]]:
    """`image=1x3x512x512` of --input."""
    match = _SIZE.match(text)
    sizes = tuple(int(n) for n in re.split("[x,]", match[2])) if match else ()
    if match is None or 0 in sizes:
        message = f"`{text[:200]}` is not NAME=SIZES, e.g. image=1x3x512x512"
        raise argparse.ArgumentTypeError(message)
    return match[1], sizes
