"""What the tests of rules share: a spec from a few layers, its plain and its deploy network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from segc.build import Maker
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
            wanted, got = plain(x), fast(x)
            assert got.shape == wanted.shape
            worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1)))
    return optimised, worst


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
