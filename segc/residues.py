"""The accepted values of one symbol: for each residue modulo a period, an interval.

Every demand on a size d of one symbol, d(x + P) = d(x) + c, accepts such a set: on one residue d is
a line, so it is zero everywhere, nowhere or once, and at least n on a half-line. All answers are
exact; what would need more than `CAP` residues raises TooMany.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import lcm

from segc.poly import Dim, evaluate, symbols
from segc.waves import trend, values, wave

CAP = 16_384  # residues; a network of depth 14, and some 20 ms for one demand

Line = tuple[int, int | None]  # smallest and largest accepted value of a residue, None: no largest


class TooMany(Exception):
    """The set has more residues than are worth listing."""


@dataclass(frozen=True)
class Sizes:
    """Values x >= 1; `lines[r]` = (lo, hi) accepts lo, lo + period, … <= hi, lo ≡ hi ≡ r."""

    period: int
    lines: dict[int, Line]

    @property
    def empty(self) -> bool:
        return not self.lines

    @cached_property
    def finite(self) -> bool:
        return all(hi is not None for _, hi in self.lines.values())

    @cached_property
    def count(self) -> int:
        """How many values; only of a finite set."""
        return sum((hi - lo) // self.period + 1 for lo, hi in self.lines.values() if hi is not None)

    @cached_property
    def least(self) -> int:
        return min(lo for lo, _ in self.lines.values())

    @cached_property
    def greatest(self) -> int | None:
        """The largest value, None where there is none."""
        tops = [hi for _, hi in self.lines.values() if hi is not None]
        return max(tops) if len(tops) == len(self.lines) else None

    def __contains__(self, x: int) -> bool:
        line = self.lines.get(x % self.period)
        return line is not None and line[0] <= x and (line[1] is None or x <= line[1])

    def __iter__(self) -> Iterator[int]:
        """All values, ascending."""
        runs = (_run(lo, hi, self.period) for lo, hi in self.lines.values())
        return heapq.merge(*runs)

    def first(self, count: int) -> list[int]:
        return list(islice(self, count))

    def below(self, x: int) -> int | None:
        """The largest value <= x."""
        p = self.period
        tops = [
            x - (x - lo) % p if hi is None else min(hi, x - (x - lo) % p)
            for lo, hi in self.lines.values()
            if lo <= x
        ]
        return max(tops, default=None)

    def above(self, x: int) -> int | None:
        """The smallest value >= x."""
        p = self.period
        starts = [max(lo, x + (lo - x) % p) for lo, _ in self.lines.values()]
        ends = [hi for _, hi in self.lines.values()]
        fits = [s for s, hi in zip(starts, ends, strict=True) if hi is None or s <= hi]
        return min(fits, default=None)

    # --- other sets ------------------------------------------------------------------------
    def refined(self, period: int) -> Sizes:
        """The same set with a period that is a multiple of this one."""
        times = period // self.period
        if times == 1:
            return self
        if len(self.lines) * times > CAP:
            raise TooMany
        lines: dict[int, Line] = {}
        for lo, hi in self.lines.values():
            for x in range(lo, lo + period, self.period):
                if hi is None:
                    lines[x % period] = x, None
                elif x <= hi:
                    lines[x % period] = x, hi - (hi - x) % period
        return Sizes(period, lines)

    def clipped(self, low: int | None, high: int | None) -> Sizes:
        """The values from `low` to `high`, both inclusive, None: no such bound."""
        p = self.period
        lines: dict[int, Line] = {}
        for r, (lo, hi) in self.lines.items():
            start = lo if low is None or low <= lo else low + (lo - low) % p
            end = hi
            if high is not None and (hi is None or high < hi):
                end = high - (high - lo) % p
            if end is None or start <= end:
                lines[r] = start, end
        return self if lines == self.lines else Sizes(p, lines)

    def shifted(self, by: int) -> Sizes:
        """All values plus `by`."""
        if not by:
            return self
        p = self.period
        moved = [(lo + by, None if hi is None else hi + by) for lo, hi in self.lines.values()]
        return Sizes(p, {line[0] % p: line for line in moved})

    def meet(self, other: Sizes) -> Sizes:
        """The values in both sets."""
        few, many = sorted((self, other), key=lambda s: len(s.lines) / s.period)
        fine = few.refined(lcm(few.period, many.period))
        lines: dict[int, Line] = {}
        for r, (lo, hi) in fine.lines.items():
            line = many.lines.get(lo % many.period)
            if line is None:
                continue
            part = Sizes(fine.period, {r: (lo, hi)}).clipped(*line)
            lines.update(part.lines)
        return Sizes(fine.period, lines).reduced()

    def reduced(self) -> Sizes:
        """The same set with its smallest period, residues in order."""
        best = self if self.lines else Sizes(1, {})
        for prime in _primes(best.period):
            while best.period % prime == 0:
                merged = best._merged(best.period // prime)
                if merged is None:
                    break
                best = merged
        return Sizes(best.period, dict(sorted(best.lines.items())))

    def _merged(self, period: int) -> Sizes | None:
        groups: dict[int, list[Line]] = {}
        for r, line in self.lines.items():
            groups.setdefault(r % period, []).append(line)
        lines: dict[int, Line] = {}
        for r, group in groups.items():
            union = _union(group, self.period, period)
            if union is None:
                return None
            lines[r] = union
        return Sizes(period, lines)

    # --- demands ---------------------------------------------------------------------------
    def zeros(self, d: Dim) -> Sizes:
        """The values at which `d` is zero. Raises TooMany; `wave(d)` must exist."""
        sign = trend(d)
        if sign is not None:
            up = d if sign > 0 else -d
            return self.clipped(*_plateau(up))

        def on_line(v: int, gain: int, period: int, line: Line) -> Line | None:
            if not gain:
                return None if v else line
            steps, rest = divmod(-v, gain)
            x = line[0] + steps * period
            if rest or steps < 0 or (line[1] is not None and x > line[1]):
                return None
            return x, x

        return self._solve(d, on_line)

    def at_least(self, d: Dim, n: int) -> Sizes:
        """The values at which `d` >= n. Raises TooMany; `wave(d)` must exist."""
        sign = trend(d)
        if sign == 1:
            start = _reach(d, n)
            return self if start <= self.least else self.clipped(start, None)
        if sign == -1:
            return self.clipped(None, _reach(-d, 1 - n) - 1)

        def on_line(v: int, gain: int, period: int, line: Line) -> Line | None:
            lo, hi = line
            if gain > 0:
                lo += max(0, -((v - n) // gain)) * period
            elif v < n:
                return None
            elif gain < 0:
                end = lo + (v - n) // -gain * period
                hi = end if hi is None else min(hi, end)
            return (lo, hi) if hi is None or lo <= hi else None

        return self._solve(d, on_line)

    def _solve(self, d: Dim, on_line: Callable[[int, int, int, Line], Line | None]) -> Sizes:
        fine, column, gain = self.sampled(d)
        lines: dict[int, Line] = {}
        for (r, line), v in zip(fine.lines.items(), column, strict=True):
            kept = on_line(v, gain, fine.period, line)
            if kept is not None:
                lines[r] = kept
        return self if lines == fine.lines else Sizes(fine.period, lines)

    def sampled(self, d: Dim) -> tuple[Sizes, list[int], int]:
        """This set with a period of `d`, `d` at the start of each line, its gain per period."""
        found = wave(d)
        assert found is not None
        period, gain = found
        fine = self.refined(lcm(self.period, period))
        column = values(d, [lo for lo, _ in fine.lines.values()])
        return fine, column, gain * (fine.period // period)


EVERY = Sizes(1, {0: (1, None)})


def _run(lo: int, hi: int | None, period: int) -> Iterator[int]:
    x = lo
    while hi is None or x <= hi:
        yield x
        x += period


def _primes(n: int) -> list[int]:
    found, p = [], 2
    while p * p <= n:
        if n % p == 0:
            found.append(p)
            while n % p == 0:
                n //= p
        p += 1
    return found + [n] if n > 1 else found


def _union(group: list[Line], fine: int, period: int) -> Line | None:
    """The lines of period `fine` as one line of period `period`, None if they leave gaps."""
    lo = min(line[0] for line in group)
    highs = [line[1] for line in group if line[1] is not None]
    if not highs:
        full = len(group) == fine // period and max(line[0] for line in group) - lo < fine
        return (lo, None) if full else None
    if len(highs) < len(group):
        return None
    count = sum((hi - start) // fine + 1 for start, hi in group if hi is not None)
    hi = max(highs)
    return (lo, hi) if (hi - lo) // period + 1 == count else None


def _reach(d: Dim, n: int) -> int:
    """The smallest integer x with d(x) >= n, for a `d` that never falls and rises at last."""
    found = wave(d)
    assert found is not None
    period, gain = found
    (name,) = symbols(d)
    x = -((evaluate(d, {name: 0}) - n) // gain) * period  # d(x) >= n > d(x - period)
    low = x - period
    while x - low > 1:
        middle = (low + x) // 2
        if evaluate(d, {name: middle}) >= n:
            x = middle
        else:
            low = middle
    return x


def _plateau(d: Dim) -> tuple[int, int]:
    """First and last integer at which a never falling `d` is zero (first > last: nowhere)."""
    return _reach(d, 0), _reach(d, 1) - 1
