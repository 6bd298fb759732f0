"""`segc train`, `segc eval`, `segc predict`: build, then run the emitted script."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from segc.cli import common
from segc.cli.parser import Parser

passes_on = True  # what segc does not know goes to the script
FAULT, MACHINE, INTERRUPTED = 1, 3, 130


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec()
    parser.sets()
    parser.output("directory the network is built in (default generated)", "DIR")
    parser.add_argument("--force", action="store_true", help="replace files edited by hand")
    parser.manner(json=False)
    parser.description = (
        f"{parser.description} All other arguments go to the emitted {parser.verb}.py; "
        f"put them after SPEC. `python generated/NAME/{parser.verb}.py --help` lists them."
    )


def run(args: argparse.Namespace) -> int:
    """Build the network, run its script with the remaining arguments, return its status."""
    from segc.cli.build import build_one

    if importlib.util.find_spec("torch") is None:
        common.say("segc: this needs torch: pip install 'segc[train]'", None)
        return MACHINE
    script = build_one(args.spec, args) / f"{args.verb}.py"
    if not script.is_file():
        why = "its losses say no task that scripts are made for (`segc explain losses`)"
        common.say(f"segc: {args.spec} has no {script.name}: {why}", None)
        return FAULT
    return call(script, args.rest)


def call(script: Path, words: list[str]) -> int:
    """Run a script to its end; signals that ask this process to stop are handed on.

    Returns its exit status, 128 + n if signal n ended it.
    """
    child: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, frame: FrameType | None) -> None:
        if child is not None and child.poll() is None:
            child.send_signal(number)

    # A terminal sends Ctrl-C to the script as well, which saves and ends; wait for that.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    for name in ("SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = signal.signal(number, hand_on)
    try:
        child = subprocess.Popen(
            [sys.executable, str(script), *words], preexec_fn=_default_interrupt
        )
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status == -signal.SIGINT:
        return INTERRUPTED
    return status if status >= 0 else 128 - status


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
