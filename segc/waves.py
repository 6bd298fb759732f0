"""Sizes of one symbol as waves around a line: d(x + P) = d(x) + c.

Convolutions, poolings and upsamplings only add, multiply by integers and take floors of quotients,
so every size they make is such a wave, and one period of it says everything.
"""

from __future__ import annotations

from math import gcd, lcm

from segc.poly import Atom, Dim, DimLike, Floor, Mono, Symbol, symbols


def wave(d: Dim) -> tuple[int, int] | None:
    """(P, c), P >= 1, with d(x + P) = d(x) + c for all integers x; None where there is none.

    `d` depends on one symbol; there is none when it multiplies sizes.
    """
    if d._wave is None:
        d._wave = _wave(d) or ()
    return d._wave or None


def _wave(d: Dim) -> tuple[int, int] | None:
    parts = []
    for mono, coef in d.terms:
        if len(mono) > 1:
            return None
        part = _atom_wave(mono[0])
        if part is None:
            return None
        parts.append((part[0], part[1] * coef))
    period = lcm(*[p for p, _ in parts])
    return period, sum(gain * (period // p) for p, gain in parts)


def _atom_wave(atom: Atom) -> tuple[int, int] | None:
    if isinstance(atom, Symbol):
        return 1, 1
    inner = wave(atom.inner)
    if inner is None:
        return None
    period, gain = inner
    times = atom.n // gcd(atom.n, gain)
    return period * times, gain * times // atom.n


def same_rate(a: DimLike, b: DimLike) -> bool:
    """False for two sizes that grow at different rates: they are equal at most by coincidence."""
    if isinstance(a, int) or isinstance(b, int) or symbols(a) != symbols(b):
        return True
    if len(symbols(a)) != 1:
        return True
    first, second = wave(a), wave(b)
    return first is None or second is None or first[1] * second[0] == second[1] * first[0]


def trend(d: DimLike) -> int | None:
    """1 if `d` provably never falls as its symbols grow, -1 if it never rises, None if unknown."""
    if isinstance(d, int):
        return 1
    signs = {_atom_trend(mono, coef) for mono, coef in d.terms}
    return signs.pop() if len(signs) == 1 else None


def _atom_trend(mono: Mono, coef: int) -> int | None:
    if len(mono) > 1:
        return None
    inner = trend(mono[0].inner) if isinstance(mono[0], Floor) else 1
    if inner is None:
        return None
    return inner if coef > 0 else -inner


def values(d: DimLike, points: list[int]) -> list[int]:
    """`d`, which depends on one symbol, at many values of that symbol."""
    if isinstance(d, int):
        return [d] * len(points)
    total = [d.const] * len(points)
    for mono, coef in d.terms:
        for atom in mono:
            column = points if isinstance(atom, Symbol) else values(atom.inner, points)
            if isinstance(atom, Floor):
                n = atom.n
                column = [v // n for v in column]
            if len(mono) > 1:
                raise ValueError("a product is not one column")
            total = [t + coef * v for t, v in zip(total, column, strict=True)]
    return total
