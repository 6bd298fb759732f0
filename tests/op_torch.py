"""Runs one operator in torch: prints its expression trees as source and executes that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segc import code
from segc.dim import DimLike, Domain
from segc.op import Op, Problem
from segc.types import Index
from segc.types import Tensor as Shaped

NAMESPACE = {"torch": torch, "nn": nn, "F": F, "Tensor": Tensor, "math": math}


def printed(tree: Any) -> str:
    """A tree as Python source; operands are x0, x1, … and the own module is `layer`."""
    match tree:
        case code.X(index):
            return f"x{index}"
        case code.SizeOf(index, None):
            return f"x{index}.shape[-2:]"
        case code.SizeOf(index, axis):
            return f"x{index}.shape[{axis}]"
        case code.Self():
            return "layer"
        case code.Listing(items):
            return f"[{', '.join(map(printed, items))}]"
        case code.Infix(operator, items):
            return f" {operator} ".join(map(printed, items))
        case code.At(obj, index):
            return f"{printed(obj)}[{printed(index)}]"
        case code.ByPhase(train, _):
            return printed(train)
        case code.Method(obj, name, args):
            return f"{printed(obj)}.{name}({', '.join(map(printed, args))})"
        case code.Call():
            return printed_call(tree)
    return repr(tree)


def printed_call(tree: code.Call) -> str:
    func = printed(tree.func) if isinstance(tree.func, code.Self) else tree.func
    absent = object()
    named = [
        f"{name}={printed(value)}"
        for name, value in tree.kwargs.items()
        if tree.defaults.get(name, absent) != value
    ]
    return f"{func}({', '.join([*map(printed, tree.args), *named])})"


class Built(nn.Module):
    """The operator as the emitted module would hold and call it."""

    def __init__(self, op: Op, types: Sequence[Any]) -> None:
        super().__init__()
        self.space = dict(NAMESPACE)
        for helper in op.helpers:
            exec(helper.source, self.space)
        module = op.module(*types)
        self.layer = self.evaluated(printed(module)) if op.stateful else None
        self.code = compile(printed(op.expr(*types)), op.name, "eval")

    def evaluated(self, source: str) -> Any:
        return eval(source, self.space)

    def forward(self, *xs: Tensor) -> Any:
        names = {f"x{i}": x for i, x in enumerate(xs)}
        return eval(self.code, {**self.space, **names, "layer": self.layer})


class Numbers:
    """Demands on concrete sizes."""

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        if a != b:
            raise problem

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        assert isinstance(a, int)
        if a < minimum:
            raise problem

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        assert isinstance(a, int)
        if a % of:
            raise problem


class Symbols:
    """Demands on symbolic sizes: they narrow the domain."""

    def __init__(self) -> None:
        self.domain = Domain()

    def _narrow(self, domain: Domain, problem: Problem) -> None:
        if domain.empty:
            raise problem
        self.domain = domain

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        self._narrow(self.domain.equal(a, b), problem)

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        self._narrow(self.domain.at_least(a, minimum), problem)

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        self._narrow(self.domain.multiple(a, of), problem)


def shapes_of(result: Any) -> list[tuple[Any, ...]]:
    """The shapes of one or several results, of segc's types or torch's tensors."""
    many = result if isinstance(result, tuple) else (result,)
    return [tuple(r.shape) for r in many]


def operand_types(op: type[Op], shapes: Sequence[tuple[Any, ...]], source: Any = None) -> list[Any]:
    """Tensor types, with an Index where the operator takes one (`source`: the map it indexes)."""
    names = [*op.operands, *(n for n, a in op.attrs.items() if a.kind == "Operand")]
    names += names[-1:] * len(shapes)
    return [
        Index(shape, source, "pool") if name in op.index_operands else Shaped(shape)
        for name, shape in zip(names, shapes, strict=False)
    ]
