"""Losses of the specs: what they look at, their pages, and a training with all of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytest.importorskip("torch")

from harness_kit import Runner, metrics
from spec_kit import sound

from segc.build import build
from segc.check import verify
from segc.cli import main
from segc.diag import Report
from segc.dim import evaluate
from segc.emit.harness import harness_files
from segc.facts import facts_of
from segc.manual import page
from segc.read import read
from segc.read.loss_table import LOSSES
from segc.source import Source

ROOT = Path(__file__).resolve().parent.parent


# --- specs ----------------------------------------------------------------------------------


def spec(name: str, **params: Any) -> Any:
    report = Report()
    graph = read(Source.open(ROOT / "specs" / f"{name}.yaml"), params, report)
    assert graph is not None and report.diagnostics == []
    return verify(graph, report)


@pytest.mark.parametrize(
    ("name", "reads", "resize"),
    [
        ("deeplab_largefov", "scores", "labels_corners"),
        ("deeplabv2_vgg16", "scores", "labels_corners"),
        ("deeplabv2_resnet101", "fused", "labels_centres"),
        ("dilation_frontend", "scores", "labels_slice"),
        ("dilation8_voc", "scores", "labels_slice"),
        ("dilation10_cityscapes", "logits", "logits"),
    ],
)
def test_what_is_resized_in_the_specs(name: str, reads: str, resize: str) -> None:
    """The loss looks at the scores; what is predicted from is the enlarged map."""
    checked = spec(name)
    loss = checked.graph.losses["seg"]
    assert (loss["output"], loss["resize"]) == (reads, resize)
    facts = facts_of(checked)
    assert facts is not None and facts.main == "logits"
    if reads != "logits":
        crop = checked.graph.recipe["crop"]
        side = crop[0] - 2 * (facts.margin or 0)
        rows = evaluate(checked.shape(checked.graph.outputs[reads])[2], {"H": crop[0]})
        assert math.ceil(side / 8) == rows  # so that every eighth label meets a score


def test_a_loss_with_a_condition() -> None:
    assert list(spec("drn_d_22").graph.losses) == ["label"]
    assert list(spec("drn_d_22", task="segmentation", classes=19).graph.losses) == ["seg"]
    assert list(spec("unet").graph.losses) == ["seg"]
    (loss,) = spec("unet", border_weights=True).graph.losses.values()
    assert loss["border_weight"] == {"w0": 10, "sigma": 5}


def test_networks_without_scripts_have_their_losses() -> None:
    assert list(harness_files(spec("chairs_decoder"))) == ["losses.py"]


def test_every_loss_has_a_row_and_a_module() -> None:
    modules = {p.stem for p in (ROOT / "segc" / "emit" / "losses").glob("*.py")}
    assert modules - {"__init__", "helpers", "pieces"} == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_manual_page_with_a_sound_example(name: str) -> None:
    text = page(name)
    assert text is not None and all(key in text for key in LOSSES[name].fields)
    if LOSSES[name].channels == "scalar":
        return  # of networks with layers that are losses: test_instances_training.py
    spec = f"""\
        segc: 1
        model: Net
        inputs: {{image: [N, 3, H, W]}}
        layers:
          logits: {{op: conv2d, out_channels: 3, kernel_size: 1}}
          edge: {{op: conv2d, from: image, out_channels: 1, kernel_size: 1}}
          edges: sigmoid
        outputs: {{logits: logits, edges: edges, disparity: edge}}
        losses: {{{LOSSES[name].example}}}
        """
    assert list(sound(dedent(spec)).graph.losses.values())[0]["kind"] == name


# --- in training ----------------------------------------------------------------------------

EVERYTHING = """\
segc: 1
model: Everything
inputs: {image: [N, 3, H, W]}
layers:
  body: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
  relu: relu
  logits: {op: conv2d, out_channels: 4, kernel_size: 1}
  edge: {op: conv2d, from: relu, out_channels: 1, kernel_size: 1}
  edges: sigmoid
  small: {op: conv2d, from: relu, out_channels: 4, kernel_size: 3, stride: 4, padding: 1}
outputs: {logits: logits, edges: edges, small: small}
losses:
  seg: {cross_entropy: logits, class_weights: inverse_log, border_weight: {w0: 10, sigma: 5}}
  coarse: {cross_entropy: small, resize: labels_centres, weight: 0.5}
  edge: {binary_cross_entropy: edges, target: edges, balanced: true, reads: probability}
  attention: {edge_attention: logits, edges: edges, threshold: 0.4, reduction: images}
  dual: {dual_task: logits}
recipe: {crop: [32, 32]}
"""


def test_all_of_them_train(tmp_path: Path) -> None:
    """train.py passes each loss what it takes: drawn scenes, border weights from a worker."""
    pytest.importorskip("scipy")
    folder = tmp_path / "net"
    folder.mkdir()
    for name, text in build(Source.from_text(EVERYTHING, "net.yaml"), {}).files.items():
        (folder / name).write_text(text, encoding="utf-8")
    runner = Runner(tmp_path)
    try:
        options = ("--crop", 32, 32, "--max-steps", 60, "--workers", 1, "--log-every", 10)
        status, said = runner.run(folder, "train.py", *options, "--lr", 0.05)
    finally:
        runner.close()
    assert status == 0, said
    values = [line["loss"] for line in metrics(tmp_path / "runs") if "loss" in line]
    assert len(values) == 6 and values[-1] < 0.8 * values[0]
    kept = json.loads((tmp_path / "runs" / "class_weights.json").read_text())
    assert kept["weighting"] == "inverse_log" and len(kept["weights"]) == 4


def test_a_network_without_scripts_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = str(ROOT / "specs" / "chairs_decoder.yaml")
    assert main(["train", spec, "-o", str(tmp_path)]) == 1
    assert "has no train.py: its losses say no task" in capsys.readouterr().err
