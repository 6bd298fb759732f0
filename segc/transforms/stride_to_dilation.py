"""stride_to_dilation: keep resolution by running strided layers dense and dilating what follows.

Let L be a layer of stride s. Run with stride 1 it computes the strided result at every s-th pixel
and the values between. A later layer that reads neighbours one pixel apart must then read them s
pixels apart: dilation d becomes s*d and padding p becomes s*p. Weights are untouched, and the dense
output sampled every s pixels equals the strided network's (exactly, borders included).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from segc.ir import Graph, Node, Ref
from segc.op import Op, Problem, attr
from segc.transforms.base import Transform, transform

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
    Caffe and TensorFlow models, PSPNet).
    """

    layers: str = attr("the group of layers to convert")
    output_stride: int = attr("largest stride kept", min=1)
    first_block: str = attr(
        "dilation of the layer that loses its stride", "keep", choices=("keep", "dilate")
    )

    def apply(self, graph: Graph) -> Graph:
        inside = f"{self.layers}."
        if self.layers not in graph.scopes:
            message = f"`{self.layers}` is not a group of layers"
            raise Problem("SEG301", message, attr="layers")
        rates: dict[Ref, _Rate] = {}
        nodes = []
        for node in graph.nodes:
            if node.name.startswith(inside):
                node = self._convert(node, rates)
            nodes.append(node)
        return graph.with_nodes(tuple(nodes))

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
