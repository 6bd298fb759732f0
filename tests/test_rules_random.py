"""All rules together on random networks: equal in float64, costs and shapes as derived."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from rules_kit import accepted, compared, fired, image, spec
from rules_random import random_network
from torch.utils.flop_counter import FlopCounterMode

from segc.analyse import table
from segc.build import Maker
from segc.emit.deploy import deploy_source
from segc.optimise import Options
from segc.rules import RULES
from segc.verify import import_source

NAMES = [rule.name for rule in RULES]
FORCED = Options(on=frozenset(NAMES))
SIZES = ((5, 6), (2, 1), (8, 11))
CHUNK = 20


def networks(chunk: int) -> list[tuple[str, str]]:
    found = [random_network(seed) for seed in range(CHUNK * chunk, CHUNK * (chunk + 1))]
    return [n for n in found if accepted(spec(*n), SIZES)]


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("chunk", range(12))
def test_equal(chunk: int, forced: bool) -> None:
    drawn = networks(chunk)
    assert len(drawn) > CHUNK // 2
    for layers, outputs in drawn:
        source = spec(layers, outputs)
        inputs = [image(*size) for size in accepted(source, SIZES) or ()]
        _, error = compared(source, FORCED if forced else Options(), inputs)
        assert error <= 1e-9, layers


def test_every_rule_takes_part() -> None:
    seen: Counter[str] = Counter()
    for chunk in range(12):
        for layers, outputs in networks(chunk):
            seen.update(fired(Maker(spec(layers, outputs), {}, FORCED).optimised({})))
    assert set(seen) == set(NAMES)


@pytest.mark.parametrize("chunk", range(4))
def test_derived_costs_are_those_counted(chunk: int) -> None:
    for layers, outputs in networks(chunk):
        source = spec(layers, outputs)
        size = (accepted(source, SIZES) or [])[0]
        make = Maker(source, {}, FORCED)
        done = make.optimised({})
        derived = table(done.checked, {"image": (1, 4, *size)}).totals.macs
        with torch.device("meta"):
            network = import_source(deploy_source(make.deploy, done), "deploy").Net().eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.empty(1, 4, *size, device="meta"))
        assert counter.get_total_flops() == 2 * derived, layers
