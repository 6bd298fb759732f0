"""batch norm -> conv => conv with other weights

In evaluation the norm is x' = x * s + t per channel (see fold_batch_norm), so

    conv(x') = sum over c of (w[:, c] * s[c]) * x[c]  +  (bias + sum over c, taps of w[:, c] * t[c]).

Exact where the convolution pads nothing. With padding the zeros stand behind the norm: the shift
would be missing at the border, and a bias for each pixel of the border costs more than it saves.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import maker, read_elsewhere, sides
from segc.rules.fold_batch_norm import NORMS


def fold_batch_norm_before(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Fold a batch norm into the convolution that reads it."""
    if node.op.name != "conv2d":
        return None
    norm = maker(checked, node.inputs[0], *NORMS)
    if norm is None:
        return None
    if sides(node) != ((0, 0), (0, 0)):
        return Skip(node.name, "the convolution pads with zeros, which the norm would not shift")
    if read_elsewhere(checked.graph, norm, node):
        return Skip(node.name, f"the value of `{norm.name}` is read elsewhere too")
    if not getattr(norm.op, "track_running_stats", True):
        return Skip(node.name, "the norm uses the statistics of the batch in evaluation too")
    eps = float(norm.op.values.get("eps", norm.op.attrs["eps"].default))
    folded = replace(node, op=node.op.replace(bias=True), init={})
    move = Move("fold_batch_norm_before", (node.name, norm.name, eps, node.op.groups))  # type: ignore[attr-defined]
    there = {norm.name: norm.inputs[0]}
    return Rewrite(put={node.name: (folded,)}, instead=there, moves=(move,))
