"""convolutionalise: linear layers behind a flatten become convolutions.

A flatten of a map [C, h, w] followed by a linear layer computes, with r = (c*h + i)*w + j,

    y[o] = bias[o] + sum over r of weight[o, r] * x[c, i, j].

That is a convolution whose window is the whole map: kernel h x w, no padding, and its weight is
weight.view(O, C, h, w). Its value is a map of 1 x 1, on which a further linear layer is the 1 x 1
convolution with weight.view(O, I, 1, 1). The flatten is no longer needed, the number of parameters
stays, and at the size the network was trained at the values are the same. On a larger image the
convolutions slide over it: without padding in the trunk each output pixel is what the network says
of the window it sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from segc.ir import Graph, Node, Ref
from segc.op import Op, Pair, Problem, attr
from segc.transforms.base import (
    Transform,
    changed,
    members,
    transform,
    vanished,
    without_idle_inits,
)
from segc.transforms.types import Derived, derive

POINT: Pair = (1, 1)
SIZES = ("SEG203", "SEG204", "SEG205", "SEG207", "SEG211", "SEG212")  # another size may cure
DROPOUTS = ("dropout", "alpha_dropout")
ADAPTIVE = {"adaptive_avg_pool2d": "avg_pool2d", "adaptive_max_pool2d": "max_pool2d"}


@transform("convolutionalise")
class Convolutionalise(Transform):
    """Turn the linear layers behind a flatten into convolutions (Long et al. 2015).

    The first gets a kernel of the map's size at the training size, the others 1x1; the flatten
    vanishes. Weights keep their names, weight.view of the new shape loads a trained network, and
    the output is a map of scores: 1x1 at the training size, larger for larger images. An adaptive
    pooling before the flatten becomes the window it has at the training size.
    """

    size: Pair = attr("height and width of the images the network was trained on", min=1)
    layers: str | None = attr("the flatten, or the group it lies in; default: all of them", None)

    def apply(self, graph: Graph) -> Graph:
        inside = {node.name for node in members(graph, self.layers)}
        derived = derive(graph, self.size)
        self._check_size(derived)
        work = _Work(derived)
        nodes = tuple(
            work.flattened(node) if node.name in inside else work.converted(node)
            for node in graph.nodes
        )
        if not work.convolutions:
            if derived.fault:
                return graph  # told where types are checked
            where = f" in `{self.layers}`" if self.layers else ""
            message = f"there is no flatten of a map with a linear layer behind it{where}"
            raise Problem("SEG210", message, attr="layers")
        work.check_shared(nodes)
        nodes = tuple(_pooled(node, work, derived) for node in nodes)
        graph = graph.with_nodes(tuple(_with_init(n, graph) for n in nodes))
        return without_idle_inits(graph, "linear", "batch_norm1d")

    def _check_size(self, derived: Derived) -> None:
        if derived.fault and derived.fault[1].code in SIZES:
            node, problem = derived.fault
            message = f"at {self.size[0]} x {self.size[1]}, `{node.name}`: {problem.message}"
            raise Problem("SEG213", message, attr="size")


@dataclass
class _Work:
    """What has been converted so far: vectors that are maps now, and new convolutions."""

    derived: Derived
    maps: dict[Ref, Pair] = field(default_factory=dict)  # height, width at the training size
    convolutions: dict[str, Pair] = field(default_factory=dict)  # layer -> its kernel
    flattens: list[Ref] = field(default_factory=list)  # what they read

    def flattened(self, node: Node) -> Node:
        """The node, gone if it flattens a map."""
        operand = node.inputs[0] if node.inputs else Ref("")
        shape = self.derived.shape(operand)
        whole = node.op.name == "flatten" and shape is not None and len(shape) == 4
        if not whole or operand in self.maps or _axes(node.op) != (1, 3):
            return self.converted(node)
        self.maps[Ref(node.name)] = _size(node, shape)
        self.flattens.append(operand)
        return vanished(node)

    def converted(self, node: Node) -> Node:
        """The node, on maps instead of vectors if that is what it reads now."""
        found = {self.maps.get(ref) for ref in node.inputs}
        if not found - {None}:
            return node
        if len(found) > 1:
            raise _cannot(node, "joins a flattened map with another value")
        size = found.pop() or POINT
        if node.op.name == "linear":
            self.convolutions[node.name] = size
            self.maps[Ref(node.name)] = POINT
            op = node.op
            return replace(node, op=_convolution(node, op, size))
        self.maps[Ref(node.name)] = size
        op = _on_maps(node, size)
        return node if op is node.op else replace(node, op=op)

    def check_shared(self, nodes: tuple[Node, ...]) -> None:
        """Layers that share weights must have become the same convolution."""
        for node in nodes:
            mine = self.convolutions.get(node.name)
            if node.shared and self.convolutions.get(node.shared) != mine:
                raise _cannot(node, f"shares the weights of `{node.shared}`, used otherwise there")


def _axes(op: Op) -> tuple[int, int]:
    """First and last axis a flatten merges, of the four of a map."""
    return getattr(op, "start_dim", 1) % 4, getattr(op, "end_dim", -1) % 4


def _size(node: Node, shape: tuple[object, ...] | None) -> Pair:
    height, width = (shape or ())[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise _cannot(node, "flattens a map whose size does not follow from `size`")
    return height, width


def _cannot(node: Node, why: str) -> Problem:
    return Problem("SEG210", f"`{node.name}`: {node.op.name} {why}, so it cannot be converted")


def _convolution(node: Node, op: Op, size: Pair) -> Op:
    values = {k: op.values[k] for k in ("bias",) if k in op.values}
    features = getattr(op, "out_features", 1)
    return changed(node, "conv2d", out_channels=features, kernel_size=size, **values)


def _on_maps(node: Node, size: Pair) -> Op:
    """An operator of vectors as it works at every pixel; features are channels now."""
    op = node.op
    dim = getattr(op, "dim", 1)
    if dim not in (1, -1):
        raise _cannot(node, f"works along axis {dim} of the flattened values")
    if op.name == "identity" or op.name in DROPOUTS or op.family == "merge":
        return op.replace(dim=1) if "dim" in op.values else op
    if op.name == "scale" and not getattr(op, "learned", False):
        return op
    if op.family == "act" and "dim" not in op.attrs and getattr(op, "num_parameters", 1) == 1:
        return op
    if size != POINT:
        raise _cannot(node, "stands between the flatten and its linear layer")
    if op.name == "batch_norm1d":
        return changed(node, "batch_norm2d", **op.values)
    if op.family == "act" or op.name == "argmax":
        return op.replace(dim=1) if "dim" in op.values else op
    raise _cannot(node, "reads the flattened values and has no form for maps")


def _pooled(node: Node, work: _Work, derived: Derived) -> Node:
    """An adaptive pooling that a flatten reads, as the window it has at the training size."""
    if node.op.name not in ADAPTIVE or Ref(node.name) not in work.flattens:
        return node
    shape = derived.shape(node.inputs[0]) or ()
    before, after = _size(node, shape), getattr(node.op, "output_size", POINT)
    if before == after:
        return vanished(node)
    if before[0] % after[0] or before[1] % after[1]:
        what = f"{before[0]} x {before[1]} to {after[0]} x {after[1]}"
        raise _cannot(node, f"has windows of different sizes from {what}")
    window = (before[0] // after[0], before[1] // after[1])
    stride = POINT if after == POINT else window
    op = changed(node, ADAPTIVE[node.op.name], kernel_size=window, stride=stride)
    return replace(node, op=op)


def _with_init(node: Node, graph: Graph) -> Node:
    """The node with what the spec's `init` says of the operator it was."""
    old = graph.by_name[node.name].op.name
    if node.op.name == old or node.absent or old not in graph.inits:
        return node
    return replace(node, init={**graph.inits[old], **node.init})
