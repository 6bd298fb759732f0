"""From `argv` to an exit status: choose the verb, run it, let no traceback out.

0 done; 1 the spec, data or checkpoint is at fault, or differs; 2 wrong usage; 3 the machine
refused; 70 a bug in segc; 75 stopped, resumable; 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from segc.cli.parser import Parser, UsageError
from segc.cli.verbs import LATER, VERBS
from segc.diag import Fail, did_you_mean

# A graph is many small objects without cycles that live to the end of the process: searching them
# for garbage every 700 allocations, Python's habit, doubles the time of a large network.
COLLECT_AFTER = 200_000

OK, FAULT, USAGE, MACHINE, BUG, STOPPED, INTERRUPTED = 0, 1, 2, 3, 70, 75, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    gc.set_threshold(COLLECT_AFTER)
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # started with a closed standard output: there is nobody to tell
        return MACHINE
    _portable_streams()
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _say("segc: interrupted", INTERRUPTED)
    except OSError as error:
        return _refused(error)
    except MemoryError:
        return _say("segc: out of memory", MACHINE)
    except ModuleNotFoundError as error:
        return _missing(error) or _bug(error, words)
    except Exception as error:
        return _bug(error, words)


def _run(words: list[str]) -> int:
    if not words:
        return _say(overview() + "\nsegc: which verb?", USAGE)
    if words[0] in ("-h", "--help", "help"):
        print(overview())
        return OK
    if words[0] in ("-V", "--version"):
        print(f"segc {version()}")
        return OK
    if words[0] not in VERBS:
        return _say(_unknown(words[0]), USAGE)
    return _verb(words[0], words[1:])


def _verb(name: str, words: list[str]) -> int:
    module = load(name)
    parser = parser_of(name, module)
    args: argparse.Namespace | None = None
    try:
        args = parse(parser, module, words)
        return int(module.run(args))
    except UsageError as error:
        return _say(f"{error.usage or parser.format_usage()}segc {name}: {error}", USAGE)
    except SystemExit as stop:  # argparse printed its help
        return stop.code if isinstance(stop.code, int) else OK
    except Fail as fault:
        from segc.cli.common import report_failure

        return report_failure(fault, args)


def load(name: str) -> ModuleType:
    """The module of a verb."""
    return importlib.import_module(f"segc.cli.{VERBS[name].module}")


def parser_of(name: str, module: ModuleType | None = None) -> Parser:
    """The argument parser of a verb."""
    module = module or load(name)
    parser = Parser(name, VERBS[name].help, VERBS[name].example)
    module.arguments(parser)
    return parser


def parse(parser: Parser, module: ModuleType, words: list[str]) -> argparse.Namespace:
    """Parse a verb's words; a verb with `passes_on` keeps those it does not know in `args.rest`."""
    args, rest = parser.parse_known_args(words)
    args.verb = parser.verb
    if getattr(module, "passes_on", False):
        args.rest = rest
    elif rest:
        parser.unknown(rest)
    return args


def version() -> str:
    """The version of segc."""
    from segc.version import __version__

    return __version__


def overview() -> str:
    """What `segc --help` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: segc VERB SPEC... [options]",
            "",
            "A compiler for segmentation networks: from a YAML layer graph to checked PyTorch.",
            "",
            *lines,
            "",
            "SPEC is a path, a directory, REV:path for a version in git, or - for standard input.",
            "`segc VERB --help` shows a verb's options with an example; `segc --version`.",
        ]
    )


def _unknown(word: str) -> str:
    if word in LATER:
        return f"segc: `{word}` is not in this version"
    what = "option" if word.startswith("-") else "verb"
    hint = did_you_mean(word, VERBS)
    near = f"; {hint}" if hint else "; `segc --help` lists the verbs"
    return f"usage: segc VERB SPEC... [options]\nsegc: unknown {what} `{printable(word)}`{near}"


def printable(word: str) -> str:
    """A word of the command line, safe to show on a terminal."""
    return word[:200].encode("unicode_escape").decode("ascii")


# --- ends -----------------------------------------------------------------------------------------
def _portable_streams() -> None:
    """Same bytes under every locale: UTF-8, what cannot be encoded escaped, plain line ends.

    With PYTHONUNBUFFERED standard output drops what a pipe does not take at once: buffer it.
    """
    out = sys.__stdout__
    if out is not None and out is sys.stdout and isinstance(out.buffer, io.RawIOBase):
        sys.stdout = open(out.fileno(), "w", closefd=False)  # noqa: SIM115 (as long as we live)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def _say(message: str, status: int) -> int:
    try:
        print(message, file=sys.stderr)
    except OSError:
        return MACHINE
    return status


def _refused(error: OSError) -> int:
    """The machine refused; if it was standard output that is closed or full, leave quietly.

    An error without a file name is of a stream: files are opened by name, and written to by
    functions that name them.
    """
    if error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered still goes somewhere
        return MACHINE
    reason = error.strerror or type(error).__name__
    return _say(f"segc: {printable(str(error.filename))}: {reason}", MACHINE)


EXTRAS = {
    "torch": "torch",
    "torchvision": "vision",
    "numpy": "train",
    "PIL": "train",
    "pygraphviz": "dot",
    "resvg_py": "png",
    "pptx": "pptx",
}


def _missing(error: ModuleNotFoundError) -> int | None:
    """A package that is not installed, or None if it is one of segc's own modules."""
    name = (error.name or "").partition(".")[0]
    if not name or name == "segc":
        return None
    extra = EXTRAS.get(name)
    command = f"pip install 'segc[{extra}]'" if extra else f"pip install {name}"
    return _say(f"segc: this needs the package {name}, which is not installed: {command}", MACHINE)


def _bug(error: BaseException, words: list[str]) -> int:
    """An unexpected exception: a short report, the traceback where it was asked for."""
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {os.path.basename(last[0].filename)}:{last[0].lineno}" if last else ""
    text = "".join(traceback.format_exception(error))
    _say(
        f"segc: {type(error).__name__}: {printable(str(error))}{place}\n"
        "This is a bug in segc, not in your spec. Please report it with the spec and the command;\n"
        f"this is segc {version()}. SEGC_DEBUG=1 shows the traceback, -v writes it to a file.",
        BUG,
    )
    if os.environ.get("SEGC_DEBUG", "") not in ("", "0"):
        _say(text, BUG)
    elif "-v" in words or "--verbose" in words:
        _say(f"traceback: {_write_report(text)}", BUG)
    return BUG


def _write_report(text: str) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(
        "w", prefix="segc-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return file.name
