"""Runs an operator on rows in torch and holds the shapes it derives against those that come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from op_torch import NAMESPACE, Built
from torch import Tensor

from segc.dim import DimLike, evaluate, symbol, symbols
from segc.op import Op, Problem
from segc.ops import REGISTRY
from segc.rows import RowSets, phases_of
from segc.types import Boxes, Match, Pick, Type
from segc.types import Tensor as Shaped

NAMESPACE.setdefault("ops", torchvision.ops)


class Rows:
    """The `Need` of an operator on rows: row sets are symbols, other sizes numbers."""

    def __init__(self, only: str | None = None) -> None:
        self.sets, self.only = RowSets(), only

    def rows(self, bound: DimLike | None, of: DimLike | None = None, port: str = "") -> DimLike:
        return self.sets.new("made", bound, of, port=port)

    def joined(self, train: DimLike, test: DimLike) -> DimLike:
        return self.sets.new("made", None, None, {"train": train, "test": test})

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        for phase in phases_of(self.only):
            if self.sets.project(a, phase) != self.sets.project(b, phase):
                raise problem

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        if isinstance(a, int) and a < minimum:
            raise problem

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        if isinstance(a, int) and a % of:
            raise problem


def rows(name: str) -> DimLike:
    """A row set by name."""
    return symbol(name)


def tensor(*shape: DimLike, dtype: str = "float") -> Shaped:
    return Shaped(tuple(shape), dtype)


def boxes(name: DimLike | str, legacy: bool = False, frame: str = "image") -> Boxes:
    return Boxes((symbol(name) if isinstance(name, str) else name, 5), legacy, frame)


def pick(new: str, source: str | DimLike) -> Pick:
    return Pick((symbol(new),), symbol(source) if isinstance(source, str) else source)


def match(name: str | DimLike, target: str = "G") -> Match:
    return Match((symbol(name) if isinstance(name, str) else name,), symbol(target))


def made(name: str, types: Sequence[Type], need: Rows | None = None, **attrs: Any) -> list[Type]:
    """The types an operator derives; raises its Problem."""
    op = build(name, **attrs)
    found = op.infer(need or Rows(), *types)
    return list(found) if isinstance(found, tuple) else [found]


def build(name: str, **attrs: Any) -> Op:
    op = REGISTRY[name](**attrs)
    op.validate()
    return op


def run(
    name: str, values: Sequence[Tensor], types: Sequence[Type], training: bool = True, **attrs: Any
) -> Any:
    """What the operator computes; what it derives is compared with what comes out."""
    op = build(name, **attrs)
    derived = made(name, types, **attrs)
    module = Built(op, types)
    module.train(training)
    result = module(*values)
    given: dict[str, int] = {}
    for value, kind in zip(values, types, strict=True):
        assert not isinstance(kind, (Boxes,)) or value.shape[1:] == (5,)
        _bind(given, kind, value)
    outputs = result if isinstance(result, tuple) else (result,)
    assert len(outputs) == len(derived) == len(op.ports)
    for kind, value in zip(derived, outputs, strict=True):
        _bind(given, kind, value)
        assert isinstance(kind, (Shaped, Boxes, Pick, Match))
        if isinstance(kind, (Pick, Match)) or getattr(kind, "dtype", "") == "int":
            assert value.dtype == torch.int64, (name, value.dtype)
    return result


def _bind(given: dict[str, int], kind: Any, value: Tensor) -> None:
    """Sizes that are a symbol alone settle it; all others must come out."""
    assert value.dim() == len(kind.shape), (kind, value.shape)
    for d, size in zip(kind.shape, value.shape, strict=True):
        names = [] if isinstance(d, int) else sorted(symbols(d))
        if len(names) == 1 and names[0] not in given and symbol(names[0]) == d:
            given[names[0]] = size
        elif all(n in given for n in names):
            assert evaluate(d, given) == size, (kind, tuple(value.shape), given)
