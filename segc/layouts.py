"""Which tensors of a checkpoint fit a network, under the names of a known layout.

A tensor fits a weight of its own shape, or another view of it with the same rows: the weight
[4096, 25088] of a linear layer is that of a convolution [4096, 512, 7, 7].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from segc.check import Checked
from segc.diag import Note, Report
from segc.ir import Layout, Rename

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

FITS, MOVED, RESHAPED = "fits", "moved", "reshaped"
WRONG, MISSING, UNUSED = "wrong shape", "missing", "unused"
STATES = (FITS, MOVED, RESHAPED, WRONG, MISSING, UNUSED)
TAKEN = (FITS, MOVED, RESHAPED)
COUNTER = "num_batches_tracked"  # of a batch norm: old checkpoints lack it, nothing needs it


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one tensor: of the network (`here`), of the checkpoint (`there`) or both."""

    state: str
    here: str | None
    there: str | None
    shape_here: Shape | None
    shape_there: Shape | None


def is_view(there: Shape, here: Shape) -> bool:
    """Whether a tensor is the other with its axes after the first flattened."""
    flat = len(there) == 2 or len(here) == 2
    return flat and min(len(there), len(here)) > 1 and there[0] == here[0] and _same(there, here)


def _same(a: Shape, b: Shape) -> bool:
    return prod(a) == prod(b)


def plan(own: Shapes, given: Shapes, layout: Layout | None = None) -> list[Line]:
    """What becomes of every tensor, in the network's order, then those it has no place for.

    own: state dict of the network, given: of the checkpoint. Without a layout names are the same.
    A tensor whose name is the network's own needs no layout: it goes there if nothing else does.
    """
    sources = _sources(own, given, layout)
    lines = []
    for here, shape in own.items():
        there = sources.get(here)
        if there is None:
            if not here.endswith(COUNTER):
                lines.append(Line(MISSING, here, None, shape, None))
            continue
        lines.append(
            Line(_state(here, there, shape, given[there]), here, there, shape, given[there])
        )
    used = set(sources.values())
    lines += [Line(UNUSED, None, n, None, shape) for n, shape in given.items() if n not in used]
    return lines


def _sources(own: Shapes, given: Shapes, layout: Layout | None) -> dict[str, str]:
    """The checkpoint's name for each of the network's."""
    found: dict[str, str] = {}
    for there in given:
        here = layout.name_here(there) if layout else there
        if here is not None and here in own:
            found.setdefault(here, there)
    for there in given if layout else ():
        if there in own:
            found.setdefault(there, there)
    return found


def _state(here: str, there: str, own: Shape, given: Shape) -> str:
    if own == given:
        return FITS if here == there else MOVED
    return RESHAPED if is_view(given, own) else WRONG


def choose(own: Shapes, given: Shapes, layouts: Iterable[Layout]) -> Layout | None:
    """The layout that fits best; None: the names are the network's own.

    Counted are the values taken, less those of names that meet a tensor of another shape: such a
    layout is of a relative.
    """
    best: Layout | None = None
    most = _score(plan(own, given))
    for layout in layouts:
        score = _score(plan(own, given, layout))
        if score > most:
            best, most = layout, score
    return best


def _score(lines: Iterable[Line]) -> int:
    sign = {**dict.fromkeys(TAKEN, 1), WRONG: -1}
    return sum(sign.get(line.state, 0) * prod(line.shape_here or ()) for line in lines)


def counts(lines: Iterable[Line]) -> dict[str, int]:
    """How many tensors are in each state."""
    found = dict.fromkeys(STATES, 0)
    for line in lines:
        found[line.state] += 1
    return found


# --- does a layout fit the network it stands in? ---------------------------------------------


def check_layouts(checked: Checked, report: Report) -> None:
    """Report layouts whose targets are no layers with weights, or that no view can bring there.

    With parameters other than the spec's own a layer may be absent on purpose; nothing is said.
    """
    graph = checked.graph
    if not graph.layouts or dict(graph.params) != dict(graph.defaults):
        return
    weights = _weights(checked)
    known = _prefixes(weights)
    for layout in graph.layouts.values():
        seen: dict[str, Rename] = {}
        for line in layout.renames:
            if line.here in seen:
                note = Note(seen[line.here].loc, "it is filled here already")
                message = f"two lines of `{layout.name}` lead to `{line.here or '*'}`"
                report.error("SEG503", message, line.loc, hint="keep one", notes=(note,))
            seen[line.here] = line
            if line.here and line.here not in known:
                _no_target(line, known, report)
            elif line.shape is not None:
                _check_view(line, weights, report)


def _weights(checked: Checked) -> dict[str, Shape]:
    """The shape of each learned tensor by its name; of layers with buffers alone, their name."""
    found: dict[str, Shape] = {}
    for node in checked.graph.nodes:
        if node.absent or node.shared is not None:
            continue
        parameters = node.op.parameters(*checked.inputs_of(node))
        if not parameters and node.op.stateful:
            found[f"{node.name}."] = ()
        for p in parameters:
            found[p.key(node.name)] = tuple(d for d in p.shape if isinstance(d, int))
    return found


def _prefixes(names: Iterable[str]) -> dict[str, None]:
    """Every layer and group that holds one of the names, and the names."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.rstrip(".").split(".")
        for count in range(1, len(parts) + 1):
            found[".".join(parts[:count])] = None
    return found


def _no_target(line: Rename, known: Mapping[str, None], report: Report) -> None:
    depth = line.here.count(".")
    near = [name for name in known if name.count(".") == depth] or list(known)
    hint = report.suggest(line.here, near, "there is")
    message = f"`{line.here}` is no layer or group with weights"
    report.error("SEG501", message, line.loc, hint=hint)


def _check_view(line: Rename, weights: Shapes, report: Report) -> None:
    shape = weights.get(line.here) or weights.get(f"{line.here}.weight")
    if shape is None or line.shape is None or shape == line.shape or is_view(line.shape, shape):
        return
    there, here = ("[" + ", ".join(map(str, s)) + "]" for s in (line.shape, shape))
    message = f"a weight {there} is no view of the weight {here} of `{line.here}`"
    hint = "a view has the same first axis and as many values, and one of the two has two axes"
    report.error("SEG502", message, line.loc, hint=hint)
