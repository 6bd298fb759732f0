"""`segc verify`: run what is emitted and compare it with what was derived. Imports torch."""

from __future__ import annotations

import argparse
from typing import Any

from segc.cli import common
from segc.cli.parser import Parser
from segc.diag import Fail
from segc.source import Source


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec(many=True)
    parser.sets()
    parser.optimisations()
    parser.output()
    parser.manner()


def run(args: argparse.Namespace) -> int:
    """Verify every spec; 1 if anything disagrees."""
    results = []
    for spec in common.expand(args.specs):
        try:
            results.append(findings(spec, args))
        except Fail as fault:
            if args.json or fault.exit != 1:
                raise
            results.append({"spec": spec, "ok": False, "findings": []})
            common.report_failure(fault, args)
    if args.json:
        objects = [{"format_version": 1, **r} for r in results]
        common.write_json(objects[0] if len(objects) == 1 else objects, args)
    else:
        text = "".join(line + "\n" for r in results for line in _lines(r, args))
        common.deliver(text, args)
    return int(not all(r["ok"] for r in results))


def verify_one(spec: str, args: argparse.Namespace) -> int:
    """Verify one spec for `build --verify`; what disagrees goes to stderr."""
    result = findings(spec, args)
    for line in _lines(result, args):
        common.say(line, args)
    return int(not result["ok"])


def findings(spec: str, args: argparse.Namespace) -> dict[str, Any]:
    """Every comparison for one spec. Raises SpecFault."""
    from segc.verify import verify

    source, values = None, common.parameters(args.sets)
    try:
        source = Source.open(spec)
        found = list(verify(source, values, common.options(args)))
    except Fail as fault:
        sources = common.reread(source, args.sets) if source else {}
        raise common.SpecFault(*fault.diagnostics, exit=fault.exit, sources=sources) from None
    return {
        "spec": spec,
        "ok": all(f.ok for f in found),
        "findings": [{"what": f.what, "ok": f.ok, "detail": f.detail} for f in found],
    }


def _lines(result: dict[str, Any], args: argparse.Namespace) -> list[str]:
    found = result["findings"]
    shown = [f for f in found if not (args.quiet and f["ok"])]
    width = max((len(f["what"]) for f in shown), default=0)
    word = "ok" if result["ok"] else "failed"
    head = [] if args.quiet and result["ok"] else [f"{word} {result['spec']}"]
    return head + [
        f"  {'ok  ' if f['ok'] else 'FAIL'} {f['what']:<{width}}  {f['detail']}" for f in shown
    ]
