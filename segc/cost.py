"""The cost model: multiply-accumulates and bytes moved, weighed by a machine's balance.

A layer takes macs / pace + balance * bytes, in the time of one multiply-accumulate of a convolution
with a window; pace is less than 1 for operators that multiply less well. `balance` is how
many multiply-accumulates the machine makes while it moves one byte to or from memory: about 6 on
one x86 core (55 GMAC/s in float32 convolutions, 10 GB/s), about 100 on a large GPU. Bytes are
those of the operands, the weights and the result in float32, each once: layers are not fused.
Operators with a kernel for GPUs only move more on a CPU (`scratch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from segc.analyse import BYTES, Shape, bind, reference_sizes, shapes
from segc.check import Checked
from segc.dim import DimLike
from segc.ir import Graph, Node, Ref
from segc.op import Problem
from segc.rewrite import Rewrite
from segc.rows import CountedRows
from segc.types import Type, Unknown

CPU_BALANCE = 6.0  # multiply-accumulates per byte
GPU_BALANCE = 30.0  # a machine of at least this balance is taken for a GPU


@dataclass(frozen=True, slots=True)
class Cost:
    """Work of one or more layers."""

    macs: int = 0
    bytes: int = 0
    work: float = 0.0  # time of the multiply-accumulates, in those of a convolution

    def __add__(self, other: Cost) -> Cost:
        macs, size = self.macs + other.macs, self.bytes + other.bytes
        return Cost(macs, size, self.work + other.work)

    def time(self, balance: float) -> float:
        """In multiply-accumulates."""
        return self.work + balance * self.bytes


class Prices:
    """What layers of one checked network cost at its reference input size.

    balance: of the machine, which says whether it has the kernels of GPUs.
    """

    def __init__(self, checked: Checked, balance: float = CPU_BALANCE) -> None:
        self.checked, self.graph = checked, checked.graph
        self.on_gpu = balance >= GPU_BALANCE
        self.sizes = shapes(checked, bind(checked, reference_sizes(checked)))
        self.types: dict[Ref, Type] = {
            ref: _sized(checked.types[ref], shape) for ref, shape in self.sizes.items()
        }

    def edit(self, edit: Rewrite) -> tuple[Cost, Cost]:
        """What an edit takes away and what it brings."""
        new = [n for nodes in edit.put.values() for n in nodes]
        read = {r for n in new for r in n.inputs} | set(edit.instead.values())
        gone = _gone(self.graph, edit, read)
        before = sum((self.layer(n, self.types) for n in gone), Cost())
        types = dict(self.types)
        after = Cost()
        for node in new:
            self._infer(node, types)
            after += self.layer(node, types)
        return before, after

    def _infer(self, node: Node, types: dict[Ref, Type]) -> None:
        results = node.op.infer(_Willing(), *(types[r] for r in node.inputs))
        results = results if isinstance(results, tuple) else (results,)
        types.update(zip((Ref(node.name, p) for p in node.op.ports), results, strict=True))

    def layer(self, node: Node, types: Mapping[Ref, Type]) -> Cost:
        """What one layer costs, given the concrete types around it."""
        if node.absent:
            return Cost()
        operands = [types[r] for r in node.inputs]
        output = _shape(types[Ref(node.name)])
        inputs = tuple(_shape(t) for t in operands)
        weights = sum(prod(_ints(p.shape)) for p in node.op.parameters(*operands))
        if node.op.view or node.op.identity(*operands):
            return Cost()
        written = 0 if node.op.in_place else prod(output)
        values = sum(map(prod, inputs)) + written + weights
        if not self.on_gpu:
            values += node.op.scratch(inputs, output)
        macs = node.op.macs(inputs, output)
        return Cost(macs, BYTES * values, macs / node.op.pace)


def _gone(graph: Graph, edit: Rewrite, read: set[Ref]) -> list[Node]:
    """The layers an edit replaces or drops, and those that nobody reads afterwards."""
    gone = set(edit.touched)
    outputs = set(graph.outputs.values())
    again = True
    while again:
        again = False
        for name in list(gone):
            for ref in graph.by_name[name].inputs:
                if ref.node not in graph.by_name or ref.node in gone:
                    continue
                values = [Ref(ref.node, p) for p in graph.by_name[ref.node].op.ports]
                readers = {n.name for v in values for n in graph.users.get(v, ())}
                if readers <= gone and not any(v in read or v in outputs for v in values):
                    gone.add(ref.node)
                    again = True
    return [n for n in graph.nodes if n.name in gone]


class _Willing(CountedRows):
    """The `Need` of op.py for sizes already known to fit."""

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        """Nothing is demanded."""

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        """Nothing is demanded."""

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        """Nothing is demanded."""


def _sized(kind: Type, shape: Shape) -> Type:
    return kind if isinstance(kind, Unknown) else replace(kind, shape=shape)


def _shape(kind: Type) -> Shape:
    assert not isinstance(kind, Unknown)
    return _ints(kind.shape)


def _ints(shape: tuple[DimLike, ...]) -> Shape:
    return tuple(d for d in shape if isinstance(d, int))
