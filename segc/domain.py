"""The input sizes a network accepts, derived exactly from the demands of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from segc.poly import Dim, DimLike, Symbol, substitute, symbol, symbols
from segc.prove import Demand, decide, reduced
from segc.residues import EVERY, Sizes, TooMany
from segc.waves import wave
from segc.wording import clauses, just_outside, sentence, simplified

SCAN = 300  # values tried where a demand ties several symbols together


class Domain:
    """The accepted values of all symbols; `Domain()` accepts every size >= 1.

    `_sizes` holds the accepted values of each symbol, `_links` the symbols that are another one
    plus a number (W == H + 5: W -> (H, 5)), `_rest` the demands that tie several symbols together
    in other ways, or whose period is too long to list; they are kept word for word. Immutable:
    narrowing answers another domain, or the same object when nothing changes. SizeError where the
    formulas asked about outgrow every tensor.
    """

    __slots__ = ("_known", "_links", "_memo", "_rest", "_sizes", "_texts", "_void")

    def __init__(self) -> None:
        self._sizes: dict[str, Sizes] = {}
        self._links: dict[str, tuple[str, int]] = {}
        self._rest: tuple[Demand, ...] = ()
        self._void = False
        self._known: dict[str, DimLike] = {}
        self._memo: dict[tuple[str, DimLike, int], Domain] = {}
        self._texts: dict[DimLike, str] = {}

    def __repr__(self) -> str:
        return f"Domain({', '.join(self.constraints())})"

    # --- demands ---------------------------------------------------------------------------
    def equal(self, a: DimLike, b: DimLike) -> Domain:
        """The sizes at which `a` and `b` are the same number."""
        return self._narrow("equal", a - b, 0)

    def at_least(self, a: DimLike, n: int) -> Domain:
        """The sizes at which `a` >= n."""
        return self._narrow("least", a, n)

    def multiple(self, a: DimLike, n: int) -> Domain:
        """The sizes at which `n` >= 1 divides `a`."""
        return self._narrow("multiple", a, n)

    def relation(self, a: DimLike, b: DimLike) -> str:
        """Whether `a` == `b`: "always", "never" (both proved) or "sometimes"."""
        narrowed = self.equal(a, b)
        if narrowed is self:
            return "always"
        return "never" if narrowed.empty else "sometimes"

    @property
    def empty(self) -> bool:
        """No size at all is accepted (proved; demands over several symbols may hide it)."""
        return self._void

    def contains(self, env: Mapping[str, int]) -> bool:
        """Whether the sizes `env` are accepted; what speaks of symbols not in `env` is skipped."""
        if self._void or any(x < 1 for x in env.values()):
            return False
        if any(name in env and env[name] not in s for name, s in self._sizes.items()):
            return False
        for name, (root, offset) in self._links.items():
            if name in env and root in env and env[name] != env[root] + offset:
                return False
            if name in env and env[name] not in self.sizes(name):
                return False
        return all(demand.holds(env) for demand in self._rest if symbols(demand.d) <= env.keys())

    def sizes(self, name: str) -> Sizes:
        """The accepted values of one symbol, demands over several symbols left aside."""
        root, offset = self._links.get(name, (name, 0))
        return self._sizes.get(root, EVERY).shifted(offset)

    # --- what people read --------------------------------------------------------------------
    def constraints(self) -> tuple[str, ...]:
        """The demands as Python conditions: symbols by name, then links, then the rest."""
        if self._void:
            return ("False",)
        found = [
            clause for name in sorted(self._sizes) for clause in clauses(name, self.sizes(name))
        ]
        for name, (root, offset) in sorted(self._links.items()):
            found.append(f"{root} == {name}" if not offset else f"{name} == {root} + {offset}")
        return (*found, *sorted(str(demand) for demand in self._rest))

    def simplify(self, d: DimLike) -> str:
        """`d` as text that evaluates to the same number on every accepted size."""
        found = self._texts.get(d)
        if found is None:
            found = simplified(d, self.sizes)
            if "floor(" in found and self._known:
                other = simplified(self._rooted(d), self.sizes)
                found = found if "floor(" in other else other
            self._texts[d] = found
        return found

    def describe(self, name: str) -> str:
        """The accepted values of one symbol: "H = 16k + 12, k >= 11 (188, 204, 220, …)"."""
        if self._void:
            return f"no {name}"
        told = sentence(name, self.sizes(name))
        rest = [str(demand) for demand in self._tied(name)]
        return told if not rest else f"{told}, where {' and '.join(rest)}"

    # --- examples ----------------------------------------------------------------------------
    def inside(self, name: str, count: int) -> list[int]:
        """The `count` smallest accepted values (fewer where there are no more)."""
        if self._void:
            return []
        candidates: Iterator[int] = iter(self.sizes(name))
        if self._tied(name):
            candidates = (x for x in islice(candidates, SCAN) if self._has(name, x))
        return list(islice(candidates, count))

    def outside(self, name: str, count: int) -> list[int]:
        """Up to `count` sizes >= 1 that are refused, next to the bounds and residues."""
        if self._void:
            return []
        if self._tied(name):
            refused = (x for x in range(1, SCAN) if self.equal(symbol(name), x).empty)
            return list(islice(refused, count))
        return just_outside(self.sizes(name), count)

    def nearest(self, name: str, value: int) -> tuple[int | None, int | None]:
        """The nearest accepted values <= `value` and >= `value`, None where none is found."""
        if self._void:
            return None, None
        s = self.sizes(name)
        below, above = s.below(value), s.above(value)
        if not self._tied(name):
            return below, above
        return (
            self._search(name, below, lambda x: s.below(x - 1)),
            self._search(name, above, lambda x: s.above(x + 1)),
        )

    # --- narrowing ---------------------------------------------------------------------------
    def _narrow(self, kind: str, d: DimLike, n: int) -> Domain:
        key = kind, d, n
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._narrowed(kind, self._rooted(d), n)
        return found

    def _narrowed(self, kind: str, d: DimLike, n: int) -> Domain:
        if self._void:
            return self
        if isinstance(d, int):
            return self if _met(kind, d, n) else self._emptied()
        names = symbols(d)
        if len(names) == 1 and wave(d):
            with suppress(TooMany):
                return self._of_one(min(names), kind, d, n)
        return self._of_many(kind, d, n)

    def _of_one(self, name: str, kind: str, d: Dim, n: int) -> Domain:
        s = self.sizes(name)
        if kind == "multiple":
            rest = d % n
            narrowed = s.zeros(rest) if isinstance(rest, Dim) else s
            if isinstance(rest, int) and rest:
                return self._emptied()
        else:
            narrowed = s.zeros(d) if kind == "equal" else s.at_least(d, n)
        if narrowed is s:
            return self
        return self._with(name, narrowed.reduced())

    def _of_many(self, kind: str, d: Dim, n: int) -> Domain:
        demand = reduced(Demand(kind, d, n))
        if isinstance(demand, bool):
            return self if demand else self._emptied()
        if demand in self._rest:
            return self
        verdict = decide(demand, self.sizes)
        if verdict is not None:
            return self if verdict else self._emptied()
        pair = _difference(demand)
        if pair is not None:
            with suppress(TooMany):
                return self._linked(*pair)
        kept = [other for other in self._rest if not _weaker(other, demand)]
        if any(_weaker(demand, other) for other in self._rest):
            return self
        return self._copy(rest=(*kept, demand))

    def _with(self, name: str, s: Sizes) -> Domain:
        if s.empty:
            return self._emptied()
        return self._copy(sizes={**self._sizes, name: s})._settled()

    def _linked(self, big: str, small: str, offset: int) -> Domain:
        """With `big` == `small` + offset, offset >= 0, both without links of their own."""
        s = self.sizes(small).meet(self.sizes(big).shifted(-offset).clipped(1, None))
        if s.empty:
            return self._emptied()
        moved = {
            name: (small, offset + more) if root == big else (root, more)
            for name, (root, more) in self._links.items()
        }
        sizes = {name: kept for name, kept in self._sizes.items() if name != big}
        sizes[small] = s
        return self._copy(sizes=sizes, links={**moved, big: (small, offset)})._settled()

    def _settled(self) -> Domain:
        """The same domain after another look at the demands over several symbols."""
        settled = self._copy(rest=())
        for demand in self._rest:
            settled = settled._narrow(demand.kind, demand.d, demand.n)
        return settled

    def _copy(
        self,
        sizes: dict[str, Sizes] | None = None,
        links: dict[str, tuple[str, int]] | None = None,
        rest: tuple[Demand, ...] | None = None,
    ) -> Domain:
        new = Domain()
        new._sizes = self._sizes if sizes is None else sizes
        new._links = self._links if links is None else links
        new._rest = self._rest if rest is None else rest
        known: dict[str, DimLike] = {
            name: s.least for name, s in new._sizes.items() if s.least == s.greatest
        }
        for name, (root, offset) in new._links.items():
            known[name] = known.get(root, symbol(root)) + offset
        new._known = known
        return new

    def _emptied(self) -> Domain:
        new = Domain()
        new._void = True
        return new

    def _rooted(self, d: DimLike) -> DimLike:
        """`d` with linked symbols replaced by what they are linked to, known ones by numbers."""
        if isinstance(d, int) or symbols(d).isdisjoint(self._known):
            return d
        return substitute(d, self._known)

    def _tied(self, name: str) -> list[Demand]:
        root = self._links.get(name, (name, 0))[0]
        return [demand for demand in self._rest if root in symbols(demand.d)]

    def _search(self, name: str, x: int | None, step: Callable[[int], int | None]) -> int | None:
        for _ in range(SCAN):
            if x is None or self._has(name, x):
                return x
            x = step(x)
        return None

    def _has(self, name: str, value: int, depth: int = 2) -> bool:
        """Whether small values of other symbols are found with which `value` is accepted."""
        fixed = self.equal(symbol(name), value)
        others = sorted({other for demand in fixed._rest for other in symbols(demand.d)})
        if fixed._void or not others:
            return not fixed._void
        if not depth:
            return False
        few = fixed.sizes(others[0]).first(8)
        return any(fixed._has(others[0], x, depth - 1) for x in few)


def _met(kind: str, value: int, n: int) -> bool:
    if kind == "equal":
        return value == 0
    return value >= n if kind == "least" else value % n == 0


def _weaker(a: Demand, b: Demand) -> bool:
    """Whether `a` follows from `b` because it asks less of the same size."""
    if a.d != b.d or a.kind != b.kind:
        return False
    return a.n <= b.n if a.kind == "least" else b.n % a.n == 0 if a.n else False


def _difference(demand: Demand) -> tuple[str, str, int] | None:
    """(x, y, c >= 0) for a demand x == y + c between two symbols."""
    if demand.kind != "equal" or len(demand.d.terms) != 2:
        return None
    plus = [_name(mono) for mono, coef in demand.d.terms if coef == 1]
    minus = [_name(mono) for mono, coef in demand.d.terms if coef == -1]
    if len(plus) != 1 or len(minus) != 1 or plus[0] is None or minus[0] is None:
        return None
    offset = -demand.d.const
    if offset > 0 or (offset == 0 and minus[0] < plus[0]):
        return plus[0], minus[0], offset
    return minus[0], plus[0], -offset


def _name(mono: tuple[object, ...]) -> str | None:
    return mono[0].name if len(mono) == 1 and isinstance(mono[0], Symbol) else None
