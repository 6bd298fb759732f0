"""`segc build`: check, transform, emit; all files of a network or none."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segc.cli import common
from segc.cli.parser import Parser, UsageError
from segc.diag import Diagnostic, Fail
from segc.source import Source, visible

if TYPE_CHECKING:
    from segc.build import Built

DIRECTORY = "generated"


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec(many=True)
    parser.sets()
    parser.optimisations()
    parser.output("directory that gets one directory per network (default generated)", "DIR")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; 1 if what is on disk differs"
    )
    parser.add_argument("--verify", action="store_true", help="also run what was built (torch)")
    parser.add_argument(
        "--force", action="store_true", help="replace files that were edited or are not segc's"
    )
    parser.manner()


def run(args: argparse.Namespace) -> int:
    """Build every spec; one that fails does not keep the others from being built."""
    specs = common.expand(args.specs)
    _distinct(specs)
    results = []
    for number, spec in enumerate(specs, 1):
        results.append(_attempt(spec, args))
        if len(specs) > 1:
            common.say(f"[{number}/{len(specs)}] {results[-1]['spec']}", args)
    status = max(int(r.pop("exit")) for r in results)
    if args.json:
        objects: list[dict[str, Any]] = [{**r, "format_version": 1} for r in results]
        common.write_json(objects[0] if len(objects) == 1 else objects)
    return status


def _distinct(specs: list[str]) -> None:
    """Two specs may not write the same directory."""
    seen: dict[str, str] = {}
    for spec in specs:
        other = seen.setdefault(common.stem(spec), spec)
        if other is not spec:
            raise UsageError(f"{other} and {spec} would both write {common.stem(spec)}/")


def _attempt(spec: str, args: argparse.Namespace) -> dict[str, Any]:
    """Build one spec; its faults are printed (or put in the object of --json)."""
    result: dict[str, Any] = {"spec": spec, "ok": False, "exit": 0, "diagnostics": []}
    try:
        result |= _built(spec, args)
    except Fail as fault:
        result["exit"] = fault.exit
        if args.json:
            from segc.diag_format import as_json

            result["diagnostics"] = [as_json(d) for d in fault.diagnostics]
        else:
            common.report_failure(fault, args)
    result["ok"] = not result["exit"]
    return result


def _built(spec: str, args: argparse.Namespace) -> dict[str, Any]:
    from segc import publish

    if args.check:
        target, built = compiled(spec, args)
        found = publish.differences(target, built.files)
        if found:
            raise Fail(_outdated(target, found, spec))
        changed, word = False, "up to date"
    else:
        target, built, changed = write(spec, args)
        word = "written" if changed else "unchanged"
    if not args.json and not args.quiet:
        names = " ".join(sorted(built.files))
        print(visible(f"{word} {target.as_posix()}/") + (f": {names}" if changed else ""))
    status = _verified(spec, args) if args.verify else 0
    return {
        "directory": target.as_posix(),
        "files": sorted(built.files),
        "changed": changed,
        "exit": status,
    }


def build_one(spec: str, args: argparse.Namespace) -> Path:
    """Build one spec for a verb that runs it; its directory."""
    return write(spec, args)[0]


def write(spec: str, args: argparse.Namespace) -> tuple[Path, Built, bool]:
    """Build one spec into its directory; whether anything changed there."""
    from segc import publish

    target, built = compiled(spec, args)
    with publish.claim(target) as out:
        return target, built, out.write(built.files, force=args.force)


def compiled(spec: str, args: argparse.Namespace) -> tuple[Path, Built]:
    """Every file of the network, and the directory they belong in. Raises SpecFault."""
    from segc.build import build

    source, values = None, common.parameters(args.sets)
    try:
        source = Source.open(spec)
        built = build(source, values, common.options(args))
    except Fail as fault:
        sources = common.reread(source, args.sets) if source else {}
        raise common.SpecFault(*fault.diagnostics, exit=fault.exit, sources=sources) from None
    name = built.checked.graph.name.lower() if spec == "-" else common.stem(spec)
    return Path(args.output or DIRECTORY) / name, built


def _outdated(target: Path, found: list[tuple[str, str]], spec: str) -> Diagnostic:
    shown = ", ".join(f"{name} {state}" for name, state in found[:12])
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    message = f"{target.as_posix()} is not what {spec} builds: {shown}{more}"
    return Diagnostic("SEG080", message, hint=f"run `segc build {spec}`")


def _verified(spec: str, args: argparse.Namespace) -> int:
    from segc.cli import verify

    return verify.verify_one(spec, args)
