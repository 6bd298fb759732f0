"""Exact symbolic sizes: integer polynomials over input symbols and floors.

A `Dim` is `const + sum of coefficient * monomial`; a monomial is a sorted tuple of atoms, an atom a
symbol (`H`) or the floor of a `Dim` over a positive integer. Everything is kept in one normal form,
so the sizes along the usual chains of convolutions, poolings and upsamplings that are the same
function of the input come out as the same object graph and `==` is a proof. (`!=` proves nothing:
ask `Domain.relation`.) A result without symbols is a plain `int`.

Symbols stand for integers >= 1; floors are those of the integers (towards minus infinity).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any
from weakref import WeakValueDictionary

MAX_NUMBER = 2**63  # no tensor has a larger size; beyond it a formula is a mistake
MAX_WEIGHT = 2_000  # atoms in one formula, nested ones included: keeps texts and time bounded
MAX_DEPTH = 60


class SizeError(ArithmeticError):
    """A size whose formula is too large to reason about (a runaway chain of rescalings)."""


class Symbol:
    """An input symbol. One object per name, compared by identity."""

    __slots__ = ("__weakref__", "depth", "key", "name", "weight")
    weight: int
    depth: int

    def __init__(self, name: str) -> None:
        self.name, self.weight, self.depth = name, 1, 0
        self.key: tuple[Any, ...] = (0, name != "N", name)  # N * H * W reads best

    def __reduce__(self) -> tuple[Any, ...]:
        return _symbol, (self.name,)


class Floor:
    """floor(inner / n), n >= 2, `inner` reduced. One object per value, compared by identity."""

    __slots__ = ("__weakref__", "depth", "inner", "key", "n", "weight")
    weight: int
    depth: int

    def __init__(self, inner: Dim, n: int) -> None:
        self.inner, self.n = inner, n
        self.key: tuple[Any, ...] = (1, n, inner.key)
        atoms = [atom for mono, _ in inner.terms for atom in mono]
        self.weight = 1 + sum(atom.weight for atom in atoms)
        self.depth = 1 + max(atom.depth for atom in atoms)

    def __reduce__(self) -> tuple[Any, ...]:
        return _floor, (self.inner, self.n)


Atom = Symbol | Floor
Mono = tuple[Atom, ...]
Terms = tuple[tuple[Mono, int], ...]

_SYMBOLS: WeakValueDictionary[str, Symbol] = WeakValueDictionary()
_FLOORS: WeakValueDictionary[tuple[Dim, int], Floor] = WeakValueDictionary()
_QUOTIENTS: dict[tuple[Dim, int], DimLike] = {}  # results of `//`, dropped when full
_QUOTIENTS_LIMIT = 50_000


def _symbol(name: str) -> Symbol:
    found = _SYMBOLS.get(name)
    if found is None:
        found = _SYMBOLS[name] = Symbol(name)
    return found


def _floor(inner: Dim, n: int) -> Floor:
    found = _FLOORS.get((inner, n))
    if found is None:
        found = Floor(inner, n)
        if n > MAX_NUMBER or found.weight > MAX_WEIGHT or found.depth > MAX_DEPTH:
            raise SizeError("the formula of this size is too large")
        _FLOORS[inner, n] = found
    return found


class Dim:
    """A size that depends on input symbols. Immutable, hashable, `==` on normal forms.

    `+ - *` take a Dim or an int, `// n` and `% n` a positive int. Raises SizeError when a formula
    outgrows every size a tensor can have.
    """

    __slots__ = ("_hash", "_key", "_names", "_wave", "const", "terms")
    const: int
    terms: Terms
    _hash: int | None
    _key: tuple[Any, ...] | None
    _names: frozenset[str] | None
    _wave: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.const, self.terms)

    @property
    def key(self) -> tuple[Any, ...]:
        """A value to sort by: the same in every process."""
        if self._key is None:
            terms = tuple((_mono_key(mono), coef) for mono, coef in self.terms)
            self._key = (terms, self.const)
        return self._key

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.const, self.terms))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Dim):
            return False
        return self.const == other.const and self.terms == other.terms

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return f"Dim({text(self)})"

    def __neg__(self) -> Dim:
        return _make(-self.const, tuple([(mono, -coef) for mono, coef in self.terms]))

    def __add__(self, other: DimLike) -> DimLike:
        if isinstance(other, int):
            return _make(self.const + other, self.terms) if other else self
        if other.__class__ is not Dim:
            return NotImplemented
        return collect(self.const + other.const, (*self.terms, *other.terms))

    def __sub__(self, other: DimLike) -> DimLike:
        if isinstance(other, int):
            return _make(self.const - other, self.terms) if other else self
        if other.__class__ is not Dim:
            return NotImplemented
        if self.terms == other.terms:
            return self.const - other.const
        return self + -other

    def __rsub__(self, other: int) -> DimLike:
        return -self + other

    def __mul__(self, other: DimLike) -> DimLike:
        if isinstance(other, int):
            if other == 1:
                return self
            if not other:
                return 0
            terms = tuple([(mono, coef * other) for mono, coef in self.terms])
            return _make(self.const * other, _checked(terms))
        if other.__class__ is not Dim:
            return NotImplemented
        if len(self.terms) * len(other.terms) > MAX_WEIGHT:
            raise SizeError("the formula of this size is too large")
        left = ((), self.const), *self.terms
        right = ((), other.const), *other.terms
        product = [(_times(m, n), a * b) for m, a in left for n, b in right]
        return collect(0, product)

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, n: int) -> DimLike:
        if n == 1:
            return self
        if n < 1:
            raise ValueError(f"sizes are divided by positive integers, not {n}")
        found = _QUOTIENTS.get((self, n))
        if found is None:
            if len(_QUOTIENTS) >= _QUOTIENTS_LIMIT:
                _QUOTIENTS.clear()
            found = _QUOTIENTS[self, n] = _quotient(self, n)
        return found

    def __mod__(self, n: int) -> DimLike:
        return self - self // n * n


DimLike = int | Dim


def _make(const: int, terms: Terms) -> Dim:
    self = object.__new__(Dim)
    self.const, self.terms = const, terms
    self._hash = self._key = self._names = self._wave = None
    return self


def _checked(terms: Terms) -> Terms:
    if len(terms) > MAX_WEIGHT:
        raise SizeError("the formula of this size is too large")
    for mono, coef in terms:
        if not -MAX_NUMBER < coef < MAX_NUMBER or len(mono) > MAX_DEPTH:
            raise SizeError("the formula of this size is too large")
    return terms


def _mono_key(mono: Mono) -> tuple[Any, ...]:
    return -len(mono), tuple([atom.key for atom in mono])


def _term_key(term: tuple[Mono, int]) -> tuple[Any, ...]:
    return _mono_key(term[0])


def _atom_key(atom: Atom) -> tuple[Any, ...]:
    return atom.key


def _times(left: Mono, right: Mono) -> Mono:
    if not left or not right:
        return left or right
    return tuple(sorted(left + right, key=_atom_key))


def collect(const: int, terms: Iterable[tuple[Mono, int]]) -> DimLike:
    """The sum of `const` and the terms, like terms added, in normal order."""
    table: dict[Mono, int] = {}
    for mono, coef in terms:
        table[mono] = table.get(mono, 0) + coef
    const += table.pop((), 0)
    kept = [term for term in table.items() if term[1]]
    if not kept:
        return const
    if len(kept) > 1:
        kept.sort(key=_term_key)
    return _make(const, _checked(tuple(kept)))


def _quotient(d: Dim, n: int) -> DimLike:
    """floor(d / n) in normal form, n >= 2.

    Multiples of n leave the floor; what stays is divided by the common divisor; a floor that is
    alone with coefficient 1 among plain terms is opened:
    floor((floor(a / b) + c) / n) = floor((a + b c) / (b n)) for integers c.
    """
    outside, inside = [], []
    for mono, coef in d.terms:
        whole, rest = divmod(coef, n)
        if whole:
            outside.append((mono, whole))
        if rest:
            inside.append((mono, rest))
    whole, rest = divmod(d.const, n)
    if not inside:
        return _make(whole, tuple(outside))
    common = gcd(n, *[coef for _, coef in inside])
    if common > 1:
        inside = [(mono, coef // common) for mono, coef in inside]
        rest, n = rest // common, n // common
    opened = _opened(inside, rest, n)
    if opened is not None:
        return opened if not (outside or whole) else opened + collect(whole, outside)
    atom = _floor(_make(rest, tuple(inside)), n)
    if not outside:
        return _make(whole, (((atom,), 1),))
    return collect(whole, (*outside, ((atom,), 1)))


def _opened(inside: list[tuple[Mono, int]], const: int, n: int) -> DimLike | None:
    """floor((inside + const) / n) with its one nested floor opened; None if there is none."""
    floors = [i for i, (mono, _) in enumerate(inside) if _has_floor(mono)]
    if len(floors) != 1:
        return None
    mono, coef = inside[floors[0]]
    if coef != 1 or len(mono) != 1:
        return None
    atom = mono[0]
    assert isinstance(atom, Floor)
    others = collect(const, [term for term in inside if term[0] is not mono])
    return (atom.inner + others * atom.n) // (n * atom.n)


def _has_floor(mono: Mono) -> bool:
    return any(atom.__class__ is Floor for atom in mono)


def symbol(name: str) -> Dim:
    """The size called `name`, an integer >= 1."""
    return _make(0, (((_symbol(name),), 1),))


def ceil_div(a: DimLike, n: int) -> DimLike:
    """ceil(a / n) for a positive integer n, in the normal form of floors."""
    return (a + (n - 1)) // n


def evaluate(d: DimLike, env: Mapping[str, int]) -> int:
    """The integer `d` is at the sizes `env`. Raises KeyError for a symbol `env` lacks."""
    if isinstance(d, int):
        return d
    total = d.const
    for mono, coef in d.terms:
        for atom in mono:
            if isinstance(atom, Symbol):
                coef *= env[atom.name]
            else:
                coef *= evaluate(atom.inner, env) // atom.n
        total += coef
    return total


def substitute(d: DimLike, table: Mapping[str, DimLike]) -> DimLike:
    """`d` with symbols replaced, in normal form."""
    if isinstance(d, int):
        return d
    total: DimLike = d.const
    for mono, coef in d.terms:
        product: DimLike = coef
        for atom in mono:
            if isinstance(atom, Floor):
                product = substitute(atom.inner, table) // atom.n * product
            elif atom.name in table:
                product = table[atom.name] * product
            else:
                product = symbol(atom.name) * product
        total = product + total
    return total


def symbols(d: DimLike) -> frozenset[str]:
    """Names of the symbols `d` mentions."""
    if isinstance(d, int):
        return frozenset()
    if d._names is None:
        found: set[str] = set()
        for mono, _ in d.terms:
            for atom in mono:
                found |= {atom.name} if isinstance(atom, Symbol) else symbols(atom.inner)
        d._names = frozenset(found)
    return d._names


def text(d: DimLike) -> str:
    """`d` as Python reads it, with `floor`: "2 * floor((H + 1) / 2) - 3"."""
    if isinstance(d, int):
        return str(d)
    parts = [(coef < 0, _term_text(mono, abs(coef))) for mono, coef in d.terms]
    if d.const:
        parts.append((d.const < 0, str(abs(d.const))))
    lead = next((i for i, part in enumerate(parts) if not part[0]), 0)
    parts.insert(0, parts.pop(lead))  # "5 - H", not "-H + 5"
    first = ("-" if parts[0][0] else "") + parts[0][1]
    return first + "".join((" - " if minus else " + ") + word for minus, word in parts[1:])


def _term_text(mono: Mono, coef: int) -> str:
    words = [] if coef == 1 else [str(coef)]
    for atom in mono:
        words.append(atom.name if isinstance(atom, Symbol) else _floor_text(atom))
    return " * ".join(words)


def _floor_text(atom: Floor) -> str:
    return f"floor({quotient_text(atom.inner, atom.n)})"


def quotient_text(d: DimLike, n: int) -> str:
    """`d / n` as Python reads it, brackets where they are needed."""
    word = text(d)
    bare = isinstance(d, int) or (len(d.terms) == 1 and not d.const)
    return f"{word} / {n}" if bare else f"({word}) / {n}"
