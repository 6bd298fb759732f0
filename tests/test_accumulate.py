"""Batches in parts, clipped gradients: against the whole batch and the definition of the norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import CROSS_ENTROPY, RECIPE, Runner, checked, emit  # noqa: E402
from spec_kit import faults  # noqa: E402
from test_harness_runs import state  # noqa: E402

PLAIN = {"sgd": {"lr": 0.5, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}}
QUICK = ("--crop", 32, 32, "--workers", 0, "--batch-size", 8, "--eval-every", 1000)
LOSSES: dict[str, dict[str, Any]] = {
    "sum": {"reduction": "sum", "weight": 1e-4},
    "batch": {"reduction": "batch", "weight": 1e-3},
    "mean": {},
    "valid_pixels": {"reduction": "valid_pixels", "class_weights": [1.0, 4.0, 0.5]},
    "weights": {"class_weights": [1.0, 4.0, 0.5]},
    "counted": {"class_weights": "median_frequency"},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("accumulate")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    running = Runner(work)
    yield running
    running.close()


def plain(folder: Path) -> None:
    """Without batch norm and dropout, which see a batch as a whole or draw by its shape."""
    text = (folder / "model.py").read_text()
    for old, new in (
        ("nn.BatchNorm2d(12)", "nn.Identity()"),
        ("nn.Dropout2d(0.2)", "nn.Identity()"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "model.py").write_text(text)


def trained(
    folder: Path, runner: Runner, steps: int, loss: Mapping[str, Any], *words: object, **recipe: Any
) -> dict[str, Any]:
    losses = {"seg": {**CROSS_ENTROPY, **loss}}
    emit(folder, checked(losses=losses, recipe={**RECIPE, "optimizer": PLAIN, **recipe}))
    plain(folder)
    arguments = ("--out", folder / "run", "--max-steps", steps, *QUICK, *words)
    status, text = runner.run(folder, "train.py", *arguments)
    assert status == 0, text
    weights: dict[str, Any] = state(folder / "run" / "last.pt")["weights"]
    return weights


def distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("name", LOSSES)
def test_parts_add_up_to_the_batch(work: Path, runner: Runner, name: str) -> None:
    """Images that leave part of the window empty: each part has another number of valid pixels."""
    loss = LOSSES[name]
    whole = trained(work / f"{name}1", runner, 6, loss)
    parts = trained(work / f"{name}4", runner, 6, loss, accumulate=4)
    start = trained(work / f"{name}0", runner, 1, loss, "--lr", 1e-30)
    moved = distance(whole, start)
    assert moved > 0.01
    assert distance(whole, parts) < 1e-5 * max(1.0, moved)


@pytest.mark.parametrize("name", ["mean", "weights"])
def test_equal_shares_would_not(work: Path, runner: Runner, name: str) -> None:
    """The comparison sees it if every part counted the same."""
    folder = work / f"{name}4"
    if not (folder / "train.py").exists():
        trained(folder, runner, 6, LOSSES[name], accumulate=4)
    text = (folder / "train.py").read_text()
    assert ") * count\n" in text
    (folder / "train.py").write_text(text.replace(") * count\n", ") / args.accumulate\n"))
    arguments = ("--out", folder / "twin", "--max-steps", 6, *QUICK)
    status, said = runner.run(folder, "train.py", *arguments)
    assert status == 0, said
    twin = state(folder / "twin" / "last.pt")["weights"]
    assert distance(twin, state(folder / "run" / "last.pt")["weights"]) > 1e-3


def test_resuming_in_parts_is_exact(work: Path, runner: Runner) -> None:
    folder = work / "resume"
    whole = trained(folder, runner, 12, {}, "--save-every", 5, accumulate=2)
    arguments = ("--out", folder / "again", "--max-steps", 12, *QUICK, "--save-every", 5)
    previous = ("--resume", folder / "run" / "previous.pt")
    status, text = runner.run(folder, "train.py", *arguments, *previous)
    assert status == 0 and "steps 10 to 12" in text, text
    again = state(folder / "again" / "last.pt")["weights"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    other = ("--accumulate", 4)
    status, text = runner.run(folder, "train.py", *arguments, *other, "--resume", "auto")
    assert status == 1 and "accumulate: 2 -> 4" in text


def test_a_batch_that_does_not_divide(work: Path, runner: Runner) -> None:
    folder = work / "divide"
    trained(folder, runner, 1, {}, accumulate=4)
    words = ("--out", folder / "odd", "--max-steps", 1, *QUICK, "--batch-size", 6)
    status, text = runner.run(folder, "train.py", *words, "--accumulate", 4)
    assert status == 2 and "does not divide by 1 processes times 4 parts" in text
    words = ("--out", folder / "trial", "--max-steps", 1, "--workers", 0, "--batch-size", 6)
    assert runner.run(folder, "train.py", *words)[0] == 0  # a trial takes what divides


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_gradients_are_clipped_to_the_norm(work: Path, runner: Runner, limit: float) -> None:
    """At rate 1 without momentum the step is the gradient: as long as the limit, or as it was."""
    optimizer = {"sgd": {**PLAIN["sgd"], "lr": 1.0}}
    recipe: dict[str, Any] = {"optimizer": optimizer, "schedule": {"constant": {}}}
    clipped = trained(work / f"clip{limit}", runner, 1, {}, clip_norm=limit, **recipe)
    start = trained(work / f"still{limit}", runner, 1, {}, "--lr", 1e-30, **recipe)
    free = trained(work / f"free{limit}", runner, 1, {}, **recipe)
    step = torch.cat([(clipped[n] - start[n]).flatten() for n in start])
    plain_step = torch.cat([(free[n] - start[n]).flatten() for n in start])
    assert float(plain_step.norm()) > 0.05
    expected = min(limit, float(plain_step.norm()))
    assert float(step.norm()) == pytest.approx(expected, rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(step, plain_step, dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-4)


def test_sums_and_averages_together_are_refused() -> None:
    text = """\
segc: 1
model: Net
inputs: {image: [N, 3, H, W]}
layers:
  logits: {op: conv2d, out_channels: 3, kernel_size: 1}
outputs: {logits: logits}
losses:
  a: {cross_entropy: logits, reduction: sum}
  b: {cross_entropy: logits, reduction: mean}
recipe: {accumulate: 4}
"""
    assert [d.code for d in faults(text)] == ["SEG621"]
    assert faults(text.replace("accumulate: 4", "accumulate: 1")) == []
    assert faults(text.replace("reduction: sum", "reduction: batch")) == []
