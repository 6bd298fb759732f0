"""The emitted harness, run: learning, exact resumption, faults that end in words."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from harness_kit import (  # noqa: E402
    CROSS_ENTROPY,
    RECIPE,
    Runner,
    checked,
    emit,
    kill,
    metrics,
    wait_for,
)

from segc.build import build  # noqa: E402
from segc.source import Source  # noqa: E402

QUICK = ("--crop", 32, 32, "--workers", 0, "--log-every", 5)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harness")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    running = Runner(work)
    yield running
    running.close()


@pytest.fixture(scope="module")
def net(work: Path) -> Path:
    return emit(work / "net", checked())


@pytest.fixture(scope="module")
def whole(work: Path, net: Path, runner: Runner) -> Path:
    """The run directory of 60 uninterrupted steps."""
    out = work / "whole"
    status, text = runner.run(net, "train.py", "--out", out, "--max-steps", 60, *QUICK, *EVERY)
    assert status == 0, text
    return out


EVERY = ("--eval-every", 20, "--save-every", 7)


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, tensors included."""
    if isinstance(a, torch.Tensor):
        return bool(torch.equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def folder_data(root: Path, count: int = 8, size: int = 40, bad: int | None = None) -> Path:
    """images/ and masks/ of squares, three classes."""
    rng = random.Random(3)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = Image.new("L", (size, size), 0)
        for label in (1, 2):
            x, y = rng.randrange(size - 10), rng.randrange(size - 10)
            mask.paste(label, (x, y, x + 10, y + 10))
        image = mask.point(lambda value: 60 + 80 * value).convert("RGB")
        if bad == number:
            mask.paste(200, (20, 30, 24, 33))
        image.save(root / "images" / f"p{number}.png")
        mask.save(root / "masks" / f"p{number}.png")
    return root


def test_it_learns(whole: Path) -> None:
    lines = metrics(whole)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12 and losses[-1] < 0.5 * losses[0]
    scored = [line for line in lines if "val_miou" in line]
    assert [line["step"] for line in scored] == [20, 40, 60]
    assert scored[-1]["val_miou"] > 0.8


def test_rates_follow_the_schedule(whole: Path) -> None:
    rates = {line["step"]: line["lr"] for line in metrics(whole) if "lr" in line}
    for step, rate in rates.items():
        assert rate == pytest.approx(0.05 * (1 - (step - 1) / 60) ** 0.9)


def saved_at(out: Path) -> int:
    try:
        return (out / "last.pt").stat().st_mtime_ns
    except FileNotFoundError:  # none yet, or just now between two renames
        return 0


def test_kill_at_any_moment_then_resume_is_exact(
    work: Path, net: Path, runner: Runner, whole: Path
) -> None:
    """SIGKILLs at random moments; the last state and the log are the uninterrupted run's."""
    out, rng = work / "killed", random.Random(5)
    arguments = ("--out", out, "--max-steps", 60, *QUICK, *EVERY, "--resume", "auto")
    resumed = []
    for number in range(12):
        runner.start(net, "train.py", *arguments)
        if number % 3 == 1:  # right after a state was saved
            before = saved_at(out)
            wait_for(lambda was=before: saved_at(out) != was or "done:" in runner.output())
        elif number % 3 == 2:  # at some step
            wait_for(lambda: "parameters;" in runner.output())
            time.sleep(rng.uniform(0.0, 0.2))
        else:  # while it starts
            time.sleep(rng.uniform(0.0, 0.2))
        kill(runner.last)
        status, text = runner.finish()
        assert status in (-signal.SIGKILL, 0), text
        resumed += [int(step) for step in re.findall(r"steps (\d+) to", text)]
        if status == 0:
            break
    assert len({step for step in resumed if 0 < step < 60}) >= 2, resumed  # it did resume
    status, text = runner.run(net, "train.py", *arguments)
    assert status == 0, text
    assert same(state(out / "last.pt"), state(whole / "last.pt"))
    assert same(state(out / "best.pt"), state(whole / "best.pt"))
    assert metrics(out) == metrics(whole)


@pytest.mark.parametrize(
    "forgotten",
    [
        "",
        'load_optimizer(optimizer, saved["optimizer"], args.out)',
        "torch.manual_seed((args.seed << 40) + at.step * job.world + job.rank)",
        'at = Place(**saved["place"])',
    ],
)
def test_resuming_a_named_state(
    work: Path, net: Path, runner: Runner, whole: Path, forgotten: str
) -> None:
    """The last steps again from the state before; twins that forget something are caught."""
    number = len(list(work.glob("twin*")))
    twin, out = emit(work / f"twin{number}", checked()), work / f"named{number}"
    text = (twin / "train.py").read_text()
    assert forgotten in text
    (twin / "train.py").write_text(text.replace(forgotten, "pass") if forgotten else text)
    arguments = ("--out", out, "--max-steps", 60, *QUICK, *EVERY)
    resume = ("--resume", whole / "previous.pt")
    status, text = runner.run(twin, "train.py", *arguments, *resume)
    assert status == 0, text
    exact = same(state(out / "last.pt")["weights"], state(whole / "last.pt")["weights"])
    assert exact == (not forgotten)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_signal_saves_and_resumes_exactly(
    work: Path, net: Path, runner: Runner, whole: Path, number: int, expected: int
) -> None:
    out = work / f"signal{number}"
    arguments = ("--out", out, "--max-steps", 60, *QUICK, "--eval-every", 20, "--save-every", 1000)
    runner.start(net, "train.py", *arguments)
    wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) > 2)
    kill(runner.last, number)
    status, text = runner.finish()
    assert status == expected, text
    assert "go on with --resume auto" in text
    stopped = state(out / "last.pt")["place"]["step"]
    assert 10 < stopped < 60
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto")
    assert status == 0, text
    assert same(state(out / "last.pt")["weights"], state(whole / "last.pt")["weights"])
    assert metrics(out) == metrics(whole)


def test_a_signal_during_validation_is_exact_too(
    work: Path, net: Path, runner: Runner, whole: Path
) -> None:
    """Stopped in the validation of step 20: it is made up for, once, and the best state kept."""
    slow, out = emit(work / "slow", checked()), work / "slow_run"
    text = (slow / "scoring.py").read_text()
    text = text.replace(
        "        if stopping():\n",
        "        __import__('time').sleep(0.02)\n        if stopping():\n",
    )
    (slow / "scoring.py").write_text(text)
    arguments = ("--out", out, "--max-steps", 60, *QUICK, *EVERY)
    runner.start(slow, "train.py", *arguments)
    wait_for(lambda: "20/60" in runner.output())
    time.sleep(0.1)
    kill(runner.last, signal.SIGTERM)
    status, text = runner.finish()
    assert status == 75, text
    place = state(out / "last.pt")["place"]
    assert (place["step"], place["evaluated"]) == (20, 0)
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto")
    assert status == 0, text
    assert metrics(out) == metrics(whole)
    assert same(state(out / "best.pt"), state(whole / "best.pt"))


def test_number_of_workers_changes_nothing(
    work: Path, net: Path, runner: Runner, whole: Path
) -> None:
    out = work / "workers"
    arguments = ("--max-steps", 60, "--crop", 32, 32, "--log-every", 5, "--workers", 2)
    status, text = runner.run(net, "train.py", "--out", out, *arguments, *EVERY)
    assert status == 0, text
    assert metrics(out) == metrics(whole)


def test_damaged_checkpoint_falls_back(work: Path, net: Path, runner: Runner, whole: Path) -> None:
    out = work / "damaged"
    arguments = ("--out", out, "--max-steps", 60, *QUICK, *EVERY)
    status, text = runner.run(net, "train.py", *arguments)
    assert status == 0, text
    content = bytearray((out / "last.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (out / "last.pt").write_bytes(content)
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto")
    assert status == 0, text
    assert "last.pt is damaged" in text and "trying the one before" in text
    assert same(state(out / "last.pt"), state(whole / "last.pt"))
    (out / "last.pt").write_bytes(b"")
    (out / "previous.pt").write_bytes(b"nothing")
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto")
    assert status == 1 and "no checkpoint" in text


def test_another_run_is_not_resumed_or_overwritten(net: Path, runner: Runner, whole: Path) -> None:
    before = hashlib.sha256((whole / "last.pt").read_bytes()).digest()
    arguments = ("--out", whole, "--max-steps", 60, *QUICK)
    status, text = runner.run(net, "train.py", *arguments)
    assert status == 2 and "--resume auto" in text
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto", "--seed", 4)
    assert status == 1 and "seed: 0 -> 4" in text and "--allow seed" in text
    assert hashlib.sha256((whole / "last.pt").read_bytes()).digest() == before


def test_a_run_directory_has_one_owner(work: Path, net: Path, runner: Runner) -> None:
    out = work / "owned"
    other = Runner(work)
    other.log = work / "other.txt"
    try:
        other.start(net, "train.py", "--out", out, "--max-steps", 100000, *QUICK)
        wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) > 0)
        status, text = runner.run(net, "train.py", "--out", out, *QUICK)
        assert status == 3 and f"in use by pid {other.last}" in text
        kill(other.last)
        other.finish()
    finally:
        other.close()


def test_eval_writes_the_contract_keys(work: Path, net: Path, runner: Runner, whole: Path) -> None:
    report = work / "scores.json"
    weights = ("--weights", whole / "last.pt", "--workers", 0)
    status, text = runner.run(net, "eval.py", *weights, "--json", report)
    assert status == 0, text
    scores = json.loads(report.read_text())
    last = [line for line in metrics(whole) if "val_miou" in line][-1]
    assert scores["miou"] == last["val_miou"]
    assert scores["iou"] == last["val_iou"] and len(scores["iou"]) == 3
    assert 0 < scores["mean_accuracy"] <= 1 and 0 < scores["pixel_accuracy"] <= 1
    status, text = runner.run(net, "eval.py", *weights, "--scales", 1, 1.5, "--flip")
    assert status == 0 and "mean" in text


def scores_of(runner: Runner, folder: Path, report: Path, *arguments: object) -> dict[str, Any]:
    status, text = runner.run(folder, "eval.py", "--workers", 0, "--json", report, *arguments)
    assert status == 0, text
    found: dict[str, Any] = json.loads(report.read_text())
    return found


FORGOTTEN_SHIFT = ("bias * scale + shift", "bias * scale")


@pytest.mark.parametrize("change", [(), FORGOTTEN_SHIFT])
def test_the_deploy_network_scores_the_same(
    work: Path, runner: Runner, change: tuple[str, str] | tuple[()]
) -> None:
    """A built network, trained for a moment; a wrong conversion is seen in its scores."""
    spec = Source.open(str(Path(__file__).resolve().parents[1] / "specs" / "segnet_basic.yaml"))
    folder, out = work / f"built{len(change)}", work / f"built{len(change)}_run"
    folder.mkdir()
    for name, text in build(spec, {"width": 8}).files.items():
        if name == "deploy.py" and change:
            assert change[0] in text
            text = text.replace(*change)
        (folder / name).write_text(text, encoding="utf-8")
    status, text = runner.run(folder, "train.py", "--out", out, "--max-steps", 30, *QUICK)
    assert status == 0, text
    weights, report = ("--weights", out / "last.pt"), out / "scores.json"
    plain = scores_of(runner, folder, report, *weights)
    deployed = scores_of(runner, folder, report, *weights, "--deploy")
    assert (plain["deploy"], deployed["deploy"]) == (False, True)
    close = pytest.approx(plain["pixel_accuracy"], abs=2e-4)  # a rounding may turn a pixel or two
    assert (deployed["pixel_accuracy"] == close) == (not change)
    if not change:
        assert deployed["iou"] == pytest.approx(plain["iou"], abs=2e-3)


def test_deploy_of_a_trained_network(work: Path, net: Path, runner: Runner, whole: Path) -> None:
    """Against torch's own folding, at a size that is padded and over scales and mirror images."""
    weights = ("--weights", whole / "best.pt", "--scales", 0.7, 1, "--flip")
    plain = scores_of(runner, net, work / "plain.json", *weights)
    deployed = scores_of(runner, net, work / "deployed.json", *weights, "--deploy")
    assert plain["miou"] > 0.7
    assert deployed["iou"] == pytest.approx(plain["iou"], abs=2e-3)


def test_bad_label_is_named_before_it_is_met(work: Path, net: Path, runner: Runner) -> None:
    root = folder_data(work / "bad", bad=5)
    arguments = ("--data", "folder", "--root", root)
    status, text = runner.run(net, "train.py", *arguments, "--out", work / "badrun", *QUICK)
    assert status == 1 and "Traceback" not in text
    assert f"{root}/masks/p5.png: label 200 (12 pixels, first at x=20 y=30)" in text
    status, text = runner.run(net, "data.py", *arguments)
    assert status == 1 and "1 at fault" in text and "p5.png: label 200" in text


def test_folder_trains_and_predicts(work: Path, net: Path, runner: Runner) -> None:
    root, out = folder_data(work / "squares", 10), work / "squares_run"
    arguments = ("--data", "folder", "--root", root, "--out", out, "--max-steps", 30, *QUICK)
    status, text = runner.run(net, "train.py", *arguments)
    assert status == 0, text
    photo = root / "images" / "p1.png"
    Image.open(photo).resize((37, 51)).save(work / "photo.png")
    shown = ("--out", work / "shown", "--labels", "--opacity", 1)
    weights = ("--weights", out / "best.pt")
    status, text = runner.run(net, "predict.py", *weights, work / "photo.png", *shown)
    assert status == 0, text
    overlay = Image.open(work / "shown" / "photo_overlay.png")
    labels = Image.open(work / "shown" / "photo_labels.png")
    assert overlay.size == labels.size == (37, 51) and overlay.mode == "RGB"
    assert set(labels.tobytes()) <= {0, 1, 2}
    colours = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0)}
    for x, y in ((0, 0), (18, 25), (36, 50)):
        assert overlay.getpixel((x, y)) == colours[labels.getpixel((x, y))]


def test_weights_of_another_network(work: Path, net: Path, runner: Runner, whole: Path) -> None:
    wide = emit(work / "wide", checked(outputs={"logits": 5}), classes=5)
    out = work / "wide_run"
    start = ("--init-from", whole / "best.pt", "--out", out, "--max-steps", 2, *QUICK)
    status, text = runner.run(wide, "train.py", *start)
    assert status == 0, text
    assert "of the network's 9 tensors taken" in text
    assert "logits.bias: (3,) there, (5,) here; keeps its initial values" in text
    status, text = runner.run(wide, "eval.py", "--weights", whole / "best.pt")
    assert status == 1 and "logits.weight: (3, 15, 3, 3) instead of (5, 15, 3, 3)" in text
    (work / "junk.pt").write_bytes(b"PK\x03\x04 no")
    status, text = runner.run(wide, "eval.py", "--weights", work / "junk.pt")
    assert status == 1 and "is not a checkpoint" in text


def test_code_in_a_checkpoint_does_not_run(work: Path, net: Path, runner: Runner) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (work / "canary",))

    torch.save({"weights": Evil()}, work / "evil.pt")
    status, text = runner.run(net, "eval.py", "--weights", work / "evil.pt")
    assert status == 1 and "is not a checkpoint" in text
    assert not (work / "canary").exists()


def test_a_loss_that_is_not_finite_never_steps(work: Path, runner: Runner) -> None:
    """A rate of 1e30 makes the second loss overflow: ten such steps end the run, weights finite."""
    recipe = {**RECIPE, "optimizer": {"sgd": {**RECIPE["optimizer"]["sgd"], "lr": 1e30}}}
    wild, out = emit(work / "wild", checked(recipe=recipe)), work / "wild_run"
    arguments = ("--out", out, "--max-steps", 60, *QUICK, "--save-every", 1)
    status, text = runner.run(wild, "train.py", *arguments)
    assert status == 1 and "not finite" in text and "Traceback" not in text
    for name in ("last.pt", "previous.pt"):
        if (out / name).exists():
            values = state(out / name)["weights"].values()
            assert all(bool(v.isfinite().all()) for v in values)


def test_auxiliary_output_and_groups(work: Path, runner: Runner) -> None:
    losses = {
        "seg": {**CROSS_ENTROPY, "class_weights": "median_frequency", "reduction": "valid_pixels"},
        "aux": {**CROSS_ENTROPY, "output": "aux", "weight": 0.4},
    }
    recipe = {
        **RECIPE,
        "groups": [
            {"match": "conv.*", "lr": 0.0, "weight_decay": 0.0},
            {"match": "*.bias", "lr": 2.0, "weight_decay": 0.0},
        ],
    }
    given = checked(
        outputs={"logits": 3, "aux": 3},
        sizes={"aux": lambda side: side // 2},
        losses=losses,
        recipe=recipe,
        only={"aux": "train"},
    )
    folder, out = emit(work / "aux", given), work / "aux_run"
    status, text = runner.run(folder, "train.py", "--out", out, "--max-steps", 20, *QUICK)
    assert status == 0, text
    status, text = runner.run(
        folder, "train.py", "--out", work / "aux_start", "--max-steps", 1, *QUICK
    )
    trained, started = state(out / "last.pt")["weights"], state(work / "aux_start" / "last.pt")
    assert torch.equal(trained["conv.weight"], started["weights"]["conv.weight"])  # rate 0
    assert not torch.equal(trained["aux.weight"], started["weights"]["aux.weight"])
    assert [line["loss"] for line in metrics(out) if "loss" in line][-1] < 1.5
    rates = [group["lr"] for group in state(out / "last.pt")["optimizer"]["param_groups"]]
    assert rates[0] == 0 and rates[1] == pytest.approx(2 * rates[2])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--crop", 33, 32), 2, "the next it takes is 34 32"),
        (("--data", "voc"), 2, "--data voc needs --root DIR"),
        (("--data", "camvid", "--root", "nowhere"), 1, "nowhere/train.txt: no such file"),
        (("--device", "cuda:7"), 3, "CUDA"),
        (("--device", "toaster"), 2, "not a device"),
        (("--batch-size", 600), 1, "512 training images do not fill a batch of 600"),
        (("--lr", "nan"), 2, "must be a positive number"),
        (("--epochs", 0), 2, "must be at least 1"),
        (("--resume", "nowhere.pt"), 1, "nowhere.pt"),
        (("--init-from", "nowhere.pt"), 1, "nowhere.pt: no such file"),
    ],
)
def test_wrong_usage_ends_in_words(
    work: Path, net: Path, runner: Runner, arguments: tuple[Any, ...], status: int, said: str
) -> None:
    if said == "CUDA" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    found, text = runner.run(net, "train.py", "--out", work / "usage", *arguments)
    assert found == status, text
    assert said in text and "Traceback" not in text


def test_a_dead_worker_is_told_apart_from_a_bug(work: Path, net: Path, runner: Runner) -> None:
    out = work / "worker"
    arguments = ("--crop", 32, 32, "--workers", 1, "--log-every", 5, "--max-steps", 100000)
    runner.start(net, "train.py", "--out", out, *arguments)
    children = Path(f"/proc/{runner.last}/task/{runner.last}/children")
    wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) > 0)
    if not children.exists():
        kill(runner.last)
        runner.finish()
        pytest.skip("needs /proc")
    for child in children.read_text().split():
        kill(int(child))
    status, text = runner.finish()
    assert status == 3 and "a data worker died" in text and "Traceback" not in text


def test_nothing_but_torch_is_needed_for_synthetic_data(work: Path, net: Path) -> None:
    """With Pillow and NumPy hidden a trial runs; real images ask for Pillow by name, exit 3."""
    hidden = (
        "import runpy, sys; sys.modules['PIL'] = sys.modules['numpy'] = None; sys.argv[:] = "
        "sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0]); "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", hidden, str(net / "train.py"), "--max-steps", "2"]
    quick = [str(a) for a in QUICK]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *quick, "--out", str(work / "bare")],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = folder_data(work / "bare_data")
    done = subprocess.run(
        [*command, *quick, "--out", str(work / "bare2"), "--data", "folder", "--root", str(root)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3 and "pip install pillow" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_processes(work: Path, net: Path) -> None:
    """Under torchrun: one log, each line once; what is saved goes on in the same way."""
    out = work / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29613", str(net / "train.py"), "--out", str(out)]
    command += ["--max-steps", "20", "--eval-every", "10", *(str(a) for a in QUICK)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = metrics(out)
    assert [line["step"] for line in lines if "loss" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in lines if "val_miou" in line] == [10, 20]
    assert state(out / "last.pt")["settings"]["processes"] == 2
    pixels = sum(1 for line in lines if line.get("val_pixel_accuracy", 0) > 0.5)
    assert pixels == 2
