"""What the emitted loss functions have in common: their form and how they are divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from segc.emit.pieces import WIDTH, call

Loss = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Function:
    """The source of one loss; "" where the output is the loss.

    outputs: the outputs it is called with. arguments: names of what follows them. helpers: names
    in helpers.HELPERS that it calls.
    """

    source: str
    outputs: tuple[str, ...]
    arguments: tuple[str, ...] = ("mask",)
    helpers: tuple[str, ...] = ()


def definition(
    name: str, parameters: Sequence[str], doc: tuple[str, str], lines: Sequence[str]
) -> str:
    """A function from tensors to the value of a loss; `doc` is its first line and a paragraph."""
    tensors = [f"{p}: Tensor" for p in parameters]
    head = call(f"def {name}", tensors, indent=0)
    more = fill(doc[1], WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([f"{head} -> Tensor:", f'    """{doc[0]}\n\n{more}\n    """', *lines])


def counted(loss: Loss) -> bool:
    """Whether its class weights are an argument: a list, or counted on the training set."""
    return loss["class_weights"] not in (None, "per_image")


def enlarged(variable: str, coarse: bool) -> str:
    """Half-precision values become float32, small maps as large as the labels."""
    if not coarse:
        return f"    {variable} = {variable}.float()"
    sizes = [f"{variable}.float()", "mask.shape[-2:]", 'mode="bilinear"', "align_corners=False"]
    return call(f"{variable} = F.interpolate", sizes)


def sentence(loss: Loss, weighted: bool) -> str:
    """How the loss is divided, for its docstring."""
    reduction = loss["reduction"]
    if reduction == "images":
        return f"Each image's mean{', by weight' if weighted else ''}; the images are added up."
    by_number = reduction in ("mean", "valid_pixels") and not weighted
    return _DIVIDED["unweighted" if by_number else reduction]


_DIVIDED = {
    "mean": "Their sum divided by the sum of their weights.",
    "valid_pixels": "Their sum divided by their number, whatever the weights.",
    "unweighted": "Their sum divided by their number.",
    "batch": "Their sum divided by the number of images (so a sum over pixels).",
    "sum": "Their sum, divided by nothing.",
}


def divided(reduction: str, valid: str) -> list[str]:
    """The end of a loss: `each` times `weight`, by pixel, summed and divided.

    valid: an expression for the pixels that count.
    """
    if reduction == "images":
        return [
            "    total = (each * weight).flatten(1).sum(1)",
            "    return (total / weight.flatten(1).sum(1).clamp(min=1e-12)).sum()",
        ]
    total = "(each * weight).sum()"
    by = {
        "sum": "",
        "batch": " / mask.shape[0]",
        "mean": " / weight.sum().clamp(min=1e-12)",
        "valid_pixels": f" / {valid}.sum().clamp(min=1)",
    }[reduction]
    return [f"    return {total}{by}"]
