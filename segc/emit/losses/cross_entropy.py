"""`cross_entropy`: weighted by class, by image, by the borders near a pixel; on either grid."""

from __future__ import annotations

from segc.emit.losses.pieces import Function, Loss, counted, definition, divided, enlarged, sentence


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """The source of one `cross_entropy`; `coarse` names the outputs smaller than the labels."""
    if loss["target"] == "label":
        return _of_images(name, loss)
    arguments = ["mask"]
    arguments += ["weights"] if counted(loss) else []
    arguments += ["borders"] if loss["border_weight"] else []
    lines, helpers = _on_one_grid(loss, loss["output"] in coarse)
    helpers += ["image_weights"] if loss["class_weights"] == "per_image" else []
    source = definition(name, ["logits", *arguments], _doc(loss), [*lines, *total(loss)])
    return Function(source, (loss["output"],), tuple(arguments), tuple(helpers))


def _on_one_grid(loss: Loss, coarse: bool) -> tuple[list[str], list[str]]:
    """Lines that bring logits and labels together, and the helpers they call."""
    if loss["target"] == "centre":
        return ["    logits = logits.float()", "    mask = centre(mask)"], ["centre"]
    if loss["resize"] == "logits":
        return [enlarged("logits", coarse)], []
    sampled = f"    mask = {loss['resize']}(mask, logits.shape[-2:])"
    return ["    logits = logits.float()", sampled], [loss["resize"]]


def _doc(loss: Loss) -> tuple[str, str]:
    where = " in the middle" if loss["target"] == "centre" else ""
    first = f"Cross entropy of the pixels{where} that are not IGNORE."
    return first, weighted_by(loss) + sentence(loss, bool(weighted_by(loss)))


def weighted_by(loss: Loss) -> str:
    """A sentence on what the weight of a pixel depends on; "" where all weigh 1."""
    by = ["its class"] if counted(loss) else []
    by += ["how rare its class is in its image"] if loss["class_weights"] == "per_image" else []
    by += ["the borders near it"] if loss.get("border_weight") else []
    return f"Each is weighted by {' and '.join(by)}. " if by else ""


def total(loss: Loss) -> list[str]:
    """Lines from `logits` and `mask` on one grid to the value of the loss."""
    plain = loss["class_weights"] != "per_image" and not loss.get("border_weight")
    if plain and loss["reduction"] != "images":
        return _plain(loss["reduction"], counted(loss))
    each = 'F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none")'
    return [
        f"    each = {each}",
        *_weight(loss),
        *divided(loss["reduction"], "(mask != IGNORE)"),
    ]


def _plain(reduction: str, weighted: bool) -> list[str]:
    """torch's own sum; where nothing but classes weighs, no map of weights is needed."""
    arguments = "logits, mask, weights" if weighted else "logits, mask"
    lines = [f'    total = F.cross_entropy({arguments}, ignore_index=IGNORE, reduction="sum")']
    if reduction == "sum":
        return [*lines, "    return total"]
    if reduction == "batch":
        return [*lines, "    return total / mask.shape[0]"]
    if reduction == "mean" and weighted:
        return [
            *lines,
            "    valid = mask != IGNORE",
            "    share = (weights[mask.where(valid, 0)] * valid).sum()",
            "    return total / share.clamp(min=1e-12)",
        ]
    return [*lines, "    return total / (mask != IGNORE).sum().clamp(min=1)"]


def _weight(loss: Loss) -> list[str]:
    """`weight`: of each pixel, 0 where it is ignored."""
    borders = bool(loss.get("border_weight"))
    if loss["class_weights"] == "per_image":
        lines = ["    weight = image_weights(mask, logits.shape[1])"]
        return lines + (["    weight = weight + borders * (mask != IGNORE)"] if borders else [])
    if not counted(loss):
        one = "(1 + borders) * (mask != IGNORE)" if borders else "(mask != IGNORE).float()"
        return [f"    weight = {one}"]
    both = (
        "(weights[mask.where(valid, 0)] + borders)" if borders else "weights[mask.where(valid, 0)]"
    )
    return ["    valid = mask != IGNORE", f"    weight = {both} * valid"]


def _of_images(name: str, loss: Loss) -> Function:
    """One label an image; all of them count."""
    weighted, total = counted(loss), loss["reduction"] == "sum"
    arguments = ["labels", *(["weights"] if weighted else [])]
    given = ", ".join(["logits.float()", *arguments, *(['reduction="sum"'] if total else [])])
    divided = "Their sum, divided by nothing." if total else "Their mean."
    if weighted and not total:
        divided = "Their sum divided by the sum of their weights."
    doc = "Cross entropy of the classes of images."
    more = f"Each is weighted by its class. {divided}" if weighted else divided
    lines = [f"    return F.cross_entropy({given})"]
    return Function(
        definition(name, ["logits", *arguments], (doc, more), lines),
        (loss["output"],),
        tuple(arguments),
    )
