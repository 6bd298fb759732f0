"""Does what `recipe.inference` offers go with the network?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from segc.check import Checked
from segc.diag import Report
from segc.loc import Loc


def check_inference(checked: Checked, margin: int | None, outputs: int, report: Report) -> None:
    """Report offers that this network cannot keep.

    `margin` is the number of pixels its output is smaller on every side, `outputs` its channels.
    """
    recipe = checked.graph.recipe
    offers = recipe.get("inference") or {}
    for key, text, hint in _misfits(checked, offers, margin, outputs):
        place = getattr(recipe, "locs", {}).get(f"inference.{key}", checked.graph.loc)
        loc = place if isinstance(place, Loc) else None
        report.error("SEG622", text, loc, hint=hint)


def _misfits(
    checked: Checked, offers: Mapping[str, Any], margin: int | None, outputs: int
) -> Iterator[tuple[str, str, str]]:
    """Place, text and way out of each offer that does not fit."""
    if margin and offers.get("slide"):
        yield (
            "slide",
            f"`slide` needs an output as large as the image; this one loses {margin} on each side",
            "`tile` is for networks of unpadded convolutions",
        )
    tile = offers.get("tile") or {}
    if margin and tile.get("overlap"):
        yield (
            "tile.overlap",
            f"tiles of this network see {margin} pixels around them anyway, its margin",
            "leave `overlap` out",
        )
    if offers.get("samples") and not _has_dropout(checked):
        yield (
            "samples",
            "all `samples` would be the same: the network has no dropout",
            "leave `samples` out, or add a dropout layer",
        )
    if outputs == 1 and offers.get("average") == "log_probabilities":
        yield (
            "average",
            "log probabilities are averaged over two or more classes, the output has one channel",
            "average `probabilities`",
        )


def _has_dropout(checked: Checked) -> bool:
    nodes = checked.graph.nodes
    return any("dropout" in node.op.name for node in nodes if not node.absent)
