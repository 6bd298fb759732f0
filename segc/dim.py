"""Exact symbolic sizes (`Dim`) and the sizes a network accepts (`Domain`): the public names.

`segc.poly` holds the arithmetic, `segc.waves` what is known of sizes of one symbol, `segc.residues`
the sets of one symbol's accepted values, `segc.domain` what ties them together.
"""

from __future__ import annotations

from segc.domain import Domain
from segc.poly import (
    Dim,
    DimLike,
    SizeError,
    ceil_div,
    evaluate,
    substitute,
    symbol,
    symbols,
    text,
)
from segc.waves import same_rate, wave

__all__ = [
    "Dim",
    "DimLike",
    "Domain",
    "SizeError",
    "ceil_div",
    "evaluate",
    "same_rate",
    "substitute",
    "symbol",
    "symbols",
    "text",
    "wave",
]
