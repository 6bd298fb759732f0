"""What rules ask of a graph: who reads a value, whether sizes agree, names for new layers."""

from __future__ import annotations

from collections.abc import Iterable

from segc.analyse import bind, reference_sizes, shapes
from segc.check import Checked
from segc.ir import Graph, Node, Ref
from segc.op import Op
from segc.ops.conv import Conv2d
from segc.ops.resize import Interpolate


def maker(checked: Checked, ref: Ref, *ops: str) -> Node | None:
    """The layer that makes a value, if it is one of these operators and really there."""
    node = checked.graph.by_name.get(ref.node)
    return node if node and not node.absent and node.op.name in ops else None


def read_elsewhere(graph: Graph, node: Node, reader: Node) -> bool:
    """Whether anyone but one layer reads a layer's value (the network's outputs count)."""
    value = Ref(node.name)
    others = [n for n in graph.users.get(value, ()) if n.name != reader.name]
    return bool(others) or value in graph.outputs.values()


def beside(graph: Graph, node: Node, suffix: str, taken: Iterable[str] = ()) -> str:
    """A name that is free in the scope of a layer: the layer's own with a suffix."""
    wanted = f"{node.name}_{suffix}"
    if node.name.rpartition(".")[2].isdigit():
        wanted = f"{node.scope}.{suffix}" if node.scope else suffix
    name, n, used = wanted, 2, set(taken)
    while name in graph.by_name or name in graph.scopes or name in used:
        name, n = f"{wanted}{n}", n + 1
    return name


def seen_from(name: str, other: str) -> str:
    """What a layer would be called at the place of another: `pool` for aspp.pool.relu seen from
    aspp.project.conv."""
    here, there = name.split("."), other.split(".")
    while len(there) > 1 and here and here[0] == there[0]:
        here, there = here[1:], there[1:]
    return next((word for word in there if not word.isdigit()), "branch")


def layer(like: Node, name: str, op: Op, *inputs: Ref) -> Node:
    """A new layer at the place of another one."""
    op.validate()
    return Node(name, op, inputs, like.loc, only=like.only)


def convolution(node: Node) -> Conv2d | None:
    """The operator of a plain conv2d layer, None for any other."""
    return node.op if isinstance(node.op, Conv2d) and node.op.name == "conv2d" else None


def resized(checked: Checked, ref: Ref) -> tuple[Node, Interpolate] | None:
    """The layer that makes a value by interpolation, with its operator."""
    node = maker(checked, ref, "interpolate")
    return (node, node.op) if node and isinstance(node.op, Interpolate) else None


def plain_window(op: Conv2d) -> str | None:
    """Why a convolution is not a plain one (stride 1, zeros around the map); None if it is."""
    if op.stride != (1, 1):
        return "the convolution has a stride"
    return None if op.padding_mode == "zeros" else "its padding is not zeros"


def sides(op: Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels a convolution adds before and after, along height and width."""
    return op.sides(0), op.sides(1)


def reach(op: Conv2d) -> tuple[int, int]:
    """Pixels from the first tap of a window to the last, along height and width."""
    (down, right), (height, width) = op.dilation, op.kernel_size
    return down * (height - 1), right * (width - 1)


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
