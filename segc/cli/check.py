"""`segc check`: prove specs sound; every problem at once. Never imports torch."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from segc.cli import common
from segc.cli.common import Loaded, Sizes
from segc.cli.parser import Parser, UsageError
from segc.diag import Fail
from segc.source import visible

if TYPE_CHECKING:
    from segc.analyse import Row, Table
    from segc.check import Checked
    from segc.ir import Ref

FORMATS = ("text", "json", "github", "sarif")


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    parser.spec(many=True)
    parser.sets()
    parser.sizes()
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the findings (default text; github where GITHUB_ACTIONS=true)",
    )
    parser.output()
    parser.manner()


def run(args: argparse.Namespace) -> int:
    """Check every spec; 0 if all are sound."""
    form = _format(args)
    sizes = common.sizes(args.inputs)
    results = [Result(common.load(spec, args.sets), sizes) for spec in common.expand(args.specs)]
    if form == "json":
        objects = [as_json(r) for r in results]
        common.write_json(objects[0] if len(objects) == 1 else objects, args)
    elif form == "text":
        _print_text(results, args)
    else:
        _print_findings(results, form, args)
    return max(r.loaded.status for r in results)


def _format(args: argparse.Namespace) -> str:
    if args.json and args.format not in (None, "json"):
        raise UsageError(f"--json and --format {args.format} contradict each other")
    if args.json:
        return "json"
    actions = os.environ.get("GITHUB_ACTIONS") == "true"
    return str(args.format or ("github" if actions else "text"))


class Result:
    """A checked spec with its table, which is there as far as the spec is sound."""

    def __init__(self, loaded: Loaded, sizes: Sizes) -> None:
        self.loaded = loaded
        self.table: Table | None = None
        self.sizes = sizes
        if loaded.checked is None:
            return
        from segc.analyse import table

        try:
            self.table = table(loaded.checked, sizes if sizes and not loaded.status else None)
        except Fail as fault:
            loaded.add(fault)
            self.table = table(loaded.checked)

    @property
    def constraints(self) -> tuple[str, ...]:
        """The sizes the network accepts."""
        return self.loaded.checked.domain.constraints() if self.loaded.checked else ()


# --- text -----------------------------------------------------------------------------------------
def _print_text(results: list[Result], args: argparse.Namespace) -> None:
    good = []
    for result in results:
        loaded = result.loaded
        common.show(loaded.report.diagnostics, loaded.sources, args)
        if loaded.status:
            _print_count(loaded, args)
        else:
            good.append(_line(result))
            if args.verbose:
                good += _why(result)
    if good and not (args.quiet and not args.output):
        common.deliver("".join(line + "\n" for line in good), args)


def _print_count(loaded: Loaded, args: argparse.Namespace) -> None:
    from segc.diag_format import summary

    common.say(f"{loaded.spec}: {summary(loaded.report.diagnostics)}", args)


def _line(result: Result) -> str:
    assert result.loaded.graph is not None and result.table is not None, "a sound spec has both"
    totals = result.table.totals
    facts = [result.loaded.graph.name, f"{totals.params:,} parameters"]
    if totals.macs is not None:
        facts.append(f"{totals.macs:,} MACs")
    return f"ok {visible(result.loaded.spec)}: {', '.join([*facts, *result.constraints])}"


def _why(result: Result) -> list[str]:
    """With -v: the accepted sizes spelt out, and which layer asks for them."""
    checked = result.loaded.checked
    assert checked is not None, "a sound spec is checked"
    symbols = {
        d: None for i in checked.graph.inputs.values() for d in i.shape if isinstance(d, str)
    }
    lines = [f"  {checked.domain.describe(symbol)}" for symbol in symbols]
    return lines + [f"  {r.loc}: `{r.node}`: {r.text}" for r in checked.reasons]


# --- annotations ----------------------------------------------------------------------------------
def _print_findings(results: list[Result], form: str, args: argparse.Namespace) -> None:
    from segc.diag_format import render

    found = [d for r in results for d in r.loaded.report.diagnostics]
    sources = {name: text for r in results for name, text in r.loaded.sources.items()}
    text = render(found, sources, form) if found or form == "sarif" else ""
    common.deliver(text, args)
    if form == "github":
        for line in [_line(r) for r in results if not r.loaded.status]:
            print(line, file=sys.stderr)


# --- JSON -----------------------------------------------------------------------------------------
def as_json(result: Result) -> dict[str, Any]:
    """The object of one spec in `--json` output; its keys are part of segc's contract."""
    from segc.diag import in_order
    from segc.diag_format import as_json as diagnostic

    loaded, checked = result.loaded, result.loaded.checked
    layers = [_layer(row, checked) for row in _present(result.table)] if checked else []
    return {
        "format_version": 1,
        "ok": not loaded.status,
        "model": loaded.graph.name if loaded.graph else None,
        "spec": loaded.spec,
        "inputs": {n: list(i.shape) for n, i in loaded.graph.inputs.items()}
        if loaded.graph
        else {},
        "outputs": _outputs(checked) if checked else {},
        "constraints": list(result.constraints),
        "layers": layers,
        "totals": _totals(result.table, len(layers)),
        "diagnostics": [diagnostic(d) for d in in_order(loaded.report.diagnostics)],
    }


def _present(table: Table | None) -> list[Row]:
    return [row for row in table.rows if not row.node.absent] if table else []


def _outputs(checked: Checked) -> dict[str, Any]:
    return {name: shape(checked, ref) for name, ref in checked.graph.outputs.items()}


def shape(checked: Checked, ref: Ref) -> list[int | str] | None:
    """The symbolic shape of a value as JSON; None where it is not known."""
    from segc.types import Unknown

    found = checked.types.get(ref)
    if found is None or isinstance(found, Unknown):
        return None
    texts = [checked.domain.simplify(d) for d in found.shape]
    return [int(text) if text.isdigit() else text for text in texts]


def _layer(row: Row, checked: Checked) -> dict[str, Any]:
    from segc.ir import Ref

    node = row.node
    entry: dict[str, Any] = {
        "name": node.name,
        "op": node.op.name,
        "inputs": [str(ref) for ref in node.inputs],
        "shape": shape(checked, Ref(node.name)),
        "outputs": {port: shape(checked, Ref(node.name, port)) for port in node.op.ports},
        "params": row.params,
        "trainable": row.trainable,
        "file": node.loc.file,
        "line": node.loc.line,
        "column": node.loc.column,
    }
    if row.size is not None:
        entry |= {
            "size": list(row.size),
            "macs": row.macs,
            "activation_bytes": row.activation_bytes,
            "receptive_field": list(row.receptive_field) if row.receptive_field else None,
            "stride": [_number(s) for s in row.stride] if row.stride else None,
        }
    return entry


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def _totals(table: Table | None, layers: int) -> dict[str, Any]:
    if table is None:
        return {"layers": 0, "params": 0, "trainable": 0}
    totals = table.totals
    found = {"layers": layers, "params": totals.params, "trainable": totals.trainable}
    if totals.macs is None:
        return found
    return found | {
        "macs": totals.macs,
        "activation_bytes": totals.activation_bytes,
        "peak_bytes": totals.peak_bytes,
    }
