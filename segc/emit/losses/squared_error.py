"""`squared_error`: against a map of numbers, where there is one."""

from __future__ import annotations

from segc.emit.losses.pieces import Function, Loss, definition
from segc.emit.pieces import number


def function(name: str, loss: Loss, coarse: frozenset[str]) -> Function:
    """The source of one `squared_error`; its output has the shape of the target."""
    least = loss["minimum"]
    lines = ["    difference = output.float() - target"]
    doc = "Squared difference to the target"
    if least is not None:
        doc += f" where that is at least {number(least)}"
        lines = [
            f"    valid = target >= {number(least)}",
            "    difference = (output.float() - target).where(valid, 0)",
        ]
    count = "valid.sum().clamp(min=1)" if least is not None else "target.numel()"
    by = {"sum": "", "mean": f" / {count}", "batch": " / target.shape[0]"}[loss["reduction"]]
    said = {
        "sum": "The sum, divided by nothing.",
        "mean": "The sum divided by how many values count.",
        "batch": "The sum divided by the number of images.",
    }[loss["reduction"]]
    lines.append(f"    return difference.square().sum(){by}")
    source = definition(name, ["output", "target"], (f"{doc}.", said), lines)
    return Function(source, (loss["output"],), (str(loss["target"]),))
