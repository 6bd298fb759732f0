"""Patterns in a graph that an optimisation or a transform changes, and what to put in their place.

Both ask here, so that what is exact is decided once: optimisations for the deploy module,
transforms where a spec asks for the same in its trained module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from segc.ir import Graph, Node, Ref
from segc.op import Op
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.ops.fused_unpool import UnpoolConv2d, UnpoolConvTranspose2d
from segc.ops.pool import MaxPool2d
from segc.ops.resize import Interpolate
from segc.ops.unpool import MaxUnpool2d

Nodes = tuple[Node, ...]


def made_by(graph: Graph, ref: Ref, *ops: str) -> Node | None:
    """The layer that makes a value, if it is one of these operators and really there."""
    node = graph.by_name.get(ref.node)
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


def layer(like: Node, name: str, op: Op, *inputs: Ref) -> Node:
    """A new layer at the place of another one."""
    op.validate()
    return Node(name, op, inputs, like.loc, only=like.only)


def convolution(node: Node) -> Conv2d | None:
    """The operator of a plain conv2d layer, None for any other."""
    return node.op if isinstance(node.op, Conv2d) and node.op.name == "conv2d" else None


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


# --- 1x1 convolution behind a resize ----------------------------------------------------------


def commuted(graph: Graph, node: Node) -> Nodes | str | None:
    """A 1x1 convolution of a resized map as one of the map before, resized behind it.

    The layers that take its place; why it is not exact; None for any other layer.
    """
    op = convolution(node)
    up = made_by(graph, node.inputs[0], "interpolate") if op else None
    if op is None or up is None or op.kernel_size != (1, 1):
        return None
    assert isinstance(up.op, Interpolate)
    why = plain_window(op)
    if sides(op) != ((0, 0), (0, 0)):
        why = why or "it pads"
    if up.op.antialias or up.op.mode == "area":
        why = why or f"`{up.name}` averages over a window"
    if why:
        return why
    conv = replace(node, inputs=up.inputs[:1], input_locs=up.input_locs[:1])
    moved = layer(node, beside(graph, node, "up"), up.op, Ref(node.name), *up.inputs[1:])
    return conv, moved


# --- convolution behind a max unpooling -------------------------------------------------------


def fused_unpool(graph: Graph, node: Node) -> Nodes | str | None:
    """A convolution and the max unpooling it reads as one layer with the same weights.

    The layer that takes its place; why that is not possible; None for any other layer.
    """
    op = node.op
    if op.name not in ("conv2d", "conv_transpose2d"):
        return None
    unpool = made_by(graph, node.inputs[0], "max_unpool2d")
    pool = made_by(graph, unpool.inputs[1], "max_pool2d") if unpool else None
    if unpool is None or pool is None:
        return None
    assert isinstance(op, (Conv2d, ConvTranspose2d)) and isinstance(unpool.op, MaxUnpool2d)
    why = _overlapping(pool, unpool, unpool.op) or _odd_convolution(op)
    if read_elsewhere(graph, unpool, node):
        why = why or f"the unpooled map of `{unpool.name}` is read elsewhere too"
    if why:
        return why
    return (_fused(node, op, unpool, unpool.op),)


def _fused(node: Node, op: Conv2d | ConvTranspose2d, unpool: Node, unpooling: MaxUnpool2d) -> Node:
    cls = UnpoolConv2d if isinstance(op, Conv2d) else UnpoolConvTranspose2d
    own = ("out_channels", "kernel_size", "padding", "dilation", "bias")
    values = {n: op.values[n] for n in own if n in op.values}
    if "size" in unpooling.values:
        values["size"] = unpooling.values["size"]
    locs = {n: loc for n, loc in node.attr_locs.items() if n in values}
    locs |= {n: loc for n, loc in unpool.attr_locs.items() if n == "size"}
    return replace(
        node,
        op=cls(**values, window=unpooling.steps),
        inputs=unpool.inputs,
        input_locs=unpool.input_locs,
        attr_locs=locs,
    )


def _overlapping(pool: Node, unpool: Node, op: MaxUnpool2d) -> str | None:
    """Why two values might go to one place, or a value beside the window it came from."""
    assert isinstance(pool.op, MaxPool2d)
    for name, window in ((pool.name, pool.op), (unpool.name, op)):
        if window.steps != window.kernel_size:
            return f"the windows of `{name}` overlap or leave gaps: its stride is not its size"
        if window.padding != (0, 0):
            return f"`{name}` pads"
    if pool.op.dilation != (1, 1):
        return f"the windows of `{pool.name}` overlap: they are dilated"
    if pool.op.kernel_size != op.kernel_size:
        return f"`{pool.name}` and `{unpool.name}` have different windows"
    return None


def _odd_convolution(op: Conv2d | ConvTranspose2d) -> str | None:
    """Why the fused layer does not do what a convolution does."""
    if op.stride != (1, 1):
        return "the convolution has a stride"
    if op.groups != 1:
        return "the convolution has groups"
    if isinstance(op, Conv2d):
        return plain_window(op)
    return "the convolution has an output padding" if op.output_padding != (0, 0) else None
