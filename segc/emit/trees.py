"""Code trees of operators as slots: what has to agree between instances, and what may differ.

A slot is a plain value inside a tree. Two instances of a block have trees of one *form*; the
values found in their slots, side by side, are what the emitter turns into literals or parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from segc.code import At, ByPhase, Call, Infix, Listing, Method, Self, SizeOf, X

Slot = tuple[str | int, ...]  # the way to a value: argument numbers and keyword names
NODES = (At, ByPhase, Call, Infix, Listing, Method, Self, SizeOf, X)


@dataclass(frozen=True, slots=True)
class Hole:
    """The place of a slot in a tree whose values have been taken out."""

    slot: Slot


def is_tree(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(is_tree(v) for v in value)
    return isinstance(value, NODES)


def form(tree: Any) -> Any:
    """A hashable outline: functions, operands and keyword names, without the values."""
    if isinstance(tree, Call):
        given = tuple(sorted(k for k in tree.kwargs if k not in tree.defaults))
        func = "self" if isinstance(tree.func, Self) else tree.func
        inner = tuple((k, form(v)) for k, v in sorted(tree.kwargs.items()) if is_tree(v))
        return "call", func, tuple(form(a) for a in tree.args), given, inner
    if isinstance(tree, Infix):
        return "infix", tree.operator, tuple(form(i) for i in tree.items)
    if isinstance(tree, At):
        return "at", form(tree.obj), form(tree.index)
    if isinstance(tree, ByPhase):
        return "phase", form(tree.train), form(tree.test)
    if isinstance(tree, Listing):
        return "list", tuple(form(i) for i in tree.items)
    if isinstance(tree, Method):
        return "method", form(tree.obj), tree.name, tuple(form(a) for a in tree.args)
    if isinstance(tree, tuple) and is_tree(tree):
        return "tuple", tuple(form(v) for v in tree)
    if isinstance(tree, (X, SizeOf, Self)):
        return tree
    return "value"


def slots(tree: Any, way: Slot = ()) -> Iterator[tuple[Slot, Any, Any]]:
    """Every (way, value, default) of a tree; the default NONE where it is always given."""
    if isinstance(tree, Call):
        for n, arg in enumerate(tree.args):
            yield from _slot((*way, n), arg, NONE)
        for key in {**tree.defaults, **tree.kwargs}:
            default = tree.defaults.get(key, NONE)
            yield from _slot((*way, key), tree.kwargs.get(key, default), default)
    elif isinstance(tree, At):
        yield from slots(tree.obj, (*way, "."))
        yield from _slot((*way, 0), tree.index, NONE)
    elif isinstance(tree, ByPhase):
        yield from _slot((*way, "train"), tree.train, NONE)
        yield from _slot((*way, "test"), tree.test, NONE)
    elif isinstance(tree, Method):
        yield from slots(tree.obj, (*way, "."))
        for n, arg in enumerate(tree.args):
            yield from _slot((*way, n), arg, NONE)
    elif isinstance(tree, (Infix, Listing)):
        for n, item in enumerate(tree.items):
            yield from _slot((*way, n), item, NONE)
    elif isinstance(tree, tuple) and is_tree(tree):
        for n, item in enumerate(tree):
            yield from _slot((*way, n), item, NONE)


class _None:
    def __repr__(self) -> str:
        return "NONE"


NONE = _None()


def _slot(way: Slot, value: Any, default: Any) -> Iterator[tuple[Slot, Any, Any]]:
    if is_tree(value):
        yield from slots(value, way)
    else:
        yield way, value, default


def operands(tree: Any) -> Iterator[X | SizeOf]:
    """The operands a tree reads, in order, repeats included."""
    if isinstance(tree, (X, SizeOf)):
        yield tree
    elif isinstance(tree, Call):
        for arg in (*tree.args, *tree.kwargs.values()):
            yield from operands(arg)
    elif isinstance(tree, Method):
        for arg in (tree.obj, *tree.args):
            yield from operands(arg)
    elif isinstance(tree, (At, ByPhase)):
        for arg in _pair(tree):
            yield from operands(arg)
    elif isinstance(tree, (Infix, Listing)):
        for item in tree.items:
            yield from operands(item)
    elif isinstance(tree, tuple):
        for item in tree:
            yield from operands(item)


def _pair(tree: At | ByPhase) -> tuple[Any, Any]:
    return (tree.obj, tree.index) if isinstance(tree, At) else (tree.train, tree.test)


def functions(tree: Any) -> Iterator[str]:
    """Dotted names a tree calls."""
    if isinstance(tree, Call):
        if isinstance(tree.func, str):
            yield tree.func
        for arg in (*tree.args, *tree.kwargs.values()):
            yield from functions(arg)
    elif isinstance(tree, Method):
        for arg in (tree.obj, *tree.args):
            yield from functions(arg)
    elif isinstance(tree, (At, ByPhase)):
        for arg in _pair(tree):
            yield from functions(arg)
    elif isinstance(tree, (Infix, Listing)):
        for item in tree.items:
            yield from functions(item)
    elif isinstance(tree, tuple):
        for item in tree:
            yield from functions(item)


def filled(tree: Any, way: Slot, value: Callable[[Slot, Any, Any], Any]) -> Any:
    """The tree with `value(way, old, default)` in every slot; DROP leaves a keyword out."""
    if isinstance(tree, Call):
        args = tuple(_fill((*way, n), a, NONE, value) for n, a in enumerate(tree.args))
        kwargs = {}
        for key in {**tree.defaults, **tree.kwargs}:
            default = tree.defaults.get(key, NONE)
            new = _fill((*way, key), tree.kwargs.get(key, default), default, value)
            if new is not DROP:
                kwargs[key] = new
        ordered = [k for k in tree.kwargs if k in kwargs]
        ordered += [k for k in kwargs if k not in tree.kwargs]
        return Call(tree.func, args, {k: kwargs[k] for k in ordered})
    if isinstance(tree, At):
        obj = filled(tree.obj, (*way, "."), value)
        return At(obj, _fill((*way, 0), tree.index, NONE, value))
    if isinstance(tree, ByPhase):
        train = _fill((*way, "train"), tree.train, NONE, value)
        return ByPhase(train, _fill((*way, "test"), tree.test, NONE, value))
    if isinstance(tree, Method):
        args = tuple(_fill((*way, n), a, NONE, value) for n, a in enumerate(tree.args))
        return Method(filled(tree.obj, (*way, "."), value), tree.name, args)
    if isinstance(tree, (Infix, Listing)):
        items = tuple(_fill((*way, n), i, NONE, value) for n, i in enumerate(tree.items))
        return Infix(tree.operator, items) if isinstance(tree, Infix) else Listing(items)
    if isinstance(tree, tuple) and is_tree(tree):
        return tuple(_fill((*way, n), i, NONE, value) for n, i in enumerate(tree))
    return tree


DROP = object()


def _fill(way: Slot, old: Any, default: Any, value: Callable[[Slot, Any, Any], Any]) -> Any:
    return filled(old, way, value) if is_tree(old) else value(way, old, default)
