"""Shapes in words: comments at line ends and the shape lines of docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from segc.dim import DimLike, ceil_div, symbol
from segc.emit.fit import Variable, agree, constant, fit
from segc.emit.params import ClassPlan
from segc.emit.structure import Occurrence, value_name
from segc.ir import Ref
from segc.types import Index, Tensor

LONGEST = 56  # characters of a shape that still tells a reader something


class Shapes:
    """Shapes of the values of one class, in the words of its parameters."""

    def __init__(self, plan: ClassPlan) -> None:
        self.plan, self.wiring = plan, plan.wiring
        self.occurrences = plan.blueprint.occurrences
        self.here = [o for o in self.occurrences if o.view.number == 0]
        self.some = (self.here or self.occurrences)[0]
        self.variables = [Variable(p.name, p.values, p.channels) for p in plan.parameters]
        if plan.is_top:
            self.variables = plan.variables()

    # --- comments -------------------------------------------------------------------------
    def comment(self, ref: Ref) -> str | None:
        """`[N, 2*width, H/2, W/2]`; None for a class of several instances."""
        if len(self.here) != 1 or self.plan.blueprint.key[0] == "block":
            return None
        shapes = self.shapes(ref)
        if shapes is None:
            return None
        words = [self._size(n, tuple(s[n] for s in shapes)) for n in range(len(shapes[0]))]
        if not words:
            return None  # a loss
        text = f"[{', '.join(w for w in words if w)}]"
        return None if None in words or len(text) > LONGEST else text

    def shapes(self, ref: Ref) -> list[tuple[DimLike, ...]] | None:
        """The shape of a value in every occurrence that has it; None if ranks differ."""
        found = []
        for owner in self.occurrences:
            value = self._type(ref, owner)
            if value is None:
                return None
            found.append(value.shape)
        return found if found and len({len(s) for s in found}) == 1 else None

    def _type(self, ref: Ref, owner: Occurrence) -> Tensor | Index | None:
        found = owner.view.checked.types.get(self.global_ref(ref, owner))
        return found if isinstance(found, (Tensor, Index)) else None

    def global_ref(self, ref: Ref, owner: Occurrence) -> Ref:
        """The value of the whole graph behind a value of the class."""
        if ref.node.startswith("@"):
            return owner.args[int(ref.node[1:])][1]
        if ref.port == "!":
            path = owner.full(ref.node)
            return owner.view.graph.scopes[path].output if path in owner.view.graph.scopes else ref
        if ref.port.startswith("#"):
            inner = self.wiring.inner_at(self.wiring.parts[ref.node], owner)
            return inner.returns[int(ref.port[1:])] if inner is not None else ref
        return Ref(owner.full(ref.node), ref.port)

    def _size(self, axis: int, sizes: Sequence[DimLike]) -> str | None:
        if all(isinstance(s, int) for s in sizes):
            return self._count(tuple(sizes), axis == 1)
        first = sizes[0]
        if any(s != first for s in sizes[1:]):
            return None
        return short(self.some.view.checked.domain.simplify(first))

    def _count(self, sizes: tuple[Any, ...], channels: bool) -> str | None:
        if constant(sizes):
            named = [v for v in self.variables if v.channels and agree(sizes, v.values)]
            block = self.plan.blueprint.key[0] == "block"
            return named[0].name if channels and block and len(named) == 1 else str(sizes[0])
        fitted = fit(sizes, self.variables, channels)
        return None if fitted is None else short(fitted.text)

    # --- docstrings -----------------------------------------------------------------------
    def signature(self, outputs: Iterable[str] | None = None) -> str | None:
        """`x [N, in_channels, H, W], skip [...] -> [N, out, 2H, 2W]`; None where it is unclear."""
        args = [Ref(f"@{n}") for n in range(len(self.plan.arg_names))]
        inputs, results = self._all_words(args, self.wiring.returns)
        if not results or None in inputs or None in results:
            return None
        named = len(inputs) > 1 or outputs is not None
        left = [
            f"{n} {w}" if named else w for n, w in zip(self.plan.arg_names, inputs, strict=True)
        ]
        right = [str(w) for w in results]
        if outputs is None and len(right) > 1:
            first = self.plan.blueprint.first
            names = [value_name(first, r) for r in first.returns]
            right = [right[0], *(f"{n} {w}" for n, w in zip(names[1:], right[1:], strict=True))]
        elif outputs is not None:
            right = [f"{n} {w}" for n, w in zip(outputs, right, strict=True)]
        return f"{', '.join(map(str, left))} -> {', '.join(right)}".lstrip()

    def _all_words(
        self, args: Sequence[Ref], results: Sequence[Ref]
    ) -> tuple[list[str | None], list[str | None]]:
        """Shapes of inputs and outputs: the network's sizes if there is one instance, else in
        terms of the height and width of the first map that comes in."""
        direct = [self.comment(r) for r in (*args, *results)]
        if None not in direct:
            return direct[: len(args)], direct[len(args) :]
        shapes = [self.shapes(r) for r in (*args, *results)]
        base = next((s for s in shapes[: len(args)] if s and len(s[0]) == 4), None)
        words = [None if s is None else self._relative(s, base) for s in shapes[: len(args)]]
        counted = self.plan.channel_names.values()
        self.variables.sort(key=lambda v: v.name in counted)  # outputs: what the author named
        words += [None if s is None else self._relative(s, base) for s in shapes[len(args) :]]
        known = [None if w is None or "?" in w else w for w in words]
        return known[: len(args)], known[len(args) :]

    def _relative(
        self, shapes: list[tuple[DimLike, ...]], base: list[tuple[DimLike, ...]] | None
    ) -> str:
        words = []
        for axis in range(len(shapes[0])):
            sizes = tuple(s[axis] for s in shapes)
            if axis == 0:
                words.append("N")
            elif axis == 1 and all(isinstance(s, int) for s in sizes):
                words.append(self._count(sizes, True) or "?")
            elif base is None or len(base[0]) != 4 or axis not in (2, 3):
                words.append(
                    str(sizes[0]) if constant(sizes) and isinstance(sizes[0], int) else "?"
                )
            else:
                words.append(self._ratio(sizes, tuple(b[axis] for b in base), "HW"[axis - 2]))
        return f"[{', '.join(words)}]"

    def _ratio(self, sizes: tuple[DimLike, ...], base: tuple[DimLike, ...], name: str) -> str:
        """A size as a multiple or a fraction of the first input's, the same in all instances."""
        pairs = list(zip(sizes, base, strict=True))
        h = symbol(name)
        for word, function in _RATIOS:
            if all(self._equal(a, function(b)) for a, b in pairs):
                return short(str(function(h)) if word is None else word.replace("H", name))
        for v in self.variables:
            if not v.channels and all(type(x) is int and x > 0 for x in v.values):
                each = list(zip(pairs, v.values, strict=True))
                if all(self._equal(a, ceil_div(b, x)) for (a, b), x in each):
                    return f"{name}/{v.name}"
                if all(self._equal(a, b * x) for (a, b), x in each):
                    return f"{v.name}*{name}"
        if all(isinstance(a, int) for a, _ in pairs) and constant(sizes):
            return str(sizes[0])
        return self._offset(pairs, name)

    def _equal(self, a: DimLike, b: DimLike) -> bool:
        return a == b or self.some.view.checked.domain.relation(a, b) == "always"

    def _offset(self, pairs: list[tuple[DimLike, DimLike]], name: str) -> str:
        for times in (1, 2, 4):
            gap = pairs[0][0] - times * pairs[0][1]
            if isinstance(gap, int) and all(a - times * b == gap for a, b in pairs):
                return f"{times if times > 1 else ''}{name} {'+' if gap > 0 else '-'} {abs(gap)}"
        return f"{name}'"


def _half(n: int) -> Any:
    return lambda d: d // n


def _times(n: int) -> Any:
    return lambda d: n * d


def _up(n: int) -> Any:
    return lambda d: ceil_div(d, n)


_RATIOS: list[tuple[str | None, Any]] = [
    ("H", lambda d: d),
    *((f"{n}H", _times(n)) for n in (2, 4, 8, 16, 32)),
    *((f"H/{n}", _half(n)) for n in (2, 4, 8, 16, 32)),
    *((f"ceil(H/{n})", _up(n)) for n in (2, 4, 8, 16, 32)),
]


def short(text: str) -> str:
    """Without the spaces around `*` and `/`, as in `[N, 2*width, H/2, W/2]`."""
    return re.sub(r" ([*/]+) ", r"\1", re.sub(_CEIL, _ceil, text))


_CEIL = r"floor\(\((\w+) \+ (\d+)\) / (\d+)\)"


def _ceil(m: re.Match[str]) -> str:
    """floor((H + 15) / 16) is H / 16 rounded up."""
    up = int(m[2]) == int(m[3]) - 1
    return f"ceil({m[1]}/{m[3]})" if up else m[0]
