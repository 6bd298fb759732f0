"""`edge_attention`: cross entropy of the pixels where borders are predicted (Gated-SCNN)."""

from __future__ import annotations

from segc.emit.losses.cross_entropy import total, weighted_by
from segc.emit.losses.pieces import Function, Loss, counted, definition, enlarged, sentence
from segc.emit.pieces import number


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """The source of one `edge_attention`; `coarse` names the outputs smaller than the labels."""
    arguments = ["mask", "weights"] if counted(loss) else ["mask"]
    lines = [
        enlarged("logits", loss["output"] in coarse),
        enlarged("edges", loss["edges"] in coarse),
        f"    mask = mask.where(edges[:, 0] > {number(loss['threshold'])}, IGNORE)",
        *total(loss),
    ]
    weight = weighted_by(loss)
    first = f"Cross entropy of the pixels where `edges` is above {number(loss['threshold'])}."
    doc = (first, weight + sentence(loss, bool(weight)))
    helpers = ("image_weights",) if loss["class_weights"] == "per_image" else ()
    source = definition(name, ["logits", "edges", *arguments], doc, lines)
    return Function(source, (loss["output"], loss["edges"]), tuple(arguments), helpers)
