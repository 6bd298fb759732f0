"""Types of all values while a graph is still being made: what transforms need to know of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from segc.dim import DimLike, SizeError, symbol
from segc.ir import Graph, Node, Ref
from segc.kinds import check_kinds, input_type
from segc.op import Pair, Problem
from segc.rows import CountedRows
from segc.types import UNKNOWN, Tensor, Type, Unknown


@dataclass
class Derived:
    """Type of every value, and the first layer that does not go together with what it reads."""

    types: dict[Ref, Type] = field(default_factory=dict)
    fault: tuple[Node, Problem] | None = None

    def operands(self, node: Node) -> tuple[Type, ...]:
        """The types a layer reads."""
        return tuple(self.types.get(ref, UNKNOWN) for ref in node.inputs)

    def shape(self, ref: Ref) -> tuple[DimLike, ...] | None:
        """The shape of a tensor, None where it is none or unknown."""
        found = self.types.get(ref, UNKNOWN)
        return found.shape if isinstance(found, Tensor) else None


class _Numbers(CountedRows):
    """Demands on sizes that are numbers; what symbols must satisfy is checked later."""

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        if isinstance(a, int) and isinstance(b, int) and a != b:
            raise problem

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        if isinstance(a, int) and a < minimum:
            raise problem

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        if isinstance(a, int) and a % of:
            raise problem


def derive(graph: Graph, size: Pair | None = None) -> Derived:
    """The types of all values, for images of `size` (height, width) where it is given.

    A layer at fault has an unknown type, and so has what reads it. Raises Problem if an input
    cannot have that size.
    """
    found = Derived()
    bound = _bound(graph, size) if size else {}
    for name, declared in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else bound.get(d, symbol(d)) for d in declared.shape)
        found.types[Ref(name)] = input_type(declared, shape)
    for node in graph.nodes:
        operands = found.operands(node)
        if any(isinstance(t, Unknown) for t in operands) or not _kinds_fit(node, operands):
            continue
        try:
            results = node.op.infer(_Numbers(), *operands)
        except (Problem, SizeError) as fault:
            if found.fault is None and isinstance(fault, Problem):
                found.fault = node, fault
            continue
        made = results if isinstance(results, tuple) else (results,)
        found.types.update({Ref(node.name, p): t for p, t in zip(node.op.ports, made, strict=True)})
    return found


def _bound(graph: Graph, size: Pair) -> Mapping[str, int]:
    """The values of the symbols for the sizes of images."""
    bound: dict[str, int] = {}
    for declared in graph.inputs.values():
        if len(declared.shape) != 4:
            continue
        for d, wanted in zip(declared.shape[2:], size, strict=True):
            has = d if isinstance(d, int) else bound.setdefault(d, wanted)
            if has != wanted:
                shape = ", ".join(map(str, declared.shape))
                message = f"`{declared.name}` [{shape}] cannot be {size[0]} x {size[1]}"
                raise Problem("SEG213", message, attr="size")
    return bound


def _kinds_fit(node: Node, operands: tuple[Type, ...]) -> bool:
    try:
        check_kinds(node, list(operands))
    except Problem:
        return False
    return True
