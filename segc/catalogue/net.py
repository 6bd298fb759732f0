"""Complete small specs for the examples of the catalogue."""

from __future__ import annotations

from textwrap import dedent, indent


def net(
    layers: str, before: str = "", inputs: str = "{image: [N, 3, H, W]}", after: str = ""
) -> str:
    """A spec around some layers, the last of which is called `logits` and is the output."""
    return (
        "segc: 1\nmodel: Net\n"
        + dedent(before).lstrip("\n")
        + f"inputs: {inputs}\n"
        + "layers:\n"
        + indent(dedent(layers).strip("\n"), "  ")
        + "\noutputs: {logits: logits}\n"
        + dedent(after).lstrip("\n")
    )
