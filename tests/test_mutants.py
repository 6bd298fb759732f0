"""Sound specs with a few things changed: never an exception, and what is accepted works."""

from __future__ import annotations

import random
import time

import pytest
from mutants import Mutator, sound
from spec_kit import check

from segc.analyse import reference_sizes, table
from segc.op import REGISTRY


def test_mutants_end_in_diagnostics() -> None:
    """Sound specs with one to five things changed: a graph or a diagnostic, never an exception;
    what is accepted has a table."""
    specs, operators = sound(), sorted(REGISTRY)
    names, accepted, slowest = sorted(specs), 0, 0.0
    for seed in range(700):
        rng = random.Random(seed)
        name = rng.choice(names)
        text = Mutator(seed, operators).mutate(specs[name], rng.choice((1, 1, 1, 2, 3, 5)))
        start = time.process_time()
        checked, found = check(text)  # an exception here fails the test with its seed in view
        if not found and checked is not None:
            accepted += 1
            table(checked, reference_sizes(checked))
        slowest = max(slowest, time.process_time() - start)
        assert checked is not None or found, f"seed {seed}"
        assert all(d.message and "\n" not in d.message for d in found), f"seed {seed}"
    assert 60 < accepted < 400, accepted
    assert slowest < 2


def test_accepted_mutants_build_and_run() -> None:
    """Accepted means: the emitted network is constructed, has the parameters and computes the
    shapes that were derived."""
    pytest.importorskip("torch")
    from segc.build import Maker
    from segc.emit.module import instrumented_source, model_source
    from segc.source import Source
    from segc.verify import verify_network

    specs, operators = sound(), sorted(REGISTRY)
    names, done, seed = ["segnet_basic", "unet"], 0, 50_000
    while done < 8:
        seed += 1
        rng = random.Random(seed)
        text = Mutator(seed, operators).mutate(specs[rng.choice(names)], rng.choice((1, 2, 3)))
        checked, found = check(text)
        if found or checked is None:
            continue
        done += 1
        make = Maker(Source.from_text(text, "net.yaml"), {})
        findings = list(verify_network(checked, model_source(make), instrumented_source(make)))
        wrong = [f for f in findings if not f.ok]
        assert wrong == [], f"seed {seed}: {wrong}"
