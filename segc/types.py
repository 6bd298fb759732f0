"""The types of the values that flow between layers."""

from __future__ import annotations

from dataclasses import dataclass, field

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
class Boxes:
    """Boxes of a row set, `[rows, 5]`: image number, x1, y1, x2, y2.

    `frame`: what they are measured in, pixels of the network's input ("image") or shares of it
    ("normalised"). `legacy`: inclusive pixels as in Caffe's networks, a width is x2 - x1 + 1.
    `images`: how many images the rows are of, where known; bounds of row sets are quoted from it.
    """

    shape: tuple[DimLike, ...]
    legacy: bool = False
    frame: str = "image"
    images: DimLike | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Pick:
    """Which rows of another set a new row set is made of, `[rows]`, in that order."""

    shape: tuple[DimLike, ...]
    source: DimLike


@dataclass(frozen=True, slots=True)
class Match:
    """For each row the row of `target` (ground truth) it belongs to, `[rows]`.

    -1: to none, it is background; -2: it is left out.
    """

    shape: tuple[DimLike, ...]
    target: DimLike


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of a value whose layer is at fault: what reads it stays silent."""


Rowed = Boxes | Pick | Match
Type = Tensor | Index | Boxes | Pick | Match | Unknown
UNKNOWN = Unknown()
