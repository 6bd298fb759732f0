"""What rules ask of a graph: who reads a value, whether sizes agree, names for new layers."""

from __future__ import annotations

from segc.analyse import bind, reference_sizes, shapes
from segc.check import Checked
from segc.ir import Node, Ref
from segc.ops.resize import Interpolate
from segc.patterns import (
    beside,
    convolution,
    layer,
    made_by,
    plain_window,
    reach,
    read_elsewhere,
    sides,
)

__all__ = [
    "beside",
    "convolution",
    "enlarges",
    "integer_scale",
    "layer",
    "maker",
    "plain_window",
    "reach",
    "read_elsewhere",
    "resized",
    "seen_from",
    "sides",
]


def maker(checked: Checked, ref: Ref, *ops: str) -> Node | None:
    """The layer that makes a value, if it is one of these operators and really there."""
    return made_by(checked.graph, ref, *ops)


def seen_from(name: str, other: str) -> str:
    """What a layer would be called at the place of another: `pool` for aspp.pool.relu seen from
    aspp.project.conv."""
    here, there = name.split("."), other.split(".")
    while len(there) > 1 and here and here[0] == there[0]:
        here, there = here[1:], there[1:]
    return next((word for word in there if not word.isdigit()), "branch")


def resized(checked: Checked, ref: Ref) -> tuple[Node, Interpolate] | None:
    """The layer that makes a value by interpolation, with its operator."""
    node = maker(checked, ref, "interpolate")
    return (node, node.op) if node and isinstance(node.op, Interpolate) else None


def integer_scale(checked: Checked, up: Node) -> tuple[int, int] | None:
    """By which whole numbers an upsampling enlarges its map, at every size; None if by none."""
    small, large = checked.shape(up.inputs[0])[2:], checked.shape(Ref(up.name))[2:]
    found = []
    for a, b in zip(small, large, strict=True):
        factor = next((n for n in range(1, 65) if b == a * n), None)
        if factor is None:
            return None
        found.append(factor)
    return found[0], found[1]


def enlarges(checked: Checked, up: Node) -> bool:
    """Whether a resize makes its map larger, at the sizes figures are quoted at."""
    known = shapes(checked, bind(checked, reference_sizes(checked)))
    small, large = known[up.inputs[0]][2:], known[Ref(up.name)][2:]
    return all(a <= b for a, b in zip(small, large, strict=True)) and small != large
