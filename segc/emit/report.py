"""report.md: what a build knows about a network, for a reader and for a reviewer's diff."""

from __future__ import annotations

from collections.abc import Iterable

from segc.analyse import Sizes, Table, reference_sizes, table
from segc.check import Checked
from segc.read.loss_table import completed
from segc.summary import layers_markdown, mib


def report(checked: Checked, command: str, deploy: Iterable[str]) -> str:
    """Markdown: accepted sizes with their reasons, the layer table, training, deployment.

    command: the `segc build` that makes it. deploy: lines on the deploy module.
    """
    sizes = reference_sizes(checked)
    found = table(checked, sizes)
    lines = [
        *_head(checked, command),
        "![Diagram of the network](diagram.svg)",
        "",
        "## Input sizes",
        "",
        *_accepted(checked),
        "",
        "## Layers",
        "",
        *_costs(found, sizes),
        "",
        layers_markdown(found).rstrip("\n"),
        "",
        *_training(checked),
        "## Deploy module",
        "",
        *deploy,
    ]
    return "\n".join(lines) + "\n"


def _costs(found: Table, sizes: Sizes) -> list[str]:
    totals = found.totals
    frozen = totals.params - totals.trainable
    note = f", {frozen:,} of them frozen" if frozen else ""
    memory = f"{mib(totals.activation_bytes)} MiB, {mib(totals.peak_bytes)} MiB of them"
    return [
        f"{totals.params:,} parameters{note}.",
        f"At {_shown(sizes)}: {totals.macs:,} multiply-accumulates,",
        f"activations of {memory} at most at once (float32, inference).",
    ]


def _head(checked: Checked, command: str) -> list[str]:
    graph = checked.graph
    lines = [f"# {graph.title or graph.name}", ""]
    if graph.source:
        lines += [graph.source, ""]
    if graph.notes:
        lines += [graph.notes, ""]
    params = ", ".join(f"`{name}={value}`" for name, value in graph.params.items())
    lines += [f"Written by `{command}`; parameters: {params or 'none'}.", ""]
    return lines


def _shown(sizes: Sizes) -> str:
    return ", ".join(f"`{n}` {'x'.join(str(d) for d in s)}" for n, s in sizes.items())


def _accepted(checked: Checked) -> list[str]:
    symbols = [d for i in checked.graph.inputs.values() for d in i.shape[1:] if isinstance(d, str)]
    lines = [f"- {checked.domain.describe(s)}" for s in dict.fromkeys(symbols)]
    if checked.domain.constraints():
        lines += ["", "Layers that limit them, and what would happen otherwise:", ""]
        first = {r.node: r for r in reversed(checked.reasons)}
        lines += [f"- `{n}` (line {r.loc.line}): {r.text}" for n, r in reversed(first.items())]
    return lines or ["- fixed by the spec"]


def _training(checked: Checked) -> list[str]:
    graph = checked.graph
    if not graph.losses:
        return []
    lines = ["## Training", ""]
    for name, loss in graph.losses.items():
        usual = completed({"kind": loss["kind"]})
        stated = {k: v for k, v in loss.items() if k not in usual or v != usual[k] or k == "kind"}
        said = ", ".join(f"{k} {_plain(v)}" for k, v in stated.items())
        lines.append(f"- loss `{name}`: {said}")
    for name, value in graph.recipe.items():
        if value not in (None, (), [], {}):
            lines.append(f"- {name}: {_plain(value)}")
    return [*lines, ""]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k} {_plain(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
