"""Accepted sizes and simplified sizes in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, islice
from math import lcm, prod

from segc.poly import Dim, DimLike, Mono, collect, evaluate, quotient_text, symbol, symbols, text
from segc.prove import atom_dim
from segc.residues import Line, Sizes, TooMany
from segc.waves import wave

LISTED = 16  # so many values are listed rather than described
Poly = dict[Mono, Fraction]
SizesOf = Callable[[str], Sizes]


# --- one symbol's accepted values ----------------------------------------------------------
def clauses(name: str, s: Sizes) -> list[str]:
    """Python conditions that together accept exactly `s` among the integers >= 1."""
    if s.empty:
        return ["False"]
    if s.finite and s.count <= (LISTED if s.period > 1 else 4):
        return [_one_of(name, s.first(LISTED))]
    residues = [_residues(name, s.period, list(s.lines))] if len(s.lines) < s.period else []
    low, high = _low(name, s), _high(name, s)
    if low is None or high is None:
        return [_line_by_line(name, s)]
    return residues + low + high


def _one_of(name: str, values: list[int]) -> str:
    return f"{name} == {values[0]}" if len(values) == 1 else f"{name} in {tuple(values)}"


def _residues(name: str, period: int, residues: list[int]) -> str:
    if len(residues) == 1:
        return _multiple(name, period, residues[0])
    if len(residues) * 2 <= period:
        return f"{name} % {period} in {tuple(sorted(residues))}"
    taken = set(residues)
    refused = [r for r in range(period) if r not in taken]
    if len(refused) == 1:
        return f"{name} % {period} != {refused[0]}"
    return f"{name} % {period} not in {tuple(refused)}"


def _multiple(name: str, period: int, r: int) -> str:
    return f"({name} - {r}) % {period} == 0" if r else f"{name} % {period} == 0"


def _low(name: str, s: Sizes) -> list[str] | None:
    """What the lower bounds say beyond the residues; None if they do not fit in a few words."""
    last = max(lo for lo, _ in s.lines.values())
    if last - s.least < s.period:
        first = min(r or s.period for r in s.lines)
        return [f"{name} >= {s.least}"] if s.least > first else []
    start = s.above(last - s.period + 1)  # from here on the residues say all
    early = [x for x in s.first(LISTED + 1) if start is not None and x < start]
    if s.finite or len(early) > LISTED:
        return None
    return [f"{name} >= {start} or {_one_of(name, early)}"]


def _high(name: str, s: Sizes) -> list[str] | None:
    highs = [hi for _, hi in s.lines.values() if hi is not None]
    if not highs:
        return []
    if len(highs) < len(s.lines) or max(highs) - min(highs) >= s.period:
        return None
    return [f"{name} <= {max(highs)}"]


def _line_by_line(name: str, s: Sizes) -> str:
    parts = []
    for r, (lo, hi) in sorted(s.lines.items()):
        part = _multiple(name, s.period, r)
        if lo > (r or s.period):
            part += f" and {name} >= {lo}"
        if hi is not None:
            part += f" and {name} <= {hi}"
        parts.append(f"({part})" if " and " in part else part)
    return " or ".join(parts)


def sentence(name: str, s: Sizes) -> str:
    """The accepted values for people: "H = 16k + 12, k >= 11 (188, 204, 220, …)"."""
    if s.empty:
        return f"no {name}"
    if s.finite and s.count <= 4:
        *most, last = [str(x) for x in s]
        return f"{name} = {' or '.join([', '.join(most), last] if most else [last])} only"
    if s.period == 1:
        ((lo, hi),) = s.lines.values()
        return f"any {name} >= {lo}" if hi is None else f"any {name} from {lo} to {hi}"
    return f"{_rule(name, s)} ({_examples(s)})"


def _rule(name: str, s: Sizes) -> str:
    if len(s.lines) == 1:
        ((r, line),) = s.lines.items()
        return f"{name} = {_form(s.period, r)}, {_steps(s.period, r, line)}"
    low, high = _low(name, s), _high(name, s)
    if low is None or high is None or len(s.lines) > min(4, s.period // 2):
        return " and ".join(clauses(name, s))
    forms = " or ".join(_form(s.period, r) for r in s.lines)
    return f"{name} = {forms}, {', '.join(low + high or [f'{name} >= {s.least}'])}"


def _form(period: int, r: int) -> str:
    return f"{period}k + {r}" if r else f"{period}k"


def _steps(period: int, r: int, line: Line) -> str:
    first = (line[0] - r) // period
    return f"k >= {first}" if line[1] is None else f"{first} <= k <= {(line[1] - r) // period}"


def _examples(s: Sizes) -> str:
    few = s.first(4)
    return ", ".join(str(x) for x in few[:3]) + (", …" if len(few) > 3 else "")


def just_outside(s: Sizes, count: int) -> list[int]:
    """Refused values >= 1 beside accepted ones: first past each bound, then off each residue."""
    if s.empty:
        return []
    found: dict[int, None] = {}
    for x in _neighbours(s, count):
        if x >= 1 and x not in s:
            found[x] = None
        if len(found) == count:
            break
    return sorted(found)


def _neighbours(s: Sizes, count: int) -> Iterator[int]:
    for lo, hi in islice(s.lines.values(), count):
        yield lo - s.period
        if hi is not None:
            yield hi + s.period
    if s.greatest is not None:
        yield s.greatest + 1
    starts = (lo for lo, _ in sorted(s.lines.values(), key=lambda line: line[0]))
    for x in chain(islice(s, count + 1), starts):
        yield x - 1
        yield x + 1


# --- one size under the accepted values ------------------------------------------------------
def simplified(d: DimLike, sizes_of: SizesOf) -> str:
    """Text of `d` that is right for all accepted sizes, with as few floors as possible."""
    if isinstance(d, int):
        return str(d)
    single: dict[str, list[tuple[Mono, int]]] = {}
    total: Poly = {(): Fraction(d.const)}
    for mono, coef in d.terms:
        names = symbols(atom_dim(mono[0])) if len(mono) == 1 else frozenset[str]()
        if len(names) == 1:
            single.setdefault(min(names), []).append((mono, coef))
        else:
            _add(total, _monomial(mono, sizes_of), coef)
    for name, terms in single.items():
        whole = collect(0, terms)
        assert isinstance(whole, Dim)
        line = _line(whole, name, sizes_of(name))
        if line is not None:
            _add(total, line, 1)
            continue
        for mono, coef in terms:
            _add(total, _monomial(mono, sizes_of), coef)
    return _poly_text(total)


def _add(total: Poly, part: Poly, times: int) -> None:
    for mono, coef in part.items():
        total[mono] = total.get(mono, Fraction(0)) + coef * times


def _monomial(mono: Mono, sizes_of: SizesOf) -> Poly:
    """The product of the atoms, each as a line of its symbol where it is one."""
    product: Poly = {(): Fraction(1)}
    for atom in mono:
        d = atom_dim(atom)
        names = symbols(d)
        factor = _line(d, min(names), sizes_of(min(names))) if len(names) == 1 else None
        product = _multiplied(product, factor or {(atom,): Fraction(1)})
    return product


def _multiplied(a: Poly, b: Poly) -> Poly:
    product: Poly = {}
    for m, x in a.items():
        for n, y in b.items():
            mono = tuple(sorted(m + n, key=lambda atom: atom.key))
            product[mono] = product.get(mono, Fraction(0)) + x * y
    return product


def _line(d: Dim, name: str, s: Sizes) -> Poly | None:
    """`d` as slope * symbol + start on all of `s`, None if it is no line there."""
    if s.empty or wave(d) is None:
        return None
    if s.finite and s.count <= 64:
        points = [(x, evaluate(d, {name: x})) for x in s]
        (x0, y0), (x1, y1) = points[0], points[-1]
        slope = Fraction(y1 - y0, x1 - x0) if x1 > x0 else Fraction(0)
    else:
        try:
            fine, column, gain = s.sampled(d)
        except TooMany:
            return None
        points = [(lo, y) for (lo, _), y in zip(fine.lines.values(), column, strict=True)]
        (x0, y0), slope = points[0], Fraction(gain, fine.period)
    if any((y - y0) * slope.denominator != slope.numerator * (x - x0) for x, y in points):
        return None
    ((mono, _),) = symbol(name).terms
    return {mono: slope, (): y0 - slope * x0}


def _poly_text(total: Poly) -> str:
    start = total.get((), Fraction(0))
    terms = {mono: coef for mono, coef in total.items() if mono and coef}
    if not terms:
        return str(start)
    factored = _factored(terms, start)
    if factored is not None:
        return factored
    below = lcm(*[coef.denominator for coef in terms.values()])
    split = below > 1 and start.denominator == 1
    if not split:
        below = lcm(below, start.denominator)
    top = collect(
        0 if split else int(start * below), [(m, int(c * below)) for m, c in terms.items()]
    )
    word = quotient_text(top, below) if below > 1 else text(top)
    if split and start:
        word += f" {'-' if start < 0 else '+'} {abs(start)}"
    return word


def _factored(terms: Poly, start: Fraction) -> str | None:
    """c * (H + a) * (W + b) / n, if the polynomial is such a product over two or more symbols."""
    longest = max(terms, key=len)
    if not 2 <= len(longest) <= 6 or len(set(longest)) < len(longest):
        return None
    whole = terms[longest]
    factors: list[Poly] = []
    product: Poly = {(): whole}
    for atom in longest:
        others = tuple(other for other in longest if other is not atom)
        factor: Poly = {(atom,): Fraction(1), (): terms.get(others, Fraction(0)) / whole}
        factors.append(factor)
        product = _multiplied(product, factor)
    plain = all(not factor[()] for factor in factors)
    wanted = {**terms, (): start} if start else terms
    if plain or {m: c for m, c in product.items() if c} != wanted:
        return None
    below = prod(factor[()].denominator for factor in factors)
    words = []
    for (atom,), offset in ((m, f[()]) for f in factors for m in f if m):
        top = collect(int(offset * offset.denominator), [((atom,), offset.denominator)])
        words.append(f"({text(top)})" if offset else text(top))
    scale = whole / below
    if abs(scale.numerator) != 1:
        words.insert(0, str(abs(scale.numerator)))
    word = ("-" if scale < 0 else "") + " * ".join(words)
    return word if scale.denominator == 1 else f"{word} / {scale.denominator}"
