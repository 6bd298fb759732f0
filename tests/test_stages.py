"""`recipe.stages`: one command trains through all of them, exactly, resumably, as the spec says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness_kit import Runner, kill, metrics, wait_for  # noqa: E402
from test_harness_runs import same, state  # noqa: E402

from segc.build import build  # noqa: E402
from segc.cli import main  # noqa: E402
from segc.emit.audit import audit  # noqa: E402
from segc.source import Source  # noqa: E402

COARSE = """\
segc: 1
model: Coarse
params: {width: 8}
inputs: {image: [N, 3, H, W]}
layers:
  conv1: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  bn1: batch_norm2d
  relu1: relu
  pool1: {op: max_pool2d, kernel_size: 2, ceil_mode: true}
  conv2: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  relu2: relu
  drop: {op: dropout, p: 0.1}
  score: {op: conv2d, out_channels: 3, kernel_size: 1}
  logits: {op: interpolate, like: image, mode: bilinear, align_corners: false}
outputs: {logits: logits}
losses: {seg: {cross_entropy: logits}}
recipe:
  optimizer: {sgd: {lr: 0.05, momentum: 0.9}}
  max_steps: 30
  batch_size: 4
  crop: [32, 32]
"""
FINE = """\
segc: 1
extends: coarse.yaml
model: Fine
layers:
  skip: {op: conv2d, from: relu1, after: logits, out_channels: 3, kernel_size: 1}
  fuse: {op: add, from: [logits, skip]}
outputs: {logits: fuse}
recipe:
  stages:
STAGES
"""
TWO = """\
    - {name: coarse, network: coarse.yaml, lr: 0.1}
    - {name: fine, max_steps: 20, schedule: {step: {size: 5, gamma: 0.5}}}"""
QUICK = ("--crop", 32, 32, "--workers", 0, "--log-every", 5, "--eval-every", 10, "--save-every", 7)


def spec(folder: Path, stages: str = TWO, coarse: str = COARSE) -> Source:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coarse.yaml").write_text(coarse, encoding="utf-8")
    (folder / "fine.yaml").write_text(FINE.replace("STAGES", stages), encoding="utf-8")
    return Source.open(str(folder / "fine.yaml"))


def built(folder: Path, stages: str = TWO, coarse: str = COARSE) -> Path:
    for name, text in build(spec(folder, stages, coarse)).files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def runner(work: Path) -> Iterator[Runner]:
    running = Runner(work)
    yield running
    running.close()


@pytest.fixture(scope="module")
def net(work: Path) -> Path:
    return built(work / "net")


LENGTH = ("--max-steps", 20)


@pytest.fixture(scope="module")
def whole(work: Path, net: Path, runner: Runner) -> tuple[Path, str]:
    """The run directory of an uninterrupted training, and what it printed."""
    out = work / "whole"
    status, text = runner.run(net, "train.py", "--out", out, *LENGTH, *QUICK)
    assert status == 0, text
    return out, text


# --- runs -----------------------------------------------------------------------------------


def test_one_command_trains_both(whole: tuple[Path, str]) -> None:
    out, text = whole
    first, last = out / "1_coarse", out
    assert "skip.weight" not in state(first / "last.pt")["weights"]
    assert "skip.weight" in state(last / "last.pt")["weights"]
    assert [line["step"] for line in metrics(first) if "val_miou" in line] == [10, 20]
    assert [line["step"] for line in metrics(last) if "val_miou" in line] == [10, 20]
    assert "stage coarse, Coarse" in text and "stage fine, Fine" in text
    assert f"{first}/best.pt: 11 of the network's 13 tensors taken" in text
    assert "skip.weight: not there; keeps its initial values" in text


def test_rates_are_the_stages_own(whole: tuple[Path, str]) -> None:
    """The first decays polynomially from its own rate, the second drops the recipe's by half."""
    out, _ = whole
    for line in metrics(out / "1_coarse"):
        if "lr" in line:
            assert line["lr"] == pytest.approx(0.1 * (1 - (line["step"] - 1) / 20) ** 0.9)
    rates = {line["step"]: line["lr"] for line in metrics(out) if "lr" in line}
    assert rates == {5: 0.05, 10: 0.025, 15: 0.0125, 20: 0.00625}


def test_a_stage_starts_from_the_weights_of_the_one_before(work: Path, runner: Runner) -> None:
    """With a rate that changes nothing the shared weights are the predecessor's, the rest new."""
    stages = TWO.replace("name: fine,", "name: fine, lr: 1.0e-30, starts_from: last,")
    still, out = built(work / "still", stages), work / "still_run"
    status, text = runner.run(still, "train.py", "--out", out, *LENGTH, *QUICK)
    assert status == 0, text
    before, after = (state(p / "last.pt")["weights"] for p in (out / "1_coarse", out))
    learned = [name for name in before if "running" not in name and "num_batches" not in name]
    assert len(learned) == 8
    for name in learned:
        assert torch.equal(after[name], before[name]), name


@pytest.mark.parametrize("stage", ["1_coarse", "."])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_any_stage_and_resumed_is_exact(
    work: Path, net: Path, runner: Runner, whole: tuple[Path, str], stage: str, number: int
) -> None:
    out = work / f"stopped_{stage.strip('.')}{int(number)}"
    arguments = ("--out", out, *LENGTH, *QUICK)
    runner.start(net, "train.py", *arguments)
    log = out / stage / "metrics.jsonl"
    wait_for(lambda: log.exists() and len(metrics(out / stage)) > 1)
    kill(runner.last, number)
    status, text = runner.finish()
    assert status in (75, -signal.SIGKILL), text
    status, text = runner.run(net, "train.py", *arguments, "--resume", "auto")
    assert status == 0, text
    for folder in ("1_coarse", "."):
        for name in ("last.pt", "best.pt"):
            mine, theirs = state(out / folder / name), state(whole[0] / folder / name)
            assert same(mine, theirs), (folder, name)
        assert metrics(out / folder) == metrics(whole[0] / folder)


def test_resuming_a_finished_training_does_nothing(
    net: Path, runner: Runner, whole: tuple[Path, str]
) -> None:
    out, _ = whole
    before = [(out / p).read_bytes() for p in ("last.pt", "1_coarse/last.pt")]
    arguments = ("--out", out, *LENGTH, *QUICK, "--resume", "auto")
    status, text = runner.run(net, "train.py", *arguments)
    assert status == 0, text
    assert before == [(out / p).read_bytes() for p in ("last.pt", "1_coarse/last.pt")]


def test_one_stage_alone(work: Path, net: Path, runner: Runner, whole: tuple[Path, str]) -> None:
    """The two, one command each, are the whole; the second refuses to start from nothing."""
    out = work / "alone"
    arguments = ("--out", out, *LENGTH, *QUICK, "--stage")
    status, text = runner.run(net, "train.py", *arguments, "fine")
    assert status == 2 and "1_coarse/best.pt: no such file" in text
    for stage in ("coarse", "fine"):
        status, text = runner.run(net, "train.py", *arguments, stage)
        assert status == 0, text
    assert same(state(out / "last.pt"), state(whole[0] / "last.pt"))
    status, text = runner.run(net, "train.py", "--out", out, "--resume", out / "last.pt")
    assert status == 2 and "needs --stage" in text
    status, text = runner.run(net, "train.py", "--out", out, *LENGTH, *QUICK)
    assert status == 2 and "1_coarse holds a run" in text
    other = ("--out", work / "given", "--init-from", out / "best.pt", "--stage", "fine")
    status, text = runner.run(net, "train.py", *other, *LENGTH, *QUICK)
    assert status == 0 and "13 of the network's 13 tensors taken" in text


def test_frozen_parameters_and_statistics(work: Path, runner: Runner) -> None:
    """First the head alone, batch norms as they are; then everything but the first layer."""
    stages = """\
    - {name: head, freeze: ["conv*"], freeze_bn: true, batch_size: 8, crop: [16, 16]}
    - {name: all, freeze: [conv1.weight]}"""
    frozen, out = built(work / "frozen", stages), work / "frozen_run"
    assert "--crop" in QUICK  # given on the command line it would count for each stage
    status, text = runner.run(frozen, "train.py", "--out", out, *LENGTH, "--workers", 0)
    assert status == 0, text
    torch.manual_seed(0)
    scope: dict[str, Any] = {}
    exec((frozen / "model.py").read_text(), scope)
    start = scope["Fine"]().state_dict()
    head, final = (state(p / "last.pt")["weights"] for p in (out / "1_head", out))
    kept = {name for name in start if torch.equal(start[name], head[name])}
    assert kept == {name for name in start if name.startswith(("conv", "bn1"))}
    kept = {name for name in start if torch.equal(start[name], final[name])}
    assert kept == {"conv1.weight"}
    assert state(out / "1_head" / "last.pt")["settings"]["stage"] == "head"


def test_frozen_statistics_stay_after_validation(work: Path, runner: Runner) -> None:
    stages = "    - {name: all, freeze_bn: true}"
    frozen, out = built(work / "norms", stages), work / "norms_run"
    status, text = runner.run(frozen, "train.py", "--out", out, *LENGTH, *QUICK)
    assert status == 0, text
    weights = state(out / "last.pt")["weights"]
    assert not weights["bn1.running_mean"].any() and int(weights["bn1.num_batches_tracked"]) == 0
    assert bool((weights["bn1.weight"] == 1).all())
    twin = frozen / "train.py"
    text = twin.read_text()
    call = "    freeze(job.network, job.stage)\n    return matrix"
    assert call in text
    twin.write_text(text.replace(call, "    return matrix"))
    status, text = runner.run(frozen, "train.py", "--out", work / "twin", *LENGTH, *QUICK)
    assert status == 0, text
    assert state(work / "twin" / "last.pt")["weights"]["bn1.running_mean"].any()


def test_two_processes(work: Path, net: Path) -> None:
    """Under torchrun every process takes the weights that the first has saved."""
    out = work / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29617", str(net / "train.py"), "--out", str(out)]
    command += [str(word) for word in (*LENGTH, *QUICK)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("11 of the network's 13 tensors taken") == 1
    assert [line["step"] for line in metrics(out) if "val_miou" in line] == [10, 20]
    assert state(out / "last.pt")["settings"]["processes"] == 2


# --- what is emitted ------------------------------------------------------------------------


def test_the_other_network_is_emitted_as_its_own_spec_emits_it(work: Path) -> None:
    source = spec(work / "emitted")
    files = build(source).files
    own = build(Source.open(str(work / "emitted" / "coarse.yaml"))).files["model.py"]
    body = own.index("from torch import")
    assert (
        files["stage_coarse.py"][files["stage_coarse.py"].index("from torch import") :]
        == (own[body:])
    )
    assert audit(files["stage_coarse.py"]) == []
    assert files == build(source).files
    wide = build(source, {"width": 12}).files["stage_coarse.py"]
    assert "width: int = 12" in wide  # parameters of the same name are handed on


def test_parameters_of_a_stage_make_another_module(work: Path) -> None:
    stages = """\
    - {name: narrow, params: {width: 4}}
    - {name: thin, network: coarse.yaml, params: {width: 4}}
    - {name: slim, network: coarse.yaml, params: {width: 4}}
    - {name: wide}"""
    files = build(spec(work / "params", stages)).files
    assert "width: int = 4" in files["stage_narrow.py"]
    assert {name for name in files if name.startswith("stage_")} == {
        "stage_narrow.py", "stage_thin.py",
    }  # fmt: skip
    assert 'Stage("slim", stage_thin.Coarse),' in files["train.py"]


def test_a_recipe_without_stages_has_none_of_it(work: Path) -> None:
    spec(work / "plain")
    text = build(Source.open(str(work / "plain" / "coarse.yaml"))).files["train.py"]
    assert "tage" not in text and "freeze" not in text and "ACCUMULATE" not in text


@pytest.mark.parametrize(
    ("stages", "code", "said"),
    [
        ("    - {name: a, network: gone.yaml}\n    - {name: b}", "SEG0", "gone.yaml"),
        ("    - {name: a}\n    - {name: a}", "SEG620", "a second stage"),
        ("    - {name: a-b}", "SEG620", "cannot name a stage"),
        ("    - {name: a, network: coarse.yaml}", "SEG620", "the last stage"),
        ("    - {name: a, network: other.yaml}\n    - {name: b}", "SEG620", "has no output"),
        ("    - {name: a, network: five.yaml}\n    - {name: b}", "SEG620", "another shape"),
        ("    - {name: a, network: grey.yaml}\n    - {name: b}", "SEG620", "another input"),
        ("    - {name: a, network: strict.yaml}\n    - {name: b}", "SEG620", "other sizes"),
        ("    - {name: a, network: broken.yaml}\n    - {name: b}", "SEG2", "channels"),
        ("    - {name: a, params: {widht: 3}}\n    - {name: b}", "SEG114", "`width`"),
        ("    - {name: a, freeze: [backbone.*]}", "SEG606", "backbone"),
        ("    - {name: a, max_steps: 3, epochs: 2}", "SEG603", "both"),
        ("    - {name: a, lr: 0}", "SEG105", "more than 0"),
        ("    - {nmae: a}", "SEG107", "did you mean `name`?"),
        ("    - {name: a, network: 3}", "SEG103", "network"),
    ],
)
def test_wrong_stages_are_told(
    tmp_path: Path, stages: str, code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec(tmp_path, stages)
    changes = {
        "other": ("outputs: {logits: logits}\nlosses: {seg: {cross_entropy: logits}}",
                  "outputs: {scores: logits}\nlosses: {seg: {cross_entropy: scores}}"),
        "five": ("out_channels: 3", "out_channels: 5"),
        "grey": ("[N, 3, H, W]", "[N, 1, H, W]"),
        "strict": ("  drop: {", "  up: {op: interpolate, scale_factor: 2, mode: nearest}\n"
                   "  both: {op: add, from: [up, relu1]}\n  drop: {"),
        "broken": ("out_channels: width, kernel_size: 3, padding: 1}\n  relu2",
                   "out_channels: width, kernel_size: 3, groups: 7, padding: 1}\n  relu2"),
    }  # fmt: skip
    for name, (old, new) in changes.items():
        assert old in COARSE
        text = COARSE.replace(old, new)
        if name == "strict":
            text = text.replace(", ceil_mode: true", "")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert main(["check", str(tmp_path / "fine.yaml")]) == 1
    error = capsys.readouterr().err
    assert code in error and said in error
    assert "fine.yaml:" in error or "broken.yaml:" in error
    assert error.count("error SEG") == 1 or code == "SEG107", error
