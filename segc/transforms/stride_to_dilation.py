"""stride_to_dilation: keep resolution by running strided layers dense and dilating what follows.

Let L be a layer of stride s. Run with stride 1 it computes the strided result at every s-th pixel
and the values between. A later layer that reads neighbours one pixel apart must then read them s
pixels apart: dilation d becomes s*d and padding p becomes s*p. Weights are untouched, and the dense
output sampled every s pixels equals the strided network's (exactly, borders included).

`multi_grid` multiplies dilation and padding of every window in block i of the last converted stage
by the i-th number first, d -> m*d and p -> m*p, and converts then: the result is exact in the same
sense for the strided network whose blocks have those dilations (Chen et al. 2017, section 3.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from segc.ir import Graph, Node, Ref, Scope
from segc.op import Ints, Op, Problem, attr
from segc.transforms.base import Transform, members, transform, within

Pair = tuple[int, int]
# Families whose operators treat every pixel alike. Norms over the map are among them: they see all
# pixels of the dense map instead of every s-th, and are converted like this in practice.
POINTWISE = ("act", "dropout", "merge", "norm")


@dataclass(frozen=True, slots=True)
class _Rate:
    """What has happened to a value: its stride now, and the factor its readers dilate by."""

    stride: int = 1
    factor: int = 1


@transform("stride_to_dilation")
class StrideToDilation(Transform):
    """Turn the strides past an output stride into dilations (Chen et al. 2015, "a trous").

    layers: the group to convert, for example `backbone`. output_stride: the largest stride kept.
    first_block: implementations differ in the layer that loses its stride. `keep` leaves its own
    dilation (torchvision; exact in the sense above), `dilate` gives it the new one at once (the
    Caffe and TensorFlow models, PSPNet). multi_grid: [1, 2, 4] multiplies the dilations of the
    three blocks of the last stage that lost a stride (DeepLab v3).
    """

    layers: str | None = attr("the group of layers to convert; default: all", None)
    output_stride: int = attr("largest stride kept", min=1)
    first_block: str = attr(
        "dilation of the layer that loses its stride", "keep", choices=("keep", "dilate")
    )
    multi_grid: Ints | None = attr(
        "factors of the dilation, one for each block of the last converted stage", None, min=1
    )

    def apply(self, graph: Graph) -> Graph:
        members(graph, self.layers)  # it must exist
        if self.multi_grid is not None:
            graph = self._gridded(graph, self.multi_grid)
        return self._converted(graph)

    def _converted(self, graph: Graph) -> Graph:
        rates: dict[Ref, _Rate] = {}
        nodes = tuple(
            self._convert(n, rates) if within(n.name, self.layers) else n for n in graph.nodes
        )
        return graph.with_nodes(nodes)

    # --- multi-grid ---------------------------------------------------------------------------
    def _gridded(self, graph: Graph, grid: tuple[int, ...]) -> Graph:
        """The graph with the dilations of each block of the last stage times its number."""
        stage = self._last_stage(graph)
        blocks = [f"{stage.path}.{name}" for name in stage.children]
        if len(blocks) != len(grid):
            message = f"`{stage.path}` has {len(blocks)} blocks, multi_grid {len(grid)} numbers"
            raise Problem("SEG210", message, attr="multi_grid")
        factors = dict(zip(blocks, grid, strict=True))
        nodes = []
        for node in graph.nodes:
            factor = next((f for block, f in factors.items() if within(node.name, block)), 1)
            windowed = factor > 1 and _stride(node) is not None
            nodes.append(replace(node, op=_dilated(node, factor)) if windowed else node)
        return graph.with_nodes(tuple(nodes))

    def _last_stage(self, graph: Graph) -> Scope:
        """The innermost group made of blocks around the last layer that loses its stride."""
        plain = self._converted(graph)
        pairs = zip(graph.nodes, plain.nodes, strict=True)
        lost = [a for a, b in pairs if (_stride(a) or 1) != (_stride(b) or 1)]
        if not lost:
            message = f"no layer loses its stride at output stride {self.output_stride}, "
            raise Problem("SEG210", f"{message}so no stage has a grid", attr="multi_grid")
        path = lost[-1].scope
        while path and within(path, self.layers):
            scope = graph.scopes[path]
            if all(f"{path}.{name}" in graph.scopes for name in scope.children):
                return scope
            path = path.rpartition(".")[0]
        message = f"`{lost[-1].name}` loses its stride and lies in no stage made of blocks"
        raise Problem("SEG210", message, attr="multi_grid")

    # --- one layer ----------------------------------------------------------------------------
    def _convert(self, node: Node, rates: dict[Ref, _Rate]) -> Node:
        before = _joined(node, rates)
        op, after = self._rewritten(node, before)
        try:
            op.validate()
        except Problem as problem:  # torch pads a pooling by half its window, however dilated
            raise _cannot(node, f"would get {problem.message}") from None
        for port in op.ports:
            rates[Ref(node.name, port)] = after
        return node if op is node.op else replace(node, op=op)

    def _rewritten(self, node: Node, rate: _Rate) -> tuple[Op, _Rate]:
        stride = _stride(node)
        if stride is None:
            return _carried(node, rate), rate
        lost = rate.stride * stride > self.output_stride
        factor = rate.factor * stride if lost and self.first_block == "dilate" else rate.factor
        op = _dilated(node, factor)
        if not lost:
            return op, _Rate(rate.stride * stride, rate.factor)
        if stride > 1 and getattr(op, "ceil_mode", False):
            raise _cannot(node, "with `ceil_mode` has a window at the end that a dense one lacks")
        return op.replace(stride=(1, 1)), _Rate(rate.stride, rate.factor * stride)


def _joined(node: Node, rates: dict[Ref, _Rate]) -> _Rate:
    found = {rates.get(ref, _Rate()) for ref in node.inputs}
    if len(found) > 1:
        message = f"`{node.name}` joins branches of different stride; convert them together"
        raise Problem("SEG203", message)
    return found.pop() if found else _Rate()


def _cannot(node: Node, why: str) -> Problem:
    return Problem("SEG210", f"`{node.name}`: {node.op.name} {why}, so it cannot be converted")


def _stride(node: Node) -> int | None:
    """The stride of a sliding window, None for operators without one."""
    op = node.op
    if op.style.family == "up" or "stride" not in op.attrs or "kernel_size" not in op.attrs:
        return None
    stride: Any = getattr(op, "stride", None) or getattr(op, "kernel_size", None)
    if stride[0] != stride[1]:
        raise _cannot(node, f"has a stride of {stride[0]} x {stride[1]}")
    return int(stride[0])


def _carried(node: Node, rate: _Rate) -> Op:
    """An operator without a stride, on a map whose neighbours have moved `factor` pixels apart."""
    op = node.op
    if op.style.family in ("up", "down"):
        raise _cannot(node, "changes the resolution in its own way")
    if rate.factor == 1:
        return op
    if op.name == "pad" and getattr(op, "mode", "") == "constant":
        return op.replace(padding=tuple(p * rate.factor for p in getattr(op, "padding", ())))
    everywhere = op.family in POINTWISE or op.name in ("identity", "scale", "channel_shuffle")
    if not everywhere or getattr(op, "dim", 1) in (2, 3, -1, -2):
        raise _cannot(node, "looks at where pixels are")
    return op


def _dilated(node: Node, factor: int) -> Op:
    """The same taps, `factor` pixels further apart; what is padded grows with them."""
    op = node.op
    kernel: Pair = getattr(op, "kernel_size", (1, 1))
    padding: Pair | str = getattr(op, "padding", (0, 0))
    if factor == 1 or (kernel == (1, 1) and padding in ((0, 0), "same")):
        return op
    if "dilation" not in op.attrs:
        raise _cannot(node, "has no dilation")
    if getattr(op, "padding_mode", "zeros") != "zeros":
        raise _cannot(node, "repeats pixels of the border")
    dilation: Pair = getattr(op, "dilation", (1, 1))
    changes: dict[str, Any] = {"dilation": (dilation[0] * factor, dilation[1] * factor)}
    if not isinstance(padding, str):
        changes["padding"] = (padding[0] * factor, padding[1] * factor)
    return op.replace(**changes)
