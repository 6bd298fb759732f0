"""Optimisations that keep the function: the ordered tuple, one file a rule, a reason a line."""

from __future__ import annotations

from segc.rewrite import Rule
from segc.rules.drop_dropout import drop_dropout
from segc.rules.drop_duplicate import drop_duplicate
from segc.rules.drop_identity import drop_identity
from segc.rules.fold_batch_norm import fold_batch_norm
from segc.rules.fold_batch_norm_before import fold_batch_norm_before
from segc.rules.fold_scale import fold_scale
from segc.rules.nails_conv import nails_conv
from segc.rules.nearest_conv import nearest_conv

RULES: tuple[Rule, ...] = (
    Rule("drop_dropout", "safe", drop_dropout),  # first: what does nothing hides patterns
    Rule("drop_identity", "safe", drop_identity),
    Rule("drop_duplicate", "safe", drop_duplicate),
    Rule("fold_scale", "safe", fold_scale),
    Rule("fold_batch_norm", "safe", fold_batch_norm),  # one pass over memory less per norm
    Rule("fold_batch_norm_before", "safe", fold_batch_norm_before),
    Rule("nails_conv", "all", nails_conv),
    Rule("nearest_conv", "all", nearest_conv),
)

__all__ = ["RULES"]
