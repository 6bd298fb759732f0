"""`segc weights`: which tensors of a checkpoint fit a network, and the checkpoint converted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segc.cli import common
from segc.cli.parser import Parser, UsageError
from segc.diag import Diagnostic, Fail, did_you_mean
from segc.source import visible

if TYPE_CHECKING:
    from segc.ir import Layout
    from segc.layouts import Line, Shapes

SAME = "same names"  # what stands for no layout
EPILOG = """\
example:
  segc weights map specs/fcn32s.yaml vgg16.pth             what fits, tensor by tensor
  segc weights port specs/segnet.yaml vgg16_bn.pth -o segnet_start.pt --partial
  segc weights map specs/fcn8s.yaml specs/fcn16s.yaml      what one network takes from another"""


def arguments(parser: Parser) -> None:
    """Declare the verb's arguments."""
    what = "map: print what fits; port: write it under the network's names"
    parser.add_argument("action", choices=("map", "port"), help=what)
    parser.spec()
    parser.add_argument("checkpoint", metavar="CKPT", help="file of weights, or another SPEC (map)")
    parser.sets()
    parser.add_argument("--layout", metavar="NAME", help="a layout of the spec (that which fits)")
    parser.add_argument("--partial", action="store_true", help="port: write what there is")
    parser.output()
    parser.manner()
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    """Print the table, or write the converted weights; 1 if they are not complete."""
    if args.action == "port" and (not args.output or args.output == "-"):
        raise UsageError("weights port needs -o FILE")
    if args.partial and args.action == "map":
        raise UsageError("--partial goes with weights port")
    own, layouts = _network(args.spec, args)
    state = None
    if args.checkpoint.endswith((".yaml", ".yml")):
        if args.action == "port":
            raise UsageError(f"weights port converts a file of weights, not {args.checkpoint}")
        given, _ = _network(args.checkpoint, None)
    else:
        from segc.checkpoint import read_weights, shapes_of

        state = read_weights(args.checkpoint)
        given = shapes_of(state)
    layout = _layout(args.layout, layouts, own, given)
    if args.action == "map":
        return _map(own, given, layout, args)
    assert state is not None
    return _port(state, own, given, layout, args)


def _network(spec: str, args: argparse.Namespace | None) -> tuple[Shapes, dict[str, Layout]]:
    """Names and shapes of a network's state dict, and the layouts its spec knows."""
    from segc.build import Maker
    from segc.checkpoint import load_torch, shapes_of
    from segc.emit.module import model_source
    from segc.source import Source
    from segc.verify import network

    load_torch()
    checked, _ = common.require(spec, args or argparse.Namespace(sets=[]))
    make = Maker(Source.open(spec), common.parameters(args.sets if args else ()))
    model = network(model_source(make), "segc_emitted")
    return shapes_of(model.state_dict()), dict(checked.graph.layouts)


def _layout(
    name: str | None, layouts: dict[str, Layout], own: Shapes, given: Shapes
) -> Layout | None:
    from segc.layouts import choose

    if name is None:
        return choose(own, given, layouts.values())
    if name in layouts:
        return layouts[name]
    known = f"it has {', '.join(layouts)}" if layouts else "it has none"
    raise UsageError(f"the spec has no layout `{name}`; {did_you_mean(name, layouts) or known}")


# --- map ------------------------------------------------------------------------------------


def _map(own: Shapes, given: Shapes, layout: Layout | None, args: argparse.Namespace) -> int:
    from segc.layouts import counts, plan

    lines = plan(own, given, layout)
    if args.json:
        common.write_json({**_head(layout, args), "totals": counts(lines), **_rows(lines)}, args)
    else:
        common.deliver(_told(lines, layout, args), args)
    return 0


def _head(layout: Layout | None, args: argparse.Namespace) -> dict[str, Any]:
    return {
        "format_version": 1,
        "spec": args.spec,
        "checkpoint": args.checkpoint,
        "layout": layout.name if layout else None,
    }


def _rows(lines: Sequence[Line]) -> dict[str, Any]:
    keys = ("state", "here", "there", "shape_here", "shape_there")
    return {"tensors": [{key: getattr(line, key) for key in keys} for line in lines]}


def _told(lines: Sequence[Line], layout: Layout | None, args: argparse.Namespace) -> str:
    """The table tensor by tensor, its totals, and what is known of the layout."""
    rows = [_row(line) for line in lines]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "".join(visible(line) + "\n" for line in [*table, "", *_totals(lines, layout, args)])


def _row(line: Line) -> tuple[str, str, str]:
    here = f"{line.here} {_size(line.shape_here)}" if line.here else ""
    if line.there is None:
        return line.state, here, ""
    name = "" if line.there == line.here else line.there
    size = "" if line.shape_there == line.shape_here else _size(line.shape_there)
    there = f"{name} {size}".strip()
    return line.state, here or "-", f"<- {there}" if there else ""


def _size(shape: tuple[int, ...] | None) -> str:
    return "[" + ", ".join(map(str, shape or ())) + "]"


def _totals(lines: Sequence[Line], layout: Layout | None, args: argparse.Namespace) -> list[str]:
    from math import prod

    from segc.layouts import TAKEN, counts

    parts = ", ".join(f"{count} {state}" for state, count in counts(lines).items() if count)
    values = sum(prod(line.shape_here or ()) for line in lines if line.state in TAKEN)
    total = sum(prod(line.shape_here or ()) for line in lines if line.here)
    said = [
        f"{args.checkpoint} for {args.spec}, names of {layout.name if layout else SAME}: {parts}",
        f"{values:,} of {total:,} values of the network",
    ]
    if layout and layout.source:
        said.append(f"{layout.name}: {layout.source}")
    return [*said, *([f"note: {layout.notes}"] if layout and layout.notes else [])]


# --- port -----------------------------------------------------------------------------------


def _port(
    state: dict[str, Any],
    own: Shapes,
    given: Shapes,
    layout: Layout | None,
    args: argparse.Namespace,
) -> int:
    from segc.checkpoint import as_bytes, not_finite
    from segc.layouts import MISSING, TAKEN, UNUSED, WRONG, counts, plan

    lines = plan(own, given, layout)
    lost = [line for line in lines if line.state in (MISSING, WRONG)]
    taken = [line for line in lines if line.state in TAKEN]
    if args.verbose and not args.json:
        for text in _told(lines, layout, args).splitlines():
            common.say(text, args)
    if not taken or (lost and not args.partial):
        raise Fail(_incomplete(lost, lines, args))
    ported = {}
    for line in taken:
        assert line.here and line.there
        ported[line.here] = state[line.there].reshape(line.shape_here).clone()
    bad = not_finite(ported)
    if bad is not None:
        message = f"{args.checkpoint}: `{bad}` would hold values that are not finite"
        raise Fail(Diagnostic("SEG510", message))
    common.write_file(Path(args.output), as_bytes(ported))
    totals = {k: v for k, v in counts(lines).items() if v}
    if args.json:
        result = {**_head(layout, args), "output": args.output, "totals": totals, **_rows(lines)}
        common.write_json(result)
        return 0
    for text in _totals(lines, layout, args):
        common.say(text, args)
    left = [str(line.there) for line in lines if line.state == UNUSED]
    if left and not args.verbose:
        common.say(f"unused: {_listed(left)}", args)
    if lost and not args.verbose:
        common.say(f"not written: {_listed([str(line.here) for line in lost])}", args)
    common.say(f"wrote {args.output}: {len(ported)} tensors", args)
    return 0


def _incomplete(
    lost: Sequence[Line], lines: Sequence[Line], args: argparse.Namespace
) -> Diagnostic:
    from segc.layouts import MISSING

    missing = [str(line.here) for line in lost if line.state == MISSING]
    wrong = [
        f"{line.here} {_size(line.shape_there)} instead of {_size(line.shape_here)}"
        for line in lost
        if line.state != MISSING
    ]
    parts = [f"missing: {_listed(missing)}"] if missing else []
    parts += [f"of another shape: {_listed(wrong)}"] if wrong else []
    here = sum(1 for line in lines if line.here)
    nothing = len(lost) == here
    text = f"{args.checkpoint} lacks {len(lost)} of {here} tensors of {args.spec}"
    hint = "--partial writes the rest" if not nothing else "`weights map` shows its names"
    return Diagnostic("SEG511", f"{text}; {'; '.join(parts)}", hint=hint)


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
