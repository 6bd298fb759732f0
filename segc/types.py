"""The types of the values that flow between layers."""

from __future__ import annotations

from dataclasses import dataclass

from segc.dim import DimLike


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dense tensor, `[N, C, H, W]` or any other shape."""

    shape: tuple[DimLike, ...]
    dtype: str = "float"


@dataclass(frozen=True, slots=True)
class Index:
    """The positions a max pooling took its values from, typed to that pooling.

    `shape` is the pooled shape (one index per pooled value), `source` the shape of the map the
    indices point into, `pool` the dotted name of the layer that made them.
    """

    shape: tuple[DimLike, ...]
    source: tuple[DimLike, ...]
    pool: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of a value whose layer is at fault: what reads it stays silent."""


Type = Tensor | Index | Unknown
UNKNOWN = Unknown()
