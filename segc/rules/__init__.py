"""Optimisations that keep the function: the ordered tuple, one file a rule, a reason a line."""

from __future__ import annotations

from segc.rewrite import Rule
from segc.rules.drop_dropout import drop_dropout
from segc.rules.fold_batch_norm import fold_batch_norm

RULES: tuple[Rule, ...] = (
    Rule("drop_dropout", "safe", drop_dropout),  # first: between conv and norm it hides a fold
    Rule("fold_batch_norm", "safe", fold_batch_norm),  # one pass over memory less per norm
)

__all__ = ["RULES"]
