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
from segc.rewrite import Move, Rewrite, Skip

NORMS = ("batch_norm2d", "frozen_batch_norm2d")
LAYERS = {"conv2d": "fold_batch_norm", "conv_transpose2d": "fold_batch_norm_transposed"}


def fold_batch_norm(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Fold a batch norm into the convolution whose output it normalises."""
    if node.op.name not in NORMS:
        return None
    graph = checked.graph
    conv = graph.by_name.get(node.inputs[0].node)
    if conv is None or conv.op.name not in LAYERS:
        before = conv.op.name if conv else "the input"
        return Skip(node.name, f"it follows {before}, not a convolution")
    why = _refusal(checked, conv, node)
    if why:
        return Skip(node.name, why)
    folded = replace(conv, op=conv.op.replace(bias=True), init={})
    eps = float(node.op.values.get("eps", node.op.attrs["eps"].default))
    groups = (getattr(conv.op, "groups", 1),) if conv.op.name == "conv_transpose2d" else ()
    move = Move(LAYERS[conv.op.name], (conv.name, node.name, eps, *groups))
    there = {node.name: Ref(conv.name)}
    return Rewrite(put={conv.name: (folded,)}, instead=there, moves=(move,))


def _refusal(checked: Checked, conv: Node, norm: Node) -> str | None:
    graph = checked.graph
    readers = graph.users.get(Ref(conv.name), ())
    if len(readers) > 1 or Ref(conv.name) in graph.outputs.values():
        return f"the value of `{conv.name}` is read elsewhere too"
    if not getattr(norm.op, "track_running_stats", True):
        return "it uses the statistics of the batch in evaluation too"
    return None
