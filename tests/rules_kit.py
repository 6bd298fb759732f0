"""What the tests of rules share: a spec from a few layers, its plain and its deploy network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from segc.build import Maker
from segc.diag import Fail
from segc.emit.audit import audit
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.optimise import Options
from segc.rewrite import Optimised
from segc.source import Source
from segc.verify import import_source, trained_like


def spec(layers: str, output: str, channels: int = 4, size: str = "H, W") -> Source:
    """One input [N, channels, H, W], these layers, one output."""
    head = f"segc: 1\nmodel: Net\ninputs: {{image: [N, {channels}, {size}]}}\nlayers:\n"
    return Source.from_text(f"{head}{layers.strip(chr(10))}\noutputs: {{y: {output}}}\n")


def only(*rules: str) -> Options:
    """Nothing but these rules, wherever they are exact."""
    return Options(level="none", on=frozenset(rules))


def compared(
    source: Source, options: Options, inputs: Iterable[torch.Tensor]
) -> tuple[Optimised, float]:
    """What the optimiser did, and the largest difference of the outputs in float64, relative to
    the largest value of the plain network's output."""
    torch.manual_seed(0)
    make = Maker(source, {}, options)
    plain = import_source(model_source(make), "plain").Net().double()
    with torch.no_grad():
        trained_like(plain)
    plain.eval()
    optimised = make.optimised({})
    text = deploy_source(make.deploy, optimised)
    assert audit(text) == []
    fast = import_source(text, "deploy").from_model(plain)
    worst = 0.0
    with torch.no_grad():
        for x in inputs:
            wanted, got = values(plain(x)), values(fast(x))
            assert wanted.keys() == got.keys()
            worst = max(worst, *(difference(wanted[k], got[k]) for k in wanted))
    return optimised, worst


def values(outputs: Any) -> dict[str, torch.Tensor]:
    """A network's outputs by name."""
    return outputs if isinstance(outputs, dict) else {"y": outputs}


def difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """The largest, relative to the largest value wanted (or 1)."""
    assert got.shape == wanted.shape
    assert bool(torch.isfinite(got).all()) or not bool(torch.isfinite(wanted).all())
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def fired(optimised: Optimised) -> dict[str, int]:
    """How often each rule applied."""
    counts: dict[str, int] = {}
    for f in optimised.fired:
        counts[f.rule] = counts.get(f.rule, 0) + 1
    return counts


def reasons(optimised: Optimised) -> dict[str, str]:
    """Why rules did not apply, by layer."""
    return {skip.node: skip.why for _, skip in optimised.skipped}


def image(height: int, width: int, channels: int = 4, batch: int = 2) -> Any:
    """A random image in float64, the same every time."""
    generator = torch.Generator().manual_seed(1000 * height + width)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)


# --- drawn configurations ---------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Layers to compare before and after, and whether the rule must apply (None: it may)."""

    layers: str
    output: str
    fires: bool | None = None
    sizes: tuple[tuple[int, int], ...] = ((5, 7), (1, 1), (2, 3), (8, 6))
    channels: int = 4


def accepted(source: Source, sizes: Iterable[tuple[int, int]]) -> list[tuple[int, int]] | None:
    """The sizes that the network takes; None if the spec is not sound."""
    try:
        checked = Maker(source, {})({})
    except Fail:
        return None
    return [(h, w) for h, w in sizes if checked.domain.contains({"N": 2, "H": h, "W": w})]


def proved(rule: str, draw: Callable[[Random], Case], count: int = 250) -> Counter[str]:
    """Draw so many sound networks and compare each before and after the rule, in float64.

    Returns how often the rule applied ("fired"), and why it did not.
    """
    seen: Counter[str] = Counter()
    done = tried = 0
    while done < count:
        tried += 1
        assert tried < 6 * count, "most of what is drawn is not sound"
        case = draw(Random(f"{rule} {tried}"))
        source = spec(case.layers, case.output, case.channels)
        sizes = accepted(source, case.sizes)
        if not sizes:
            continue
        done += 1
        inputs = [image(h, w, case.channels) for h, w in sizes]
        optimised, error = compared(source, only(rule), inputs)
        assert error <= 1e-9, (error, case)
        applied = bool(fired(optimised))
        assert case.fires is None or applied == case.fires, (reasons(optimised), case)
        seen["fired"] += applied
        seen.update(set(reasons(optimised).values()))
    return seen


def placed(rng: Random, chain: list[str]) -> tuple[str, str]:
    """Layers that apply a chain of operators at some place of a network, and its output.

    The chain maps any map to one of the same channels. Each item is what stands behind a layer's
    name. Groups, numbers (nn.Sequential), blocks, copies, weights applied twice, training parts.
    """
    kind = rng.choice(("plain", "group", "numbers", "block", "repeat", "twice", "use", "train"))
    names = [str(n) if kind == "numbers" else f"part{n}" for n in range(len(chain))]
    lines = [f"{name}: {item}" for name, item in zip(names, chain, strict=True)]
    top = "\n".join(f"  {line}" for line in lines)
    inner = "\n".join(f"      {line}" for line in lines)
    if kind == "plain":
        return top, names[-1]
    if kind == "train":
        return f"{top}\n  aux: {{op: relu, from: {names[0]}, only: train}}", names[-1]
    group = f"  g:\n    layers:\n{inner}"
    if kind in ("group", "numbers"):
        return group, "g"
    if kind == "use":
        return f"{group}\n  act: relu\n  again: {{use: g}}", "again"
    if kind == "repeat":
        return f"  g:\n    repeat: 2\n    layers:\n{inner}", "g"
    second = group.replace("  g:", "  h:", 1)
    return f"{group}\n  act: relu\n{second}", "h"


def layer_text(op: str, **attributes: Any) -> str:
    """`{op: conv2d, kernel_size: 3}` as a spec says it."""
    parts = [f"op: {op}", *(f"{k}: {_value(v)}" for k, v in attributes.items() if v is not None)]
    return "{" + ", ".join(parts) + "}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
