"""Optimisations that keep the function: the ordered tuple, one file a rule, a reason a line."""

from __future__ import annotations

from segc.rewrite import Rule
from segc.rules.drop_dropout import drop_dropout
from segc.rules.fold_batch_norm import fold_batch_norm

RULES: tuple[tuple[str, Rule], ...] = (
    ("drop_dropout", drop_dropout),  # first: a dropout between conv and norm would hide a fold
    ("fold_batch_norm", fold_batch_norm),  # one pass over memory less per norm
)

__all__ = ["RULES"]
