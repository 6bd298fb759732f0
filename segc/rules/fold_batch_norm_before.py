"""batch norm -> conv => conv with other weights

In evaluation the norm is x' = x * s + t per channel (see fold_batch_norm), so

    conv(x') = sum over c of (w[:, c] s[c]) x[c]  +  bias + sum over c and taps of w[:, c] t[c].

Exact where the convolution pads nothing. With padding the zeros stand behind the norm: the shift
would be missing at the border, and a bias for each pixel of the border costs more than it saves.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import convolution, maker, read_elsewhere, sides
from segc.rules.fold_batch_norm import NORMS, batch_statistics, epsilon


def fold_batch_norm_before(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Fold a batch norm into the convolution that reads it."""
    op = convolution(node)
    norm = maker(checked, node.inputs[0], *NORMS) if op else None
    if op is None or norm is None:
        return None
    if sides(op) != ((0, 0), (0, 0)):
        return Skip(node.name, "the convolution pads with zeros, which the norm would not shift")
    if read_elsewhere(checked.graph, norm, node):
        return Skip(node.name, f"the value of `{norm.name}` is read elsewhere too")
    if batch_statistics(norm):
        return Skip(node.name, "the norm uses the statistics of the batch in evaluation too")
    folded = replace(node, op=op.replace(bias=True), init={})
    move = Move("fold_batch_norm_before", (node.name, norm.name, epsilon(norm), op.groups))
    there = {norm.name: norm.inputs[0]}
    return Rewrite(put={node.name: (folded,)}, instead=there, moves=(move,))
