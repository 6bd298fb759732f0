"""conv -> batch norm => conv with other weights

With running statistics m, v and affine g, b (1 and 0 where the norm has none) a batch norm in
evaluation is y = (x - m) * s + b with s = g / sqrt(v + eps), one affine map per channel. A
convolution is linear in its weights, so

    w' = w * s  (per output channel),    bias' = (bias - m) * s + b.

Exact in real arithmetic for convolutions and transposed convolutions, whatever their padding, since
the norm comes behind them. Not done where the convolution's own value is read elsewhere, or where
the norm uses the statistics of the batch even in evaluation.
"""

from __future__ import annotations

from dataclasses import replace

from segc.check import Checked
from segc.ir import Node, Ref
from segc.ops.conv import Conv2d, ConvTranspose2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import read_elsewhere

NORMS = ("batch_norm2d", "frozen_batch_norm2d", "sync_batch_norm2d")


def fold_batch_norm(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Fold a batch norm into the convolution whose output it normalises."""
    if node.op.name not in NORMS:
        return None
    conv = checked.graph.by_name.get(node.inputs[0].node)
    if conv is None or not isinstance(conv.op, (Conv2d, ConvTranspose2d)):
        before = conv.op.name if conv else "the input"
        return Skip(node.name, f"it follows {before}, not a convolution")
    if read_elsewhere(checked.graph, conv, node):
        return Skip(node.name, f"the value of `{conv.name}` is read elsewhere too")
    if batch_statistics(node):
        return Skip(node.name, "it uses the statistics of the batch in evaluation too")
    folded = replace(conv, op=conv.op.replace(bias=True), init={})
    move = Move("fold_batch_norm", (conv.name, node.name, epsilon(node)))
    if isinstance(conv.op, ConvTranspose2d):
        move = Move("fold_batch_norm_transposed", (*move.args, conv.op.groups))
    there = {node.name: Ref(conv.name)}
    return Rewrite(put={conv.name: (folded,)}, instead=there, moves=(move,))


def epsilon(norm: Node) -> float:
    """What a batch norm adds to the variance."""
    return float(norm.op.values.get("eps", norm.op.attrs["eps"].default))


def batch_statistics(norm: Node) -> bool:
    """Whether a norm takes the statistics of the batch in evaluation too."""
    return not getattr(norm.op, "track_running_stats", True)
