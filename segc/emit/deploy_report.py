"""What report.md says of the deploy module: its cost, what was done where, what not and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from segc.analyse import reference_sizes, totals
from segc.check import Checked
from segc.phases import inference
from segc.rewrite import Fired, Optimised, Skip
from segc.summary import mib

SHOWN = 4  # layers named before the rest are counted


def deploy_report(checked: Checked, optimised: Optimised) -> list[str]:
    """Lines of Markdown: before and after, a table of what was done, reasons for what was not."""
    if not optimised.fired and not optimised.skipped:
        return ["No optimisation applies: it is the plain network without its training parts."]
    return [*_totals(checked, optimised), "", *_done(optimised.fired), *_refused(optimised)]


def _totals(checked: Checked, optimised: Optimised) -> Iterator[str]:
    plain = inference(checked)
    sizes = reference_sizes(plain)
    before, after = totals(plain, sizes), totals(optimised.checked, sizes)
    assert before.macs is not None and after.macs is not None
    ratio = f" (/{before.macs / after.macs:.2f})" if after.macs else ""
    yield f"At that size in evaluation {before.macs:,} multiply-accumulates"
    yield f"become {after.macs:,}{ratio},"
    yield (
        f"activations {mib(before.activation_bytes)} MiB become {mib(after.activation_bytes)} MiB, "
        f"{mib(before.peak_bytes)} MiB at most at once become {mib(after.peak_bytes)} MiB."
    )


def _done(fired: Iterable[Fired]) -> Iterator[str]:
    by_rule: dict[str, list[Fired]] = {}
    for f in fired:
        by_rule.setdefault(f.rule, []).append(f)
    if not by_rule:
        return
    yield "| optimisation | times | where | MACs saved | MB moved less |"
    yield "|---|---|---|---|---|"
    for rule, found in by_rule.items():
        macs, size = sum(f.macs for f in found), sum(f.bytes for f in found)
        where = _names([f.node for f in found])
        yield f"| `{rule}` | {len(found)} | {where} | {_short(macs)} | {size / 1e6:.1f} |"


def _refused(optimised: Optimised) -> Iterator[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for rule, skip in optimised.skipped:
        reasons.setdefault((rule, _kind(skip)), []).append(skip.node)
    if reasons:
        yield ""
        yield "Not done:"
        yield ""
    for (rule, why), nodes in reasons.items():
        yield f"- `{rule}` at {_names(nodes)}: {why}"


def _kind(skip: Skip) -> str:
    """The reason without its figures, so that layers refused alike stand together."""
    return skip.why.split(":", 1)[0] if skip.why.startswith("it would cost more:") else skip.why


def _names(nodes: list[str]) -> str:
    shown = ", ".join(f"`{n}`" for n in nodes[:SHOWN])
    return shown if len(nodes) <= SHOWN else f"{shown} and {len(nodes) - SHOWN} more"


def _short(macs: int) -> str:
    if not macs:
        return ""
    return f"{macs / 1e9:.2f} G" if abs(macs) >= 1e8 else f"{macs / 1e6:.1f} M"
