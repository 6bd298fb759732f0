"""The numbers of a picture, from the compiler: shapes at one input size, strides, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from segc.analyse import Row, Shape, Sizes, is_view, reference_sizes, shapes, table
from segc.check import Checked
from segc.ir import Node, Ref
from segc.phases import without
from segc.types import Index

ROUND = Fraction(5, 4)  # strides nearer than this ratio to a network's own count as equal


@dataclass(frozen=True)
class Facts:
    """What is known of every value at the picture's input size.

    `strides` holds the output stride of each layer in input pixels (rows), rounded to the strides
    that the network's own windows make. `source` follows values that are handed on unchanged.
    """

    checked: Checked
    sizes: Sizes
    shapes: Mapping[Ref, Shape]
    strides: Mapping[str, Fraction]
    params: Mapping[str, int]
    total: int
    alias: Mapping[Ref, Ref]

    def source(self, ref: Ref) -> Ref:
        """The value behind layers that are absent or change nothing."""
        return self.alias.get(ref, ref)

    def shape_text(self, ref: Ref) -> str:
        """`64 × 256²`, `64 × 360 × 480`; the batch is never shown."""
        dims = self.shapes.get(ref, ())[1:]
        if len(dims) == 3 and dims[1] == dims[2]:
            return f"{dims[0]} × {dims[1]}²"
        return " × ".join(map(str, dims))

    def size(self, ref: Ref) -> tuple[int, int] | None:
        """Height and width of a map."""
        shape = self.shapes.get(ref, ())
        return (shape[2], shape[3]) if len(shape) == 4 else None

    def is_index(self, ref: Ref) -> bool:
        return isinstance(self.checked.types.get(ref), Index)


def gather(checked: Checked, sizes: Sizes | None = None) -> Facts:
    """All numbers at `sizes`, or at a good size the network accepts.

    Raises Fail (SEG213) where the network does not accept the sizes.
    """
    total = table(checked).totals.params
    checked = without(checked, ("checkpoint",))  # a picture shows what computes
    sizes = sizes or reference_sizes(checked)
    rows = table(checked, sizes)
    concrete = shapes(checked, _env(checked, sizes))
    alias: dict[Ref, Ref] = {}
    for row in rows.rows:
        if row.node.inputs and is_view(checked, row.node):
            first = row.node.inputs[0]
            alias[Ref(row.node.name)] = alias.get(first, first)
    steps = {r.node.name: r.stride[0] for r in rows.rows if r.stride and _local(r)}
    params = {r.node.name: r.params for r in rows.rows}
    return Facts(
        checked, sizes, concrete, _rounded(checked, steps, concrete), params,
        total, alias,
    )  # fmt: skip


def data_inputs(node: Node) -> tuple[Ref, ...]:
    """The operands whose values flow through a layer: without those that only lend their size."""
    op = node.op
    plain = node.inputs[: len(node.inputs) - len(op.extra)]
    if op.operands and op.operands[-1].startswith("*"):
        return plain
    named = zip(plain, op.operands, strict=False)
    return tuple(ref for ref, name in named if name not in ("reference", "like"))


def _local(row: Row) -> bool:
    """False where the field is the whole map: such a layer has no step of its own."""
    return row.receptive_field is not None and None not in row.receptive_field


def _env(checked: Checked, sizes: Sizes) -> dict[str, int]:
    env: dict[str, int] = {}
    for name, declared in checked.graph.inputs.items():
        for want, got in zip(declared.shape, sizes[name], strict=True):
            if isinstance(want, str):
                env[want] = got
    return env


# --- rows -----------------------------------------------------------------------------------
def _rounded(
    checked: Checked, steps: Mapping[str, Fraction], concrete: Mapping[Ref, Shape]
) -> dict[str, Fraction]:
    """The output stride of each layer, rounded to strides the network has already."""
    grid = _Grid(steps, concrete)
    for name in checked.graph.inputs:
        grid.put(Ref(name), Fraction(1))
        grid.sources.add(Ref(name))
    for node in checked.graph.nodes:
        grid.visit(node)
    return {ref.node: stride for ref, stride in grid.strides.items()}


class _Grid:
    """Follows strides through a graph.

    A value that was pooled to a fixed size (or is no map) has left the grid; it keeps the stride
    it had before, and is back as soon as a map has a size that is known.
    """

    def __init__(self, steps: Mapping[str, Fraction], concrete: Mapping[Ref, Shape]) -> None:
        self.steps, self.concrete = steps, concrete
        self.strides: dict[Ref, Fraction] = {}
        self.known: list[Fraction] = []
        self.lost: set[Ref] = set()
        self.sizes: dict[Shape, Fraction] = {}
        self.sources: set[Ref] = set()  # the network's inputs

    def put(self, ref: Ref, stride: Fraction, lost: bool = False) -> None:
        self.strides[ref] = stride
        if stride not in self.known:
            self.known = sorted([*self.known, stride])
        if lost:
            self.lost.add(ref)
        elif len(self.concrete.get(ref, ())) == 4:
            self.sizes.setdefault(self.concrete[ref][2:], stride)

    def visit(self, node: Node) -> None:
        out = Ref(node.name)
        size = self.concrete.get(out, ())[2:]
        operands = [r for r in data_inputs(node) if r in self.strides]
        sound = [r for r in operands if r not in self.lost]
        near = min((self.strides[r] for r in sound or operands), default=Fraction(1))
        if len(size) != 2 or (node.op.style.family == "context"):
            stride, lost = near, True
        elif not sound:
            stride, lost = self.sizes.get(size, near), bool(operands) and size not in self.sizes
        else:
            stride, lost = self._scaled(node, sound[0], near), False
        for port in node.op.ports:
            self.put(Ref(node.name, port), stride, lost)

    def _scaled(self, node: Node, source: Ref, near: Fraction) -> Fraction:
        """The stride behind a window, a pooling or a resizing."""
        if len(data_inputs(node)) > 1 and node.op.style.family == "merge":
            return near
        step, before = self.steps.get(node.name), self.steps.get(source.node)
        if source.node not in self.steps and source in self.sources:
            before = Fraction(1)
        if step is not None and before is not None:
            stride = near * step / before
        else:
            stride = near * self._ratio(source, Ref(node.name))
        return next((s for s in self.known if _close(stride, s)), stride)

    def _ratio(self, source: Ref, out: Ref) -> Fraction:
        """How much smaller the map becomes, as a whole number or one over it."""
        before, after = self.concrete[source][2], self.concrete[out][2]
        if before >= after:
            return Fraction(max(1, round(before / after)))
        return Fraction(1, round(after / before))


def _close(a: Fraction, b: Fraction) -> bool:
    return a * ROUND > b and b * ROUND > a
