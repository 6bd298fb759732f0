"""Optimisations that keep the function: the ordered tuple, one file a rule, a reason a line."""

from __future__ import annotations

from segc.rewrite import Rule
from segc.rules.bilinear_deconv import bilinear_deconv
from segc.rules.commute_pointwise import commute_pointwise
from segc.rules.dilated_taps import dilated_taps
from segc.rules.drop_dropout import drop_dropout
from segc.rules.drop_duplicate import drop_duplicate
from segc.rules.drop_identity import drop_identity
from segc.rules.fold_batch_norm import fold_batch_norm
from segc.rules.fold_batch_norm_before import fold_batch_norm_before
from segc.rules.fold_scale import fold_scale
from segc.rules.merge_crops import merge_crops
from segc.rules.nails_conv import nails_conv
from segc.rules.nearest_conv import nearest_conv
from segc.rules.relu_in_place import relu_in_place
from segc.rules.shuffle_deconv import shuffle_deconv
from segc.rules.split_concat_conv import split_concat_conv
from segc.rules.stack_convs import stack_convs
from segc.rules.unpool_conv import unpool_conv

RULES: tuple[Rule, ...] = (
    Rule("drop_dropout", "safe", drop_dropout),  # first: what does nothing hides patterns
    Rule("drop_identity", "safe", drop_identity),
    Rule("drop_duplicate", "safe", drop_duplicate),
    Rule("fold_scale", "safe", fold_scale),
    Rule("fold_batch_norm", "safe", fold_batch_norm),  # one pass over memory less per norm
    Rule("fold_batch_norm_before", "safe", fold_batch_norm_before),
    Rule("bilinear_deconv", "all", bilinear_deconv),
    Rule("merge_crops", "safe", merge_crops),
    Rule("commute_pointwise", "all", commute_pointwise),  # before the enlarged map is split
    Rule("nails_conv", "all", nails_conv),
    Rule("nearest_conv", "all", nearest_conv),
    Rule("unpool_conv", "all", unpool_conv),
    Rule("split_concat_conv", "all", split_concat_conv),
    Rule("shuffle_deconv", "all", shuffle_deconv),
    Rule("stack_convs", "all", stack_convs),
    Rule("dilated_taps", "all", dilated_taps),
    Rule("relu_in_place", "safe", relu_in_place),  # last: which layers there are is settled
)

__all__ = ["RULES"]
