"""`binary_cross_entropy`: class 1 against class 0, or the borders between classes."""

from __future__ import annotations

from segc.emit.losses.pieces import Function, Loss, definition, divided, enlarged, sentence


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """The source of one `binary_cross_entropy`; `coarse` names outputs smaller than the labels."""
    variable = "logits" if loss["reads"] == "logits" else "probability"
    truth, valid, helper = _truth(loss)
    lines = [enlarged(variable, loss["output"] in coarse), *truth]
    lines += [f"    valid = {valid}", *_each(loss, variable)]
    if loss["balanced"]:
        lines += [
            "    positives = (truth & valid).sum() / valid.sum().clamp(min=1)",
            "    weight = torch.where(truth, 1 - positives, positives) * valid",
        ]
    elif loss["reduction"] == "images":
        lines.append("    weight = valid.float()")
    lines += divided(loss["reduction"], "valid") if loss["balanced"] else _plain(loss["reduction"])
    source = definition(name, [variable, "mask"], _doc(loss), lines)
    return Function(source, (loss["output"],), ("mask",), (helper,) if helper else ())


def _truth(loss: Loss) -> tuple[list[str], str, str]:
    """Lines that make `truth`, the pixels that count, the helper."""
    if loss["target"] == "mask":
        return ["    truth = mask == 1"], "mask != IGNORE", ""
    edges = loss["edges"] or {"radius": 2, "released": False}
    helper = "released_edges_of" if edges["released"] else "edges_of"
    valid = "torch.ones_like(truth)" if edges["released"] else "mask != IGNORE"
    return [f"    truth = {helper}(mask, {edges['radius']})"], valid, helper


def _each(loss: Loss, variable: str) -> list[str]:
    """Lines that make `each`, the value of every pixel."""
    if loss["reads"] == "probability":
        right = "torch.where(truth, probability[:, 0], 1 - probability[:, 0])"
        return [f"    each = -{right}.clamp(min=1e-12).log()"]
    each = f'F.binary_cross_entropy_with_logits({variable}[:, 0], target, reduction="none")'
    note = "  # as released: a second sigmoid" if loss["reads"] == "probability_as_logits" else ""
    return [f"    target = truth.float(){note}", f"    each = {each}"]


def _plain(reduction: str) -> list[str]:
    """All pixels that count weigh 1."""
    if reduction == "images":
        return divided(reduction, "valid")
    by = {"sum": "", "batch": " / mask.shape[0]"}.get(reduction, " / valid.sum().clamp(min=1)")
    return [f"    return (each * valid).sum(){by}"]


def _doc(loss: Loss) -> tuple[str, str]:
    edges = loss["target"] == "edges"
    pixels = "the pixels that are not IGNORE"
    pixels = "all pixels" if edges and (loss["edges"] or {}).get("released") else pixels
    what = ", borders between classes or not" if edges else ""
    first = f"Binary cross entropy of {pixels}{what}."
    balance = "Positives weigh the share of negatives, negatives that of positives. "
    more = balance if loss["balanced"] else ""
    return first, more + sentence(loss, bool(loss["balanced"]))
