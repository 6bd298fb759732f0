"""What the verbs share: opening specs, printing diagnostics, delivering a result."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from segc.cli.parser import UsageError
from segc.diag import Diagnostic, Fail, Report, did_you_mean
from segc.source import Source, visible

if TYPE_CHECKING:
    from segc.check import Checked
    from segc.ir import Graph
    from segc.optimise import Options

Sizes = dict[str, tuple[int, ...]]


class SpecFault(Fail):
    """A Fail that knows the text its diagnostics point into."""

    def __init__(self, *diagnostics: Diagnostic, exit: int, sources: dict[str, Source]) -> None:
        super().__init__(*diagnostics, exit=exit)
        self.sources = sources


@dataclass
class Loaded:
    """A spec after reading and checking: what is known of it, and every problem found."""

    spec: str
    report: Report = field(default_factory=Report)
    sources: dict[str, Source] = field(default_factory=dict)
    graph: Graph | None = None
    checked: Checked | None = None
    exit: int = 0

    @property
    def status(self) -> int:
        """The exit status this spec asks for."""
        return max(self.exit, int(self.report.failed))

    def add(self, fault: Fail) -> None:
        """Take over the diagnostics of a fault."""
        for diagnostic in fault.diagnostics:
            self.report.add(diagnostic)
        self.exit = max(self.exit, fault.exit)


def load(spec: str, sets: Iterable[tuple[str, str]]) -> Loaded:
    """Read and check one spec; faults are collected, never raised."""
    from segc.check import verify
    from segc.read import read
    from segc.stages import check_stages
    from segc.training import check_training

    loaded, values = Loaded(spec), parameters(sets)
    try:
        source = Source.open(spec)
        loaded.sources[source.file] = source
        loaded.graph = read(source, values, loaded.report, sources=loaded.sources)
        if loaded.graph is not None:
            loaded.checked = verify(loaded.graph, loaded.report)
            if not loaded.report.failed:
                check_training(loaded.checked, loaded.report)
                check_stages(loaded.checked, loaded.report)
    except Fail as fault:
        loaded.add(fault)
    return loaded


def reread(source: Source, sets: Iterable[tuple[str, str]]) -> dict[str, Source]:
    """The text of every file a spec stands on, for quoting in diagnostics."""
    from segc.read import read

    sources = {source.file: source}
    with contextlib.suppress(Fail):  # it was reported by whoever read it first
        read(source, parameters(sets), Report(), sources=sources)
    return sources


def require(spec: str, args: argparse.Namespace) -> tuple[Checked, Loaded]:
    """A sound spec; warnings are printed. Raises SpecFault with every problem otherwise."""
    loaded = load(spec, args.sets)
    if loaded.status or loaded.checked is None:
        found = loaded.report.diagnostics
        raise SpecFault(*found, exit=max(loaded.status, 1), sources=loaded.sources)
    show(loaded.report.diagnostics, loaded.sources, args)
    return loaded.checked, loaded


def parameters(sets: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values of --set by name; a name given twice is wrong usage."""
    values: dict[str, str] = {}
    for name, value in sets:
        if name in values:
            raise UsageError(f"--set {name} is given twice")
        values[name] = value
    return values


def options(args: argparse.Namespace) -> Options:
    """What --optimise, --rule and --balance ask for; an unknown rule is wrong usage."""
    from segc.optimise import Options
    from segc.rules import RULES

    names = [rule.name for rule in RULES]
    chosen: dict[str, str] = {}
    for name, state in getattr(args, "rules", ()):
        if name not in names:
            near = did_you_mean(name, names) or f"there are {', '.join(names)}"
            raise UsageError(f"--rule {name}: no such optimisation; {near}")
        if chosen.setdefault(name, state) != state:
            raise UsageError(f"--rule {name} is both off and on")
    off, on = (frozenset(n for n, s in chosen.items() if s == word) for word in ("off", "on"))
    given = Options(getattr(args, "optimise", "all"), off, on)
    balance = getattr(args, "balance", None)
    return replace(given, balance=balance) if balance else given


def sizes(inputs: Iterable[tuple[str, tuple[int, ...]]]) -> Sizes:
    """The sizes of --input by name; a name given twice is wrong usage."""
    found: Sizes = {}
    for name, size in inputs:
        if name in found:
            raise UsageError(f"--input {name} is given twice")
        found[name] = size
    return found


def expand(specs: Iterable[str]) -> list[str]:
    """Directories replaced by their *.yaml files, sorted."""
    found: list[str] = []
    for spec in specs:
        if not os.path.isdir(spec):
            found.append(spec)
            continue
        inside = sorted(n for n in os.listdir(spec) if n.endswith((".yaml", ".yml")))
        if not inside:
            raise UsageError(f"there is no *.yaml file in the directory {spec}")
        found += [f"{spec.rstrip('/')}/{name}" for name in inside]
    if found.count("-") > 1:
        raise UsageError("standard input (-) is given twice")
    return found


def stem(spec: str) -> str:
    """The name of a spec's network on disk: `unet` for specs/unet.yaml and HEAD:specs/unet.yaml."""
    path = spec if os.path.lexists(spec) else spec.rpartition(":")[2]
    name = path.replace(os.sep, "/").rpartition("/")[2]
    return name.removesuffix(".yaml").removesuffix(".yml")


# --- printing -------------------------------------------------------------------------------------
def colored(args: argparse.Namespace | None, stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`: --color, then NO_COLOR, then whether it is a
    terminal."""
    wish = getattr(args, "color", "auto")
    if wish != "auto":
        return bool(wish == "always")
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def show(
    diagnostics: Iterable[Diagnostic], sources: dict[str, Source], args: argparse.Namespace | None
) -> None:
    """Print diagnostics as text on stderr; with -q only errors."""
    found = list(diagnostics)
    if getattr(args, "quiet", False):
        found = [d for d in found if d.severity == "error"]
    if not found:
        return
    from segc.diag_format import render

    sys.stderr.write(render(found, sources, "text", colored(args, sys.stderr)))


def report_failure(fault: Fail, args: argparse.Namespace | None) -> int:
    """Print a fault that ended a verb and return its exit status."""
    sources = getattr(fault, "sources", {})
    if wants_json(args):
        from segc.diag_format import as_json

        found = [as_json(d) for d in fault.diagnostics]
        write_json({"format_version": 1, "ok": False, "diagnostics": found})
    else:
        show(fault.diagnostics, sources, args)
    return fault.exit


def wants_json(args: argparse.Namespace | None) -> bool:
    """True with --json or --format json."""
    return bool(getattr(args, "json", False)) or getattr(args, "format", None) == "json"


def write_json(value: Any, args: argparse.Namespace | None = None) -> None:
    """Deliver an object as JSON."""
    import json

    deliver(json.dumps(value, indent=2, ensure_ascii=True) + "\n", args)


def deliver(text: str, args: argparse.Namespace | None = None) -> None:
    """A result: to the file of -o, whole or not at all, or to stdout."""
    target = getattr(args, "output", None)
    if not target or target == "-":
        sys.stdout.write(text)
        return
    write_file(Path(target), text.encode("utf-8"))
    say(f"wrote {target}", args)


def write_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, so that it is the old or the new, whole.

    A link is followed to its file. Raises Fail (exit 3) if the machine refuses.
    """
    try:
        _replace(path, data)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot write {path.as_posix()}: {reason}"
        raise Fail(Diagnostic("SEG083", message), exit=3) from error


def _replace(path: Path, data: bytes) -> None:
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe
        path.write_bytes(data)
        return
    aside = path.with_name(f".{path.name}.segc-{os.getpid()}")
    try:
        with open(aside, "xb") as file:
            file.write(data)
            if path.exists():
                os.chmod(aside, path.stat().st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def say(message: str, args: argparse.Namespace | None) -> None:
    """Progress, on stderr; silent with -q."""
    if not getattr(args, "quiet", False):
        print(visible(message), file=sys.stderr)
