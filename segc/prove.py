"""Demands on sizes, and what can be proved of those that tie several symbols together.

Everything here is one-sided: True and False are proofs, None means no proof was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import gcd, inf, lcm, prod

from segc.poly import (
    Dim,
    DimLike,
    Floor,
    Mono,
    SizeError,
    Symbol,
    Terms,
    collect,
    evaluate,
    substitute,
    symbol,
    symbols,
    text,
)
from segc.residues import Line, Sizes, TooMany
from segc.waves import wave

CASES = 1_024  # combinations of residues looked at in one proof

Range = tuple[float, float]  # integers or infinities
SizesOf = Callable[[str], Sizes]


@dataclass(frozen=True, slots=True)
class Demand:
    """`equal`: d == 0, `least`: d >= n, `multiple`: d % n == 0."""

    kind: str
    d: Dim
    n: int = 0

    def holds(self, env: Mapping[str, int]) -> bool:
        return self.met(evaluate(self.d, env))

    def met(self, value: int) -> bool:
        if self.kind == "equal":
            return value == 0
        return value >= self.n if self.kind == "least" else value % self.n == 0

    def __str__(self) -> str:
        terms, const = self.d.terms, self.d.const
        if self.kind == "multiple":
            word = text(self.d)
            bare = len(terms) == 1 and not const and terms[0][1] == 1 and len(terms[0][0]) == 1
            return f"{word if bare else f'({word})'} % {self.n} == 0"
        n = self.n - const
        left = collect(0, [term for term in terms if term[1] > 0])
        right = collect(0, [(mono, -coef) for mono, coef in terms if coef < 0])
        if left == 0 and self.kind == "least":
            return f"{text(right)} <= {-n}"
        if left == 0:
            left, right, n = right, left, -n
        if n < 0 and right != 0:
            return f"{text(left - n)} {self.sign} {text(right)}"
        return f"{text(left)} {self.sign} {text(right + n)}"

    @property
    def sign(self) -> str:
        return "==" if self.kind == "equal" else ">="


def reduced(demand: Demand) -> Demand | bool:
    """The same demand with its common factors taken out, so that equal demands look equal."""
    terms, const, n = demand.d.terms, demand.d.const, demand.n
    if demand.kind == "multiple":
        return _reduced_multiple(terms, const, n)
    common = gcd(*[coef for _, coef in terms])
    if demand.kind == "least":
        smaller = collect(0, [(mono, coef // common) for mono, coef in terms])
        assert isinstance(smaller, Dim)
        return Demand("least", smaller, -((const - n) // common))
    if const % common:
        return False
    if terms[0][1] < 0:
        common = -common
    smaller = collect(const // common, [(mono, coef // common) for mono, coef in terms])
    assert isinstance(smaller, Dim)
    return Demand("equal", smaller)


def _reduced_multiple(terms: Terms, const: int, n: int) -> Demand | bool:
    common = gcd(n, *[coef for _, coef in terms])
    if const % common:
        return False
    n //= common
    rest = collect(const // common % n, [(mono, coef // common % n) for mono, coef in terms])
    return rest % n == 0 if isinstance(rest, int) else Demand("multiple", rest, n)


def decide(demand: Demand, sizes_of: SizesOf) -> bool | None:
    """True: it holds for all sizes, False: for none, None: for some, or there is no proof."""
    low, high = bounds(demand.d, sizes_of)
    if demand.kind == "least":
        return True if low >= demand.n else False if high < demand.n else None
    if low == high:
        return demand.met(int(low))
    if demand.kind == "equal" and not low <= 0 <= high:
        return False
    found: set[bool | None] = set()
    for case in _cases(demand.d, sizes_of):
        found.add(case if case is None else _case(demand, *case))
        if None in found or len(found) > 1:
            return None
    return found.pop() if found else None


def _case(demand: Demand, d: DimLike, ranges: Mapping[str, Range]) -> bool | None:
    if isinstance(d, int):
        return demand.met(d)
    common = gcd(*[coef for _, coef in d.terms])
    if demand.kind == "multiple":
        common = gcd(common, demand.n)
        return False if d.const % common else True if common == demand.n else None
    low = high = float(0)
    for mono, coef in d.terms:
        part = _scaled(_product([ranges[a.name] for a in mono if isinstance(a, Symbol)]), coef)
        low, high = low + part[0], high + part[1]
    return False if d.const % common or not low <= -d.const <= high else None


def _cases(d: Dim, sizes_of: SizesOf) -> Iterator[tuple[DimLike, dict[str, Range]] | None]:
    """`d` on each combination of residues: H = period * k + lo turns floors into polynomials in k.

    Yields the polynomial and the range of each k, or None where there is no answer.
    """
    names = sorted(symbols(d))
    try:
        fine = [_fine(sizes_of(name), _period(d, name)) for name in names]
    except TooMany:
        yield None
        return
    if prod(len(s.lines) for s in fine) > CASES:
        yield None
        return
    for lines in product(*[s.lines.values() for s in fine]):
        table: dict[str, DimLike] = {}
        ranges: dict[str, Range] = {}
        for name, s, (lo, hi) in zip(names, fine, lines, strict=True):
            table[name] = lo if lo == hi else symbol(name) * s.period + lo
            ranges[name] = 0, inf if hi is None else (hi - lo) // s.period
        try:
            on_case = substitute(d, table)
        except SizeError:
            yield None
            return
        yield None if has_floor(on_case) else (on_case, ranges)


def _fine(s: Sizes, period: int) -> Sizes:
    return s.refined(lcm(s.period, period))


def _period(d: Dim, name: str) -> int:
    """A period at which the floors of `d` open when `name` moves by multiples of it."""
    found = 1
    for mono, _ in d.terms:
        for atom in mono:
            if isinstance(atom, Floor) and name in symbols(atom.inner):
                known = wave(atom.inner) if len(symbols(atom.inner)) == 1 else None
                inner, gain = known or (_period(atom.inner, name), 1)
                found = lcm(found, inner * (atom.n // gcd(atom.n, gain)))
    return found


def has_floor(d: DimLike) -> bool:
    """Whether a floor is left in `d`."""
    if isinstance(d, int):
        return False
    return any(isinstance(atom, Floor) for mono, _ in d.terms for atom in mono)


def bounds(d: DimLike, sizes_of: SizesOf) -> Range:
    """Numbers that no value of `d` passes; exact for a sum of functions of one symbol each."""
    if isinstance(d, int):
        return d, d
    single: dict[str, list[tuple[Mono, int]]] = {}
    low = high = float(0)
    parts: list[Range] = []
    for mono, coef in d.terms:
        names = symbols(atom_dim(mono[0])) if len(mono) == 1 else frozenset[str]()
        if len(names) == 1:
            single.setdefault(min(names), []).append((mono, coef))
        else:
            parts.append(_scaled(_product([_atom_range(a, sizes_of) for a in mono]), coef))
    for name, terms in single.items():
        parts.append(_single_range(collect(0, terms), sizes_of(name)))
    for part in parts:
        low, high = low + part[0], high + part[1]
    return _shift((low, high), d.const)


def atom_dim(atom: Symbol | Floor) -> Dim:
    """The atom as a size."""
    found = collect(0, [((atom,), 1)])
    assert isinstance(found, Dim)
    return found


def _atom_range(atom: Symbol | Floor, sizes_of: SizesOf) -> Range:
    if isinstance(atom, Symbol):
        return _single_range(atom_dim(atom), sizes_of(atom.name))
    if len(symbols(atom.inner)) == 1 and wave(atom.inner):
        return _single_range(atom_dim(atom), sizes_of(min(symbols(atom.inner))))
    low, high = bounds(atom.inner, sizes_of)
    return _floor_bound(low, atom.n), _floor_bound(high, atom.n)


def _floor_bound(x: float, n: int) -> float:
    return x if x in (inf, -inf) else int(x) // n


def _single_range(d: DimLike, s: Sizes) -> Range:
    if isinstance(d, int):
        return d, d
    if s.empty or wave(d) is None:
        return -inf, inf
    try:
        fine, column, gain = s.sampled(d)
    except TooMany:
        return -inf, inf
    ends = [
        _end(v, gain, fine.period, line)
        for v, line in zip(column, fine.lines.values(), strict=True)
    ]
    return min(*column, *ends), max(*column, *ends)


def _end(v: int, gain: int, period: int, line: Line) -> float:
    lo, hi = line
    if not gain:
        return v
    if hi is None:
        return inf if gain > 0 else -inf
    return v + (hi - lo) // period * gain


def _product(ranges: list[Range]) -> Range:
    low: float = 1
    high: float = 1
    for a, b in ranges:
        corners = [_mul(x, y) for x in (low, high) for y in (a, b)]
        low, high = min(corners), max(corners)
    return low, high


def _mul(x: float, y: float) -> float:
    return 0 if not x or not y else x * y


def _scaled(r: Range, by: int) -> Range:
    low, high = _mul(r[0], by), _mul(r[1], by)
    return (low, high) if by > 0 else (high, low)


def _shift(r: Range, by: int) -> Range:
    return r[0] + by, r[1] + by
