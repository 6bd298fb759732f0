"""The tree of a YAML document: values that know where they stand, and the budgets for it."""

from __future__ import annotations

from dataclasses import dataclass

from segc.loc import Loc


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of one document, checked before memory is spent."""

    size: int = 1 << 20  # characters
    depth: int = 32  # nested collections
    values: int = 50_000  # scalars and collections, keys not counted
    keys: int = 10_000  # of one mapping
    text: int = 4_096  # characters of one value
    errors: int = 100  # after which reading stops


STRICT = Limits()


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `text` is what stands in the file (after unquoting); keys have text values."""

    value: str | int | float | bool | None
    loc: Loc
    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Mapping_:
    """Keys and values in the order of the file. `loc` is its first key or its `{`."""

    entries: tuple[tuple[Scalar, YNode], ...]
    loc: Loc


@dataclass(frozen=True, slots=True)
class Sequence_:
    """Items in the order of the file. `loc` is its first `-` or its `[`."""

    items: tuple[YNode, ...]
    loc: Loc


YNode = Scalar | Mapping_ | Sequence_
