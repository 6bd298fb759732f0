"""Nothing invalid passes `check` and then fails when run: mutants of networks that find objects.

Every mutant of a small network is either refused, with a place, or is emitted and run in both
phases, and every value has the shape that was derived. Those of the zoo's are checked only.
"""

from __future__ import annotations

from collections import Counter

import pytest
import row_mutants

SMALL = row_mutants.small()
LARGE = row_mutants.large()
SEEDS = 48  # of each small network; thousands were tried


@pytest.mark.parametrize("name", sorted(SMALL))
def test_small_networks_themselves_are_sound(name: str) -> None:
    text, checked, found = row_mutants.judged(dict(SMALL[name]))
    assert checked is not None and not found
    assert row_mutants.run(text, checked) is None


@pytest.mark.parametrize("name", sorted(SMALL))
def test_mutants_are_refused_or_run(name: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        mutator = row_mutants.Mutator(seed)
        text, checked, found = row_mutants.judged(mutator.mutate(SMALL[name], 1 + seed % 2))
        if found or checked is None:
            assert found and all(d.loc is not None for d in found), (seed, mutator.done)
            seen["refused"] += 1
            continue
        try:
            fault = row_mutants.run(text, checked)
        except IndexError as error:  # a label beyond the classes: a fact of the data, not of shapes
            assert "out of bounds" in str(error), (seed, mutator.done)
            continue
        assert fault is None, (seed, mutator.done, fault)
        seen["ran"] += 1
    assert seen["refused"] > SEEDS // 3, seen
    assert seen["ran"] > 2, seen


@pytest.mark.parametrize("name", sorted(LARGE))
def test_mutants_of_the_zoo_get_a_verdict_with_a_place(name: str) -> None:
    refused = 0
    for seed in range(4):
        mutator = row_mutants.Mutator(seed)
        spec = mutator.mutate(LARGE[name], 2)
        _, _, found = row_mutants.judged(spec, file=f"specs/{name}.yaml")
        assert all(d.loc is not None for d in found), (seed, mutator.done)
        refused += bool(found)
    assert refused
