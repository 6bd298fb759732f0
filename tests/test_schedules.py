"""Learning rates of emitted train.py against torch's schedulers, stepped as authors step them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import RECIPE, Runner, checked, emit, metrics  # noqa: E402
from torch.optim import lr_scheduler as torch_rates  # noqa: E402

from segc.emit.harness import harness_files  # noqa: E402

PER_EPOCH, EPOCHS = 7, 30
STEPS = PER_EPOCH * EPOCHS


def rates(schedule: dict[str, Any], lr: float = 1.0, **recipe: Any) -> list[float]:
    """The base rate at each step, by the emitted constants, `decay` and line of the loop."""
    values = {**RECIPE, "schedule": schedule, **recipe}
    tree = ast.parse(harness_files(checked(recipe=values))["train.py"])
    kept = [n for n in tree.body if isinstance(n, ast.Assign)]
    kept += [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "decay"]
    asked = [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and "decay(" in ast.unparse(n)]
    (line,) = [n for n in asked if ast.unparse(n.targets[0]) == "lr"]
    names: dict[str, Any] = {"math": __import__("math"), "steps": STEPS}
    exec(compile(ast.Module(kept, []), "train.py", "exec"), names)
    rate = compile(ast.Expression(line.value), "train.py", "eval")

    args = SimpleNamespace(lr=lr, batch_size=4)
    job, found = SimpleNamespace(train_set=range(4 * PER_EPOCH + 3)), []
    for step in range(STEPS):
        at = SimpleNamespace(step=step)
        found.append(float(eval(rate, {**names, "args": args, "at": at, "job": job})))
    return found


def stepped(make: Callable[[Any], Any], every: int = 1, lr: float = 1.0) -> list[float]:
    """The same with a scheduler of torch that steps after every `every` optimizer steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
    scheduler, found = make(optimizer), []
    for step in range(1, STEPS + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            scheduler.step()
    return found


def near(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and a == pytest.approx(b, rel=1e-7, abs=1e-9)


CASES: dict[str, tuple[dict[str, Any], int, Callable[[Any], Any]]] = {
    "poly by step": (
        {"poly": {"power": 0.9}},
        1,
        lambda o: torch_rates.PolynomialLR(o, STEPS, 0.9),
    ),
    "poly by epoch": (  # Gated-SCNN, DRN-D-105
        {"poly": {"power": 1.0, "per": "epoch"}},
        PER_EPOCH,
        lambda o: torch_rates.PolynomialLR(o, EPOCHS, 1.0),
    ),
    "step by step": (
        {"step": {"size": 60, "gamma": 0.1}},
        1,
        lambda o: torch_rates.StepLR(o, 60, 0.1),
    ),
    "step by epoch": (  # DDFF-Net
        {"step": {"size": 4, "gamma": 0.9, "per": "epoch"}},
        PER_EPOCH,
        lambda o: torch_rates.StepLR(o, 4, 0.9),
    ),
    "milestones by step": (
        {"milestones": {"at": [30, 100, 101], "gamma": 0.5}},
        1,
        lambda o: torch_rates.MultiStepLR(o, [30, 100, 101], 0.5),
    ),
    "milestones by epoch": (
        {"milestones": {"at": [5, 21], "gamma": 0.5, "per": "epoch"}},
        PER_EPOCH,
        lambda o: torch_rates.MultiStepLR(o, [5, 21], 0.5),
    ),
    "cosine by step": (
        {"cosine": {"per": "step"}},
        1,
        lambda o: torch_rates.CosineAnnealingLR(o, STEPS),
    ),
    "cosine by epoch": (
        {"cosine": {"per": "epoch"}},
        PER_EPOCH,
        lambda o: torch_rates.CosineAnnealingLR(o, EPOCHS),
    ),
    "constant": ({"constant": {}}, 1, lambda o: torch_rates.ConstantLR(o, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_rates_are_those_of_torch(name: str) -> None:
    schedule, every, make = CASES[name]
    assert near(rates(schedule), stepped(make, every))


def test_a_rate_held_for_ten_steps() -> None:
    """kazuto1011/deeplab-pytorch sets the rate at every tenth step and leaves it between."""
    wanted = [(1 - step // 10 * 10 / STEPS) ** 0.9 for step in range(STEPS)]
    assert near(rates({"poly": {"power": 0.9, "every": 10}}), wanted)
    wanted = [(1 - step // 14 * 14 / STEPS) ** 0.9 for step in range(STEPS)]
    assert near(rates({"poly": {"power": 0.9, "per": "epoch", "every": 2}}), wanted)


def test_a_floor_under_the_base_rate() -> None:
    """VainF's scheduler: max(lr * (1 - step / steps) ** power, floor)."""
    optimizer = {"sgd": {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}}
    wanted = [max(0.01 * (1 - step / STEPS) ** 2, 1e-4) for step in range(STEPS)]
    found = rates({"poly": {"power": 2.0, "floor": 1e-4}}, lr=0.01, optimizer=optimizer)
    assert near(found, wanted) and near(found[-1:], [1e-4]) and found[100] > 1e-4
    half = rates({"poly": {"power": 2.0, "floor": 1e-4}}, lr=0.005, optimizer=optimizer)
    assert near(half, [rate / 2 for rate in wanted])  # --lr scales the floor too


def test_warmup_grows_to_the_schedule() -> None:
    """torchvision's recipe: linear growth from 1 % by torch's LinearLR, times the decay."""
    warm = {"steps": 20, "factor": 0.01}
    growth = stepped(lambda o: torch_rates.LinearLR(o, 0.01, 1.0, 20))
    plain = rates({"poly": {"power": 0.9}})
    found = rates({"poly": {"power": 0.9}}, warmup=warm)
    assert near(found, [a * b for a, b in zip(growth, plain, strict=True)])
    by_epoch = {"poly": {"power": 0.9, "per": "epoch"}}  # the growth goes on within an epoch
    found = rates(by_epoch, warmup=warm)
    assert near(found, [a * b for a, b in zip(growth, rates(by_epoch), strict=True)])


def test_stages_have_schedules_of_their_own() -> None:
    """A stage's function has its numbers written out; all take the same arguments."""
    plain = {"network": None, "params": None, "max_steps": None, "epochs": None, "batch_size": None}
    plain |= {"crop": None, "freeze": None, "freeze_bn": False, "starts_from": "best"}
    first = {"milestones": {"at": [2, 5], "gamma": 0.5, "per": "epoch"}}
    second = {"poly": {"power": 2.0, "per": "step", "every": 10, "floor": 1e-5}}
    stages = [
        {**plain, "name": "one", "lr": None, "schedule": first},
        {**plain, "name": "two", "lr": 0.001, "schedule": second},
        {**plain, "name": "three", "lr": None, "schedule": None},
    ]
    recipe = {**RECIPE, "schedule": {"constant": {}}, "stages": stages}
    text = harness_files(checked(recipe=recipe))["train.py"]
    assert "decay: Callable[[int, int, int], float] = decay" in text
    tree = ast.parse(text)
    kept = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("decay")]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(kept, []), "train.py", "exec"), names)
    for step in range(STEPS):
        epoch = step // PER_EPOCH
        dropped = 0.5 ** ((epoch >= 2) + (epoch >= 5))
        assert names["decay_one"](step, STEPS, PER_EPOCH) == dropped
        held = max(0.01, (1 - step // 10 * 10 / STEPS) ** 2)
        assert names["decay_two"](step, STEPS, PER_EPOCH) == pytest.approx(held)
        assert names["decay"](step, STEPS, PER_EPOCH) == 1


def test_a_run_trains_at_them(tmp_path: Path) -> None:
    """metrics.jsonl holds the rate of the last of each four steps; an epoch has four."""
    schedule = {"poly": {"power": 1.0, "per": "epoch", "floor": 0.012}}
    augment = {"rotate": {"degrees": 10, "probability": 1.0}, "flip": True}
    augment["blur"] = {"sigma": [0.5, 1.0], "probability": 0.5}
    recipe = {**RECIPE, "schedule": schedule, "augment": augment}
    folder = emit(tmp_path / "net", checked(recipe=recipe))
    runner = Runner(tmp_path)
    try:
        args = ("--crop", 32, 32, "--batch-size", 128, "--workers", 0, "--log-every", 4)
        status, text = runner.run(folder, "train.py", "--epochs", 5, *args)
    finally:
        runner.close()
    assert status == 0, text
    logged = {row["step"]: row["lr"] for row in metrics(tmp_path / "runs") if "lr" in row}
    assert logged == pytest.approx({4: 0.05, 8: 0.04, 12: 0.03, 16: 0.02, 20: 0.012})
