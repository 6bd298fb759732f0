"""What R-CNN and SPP-net fit behind their networks: against closed forms, and as their scripts."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_kit import load as imported
from spec_kit import fault
from specs_kit import load

from segc.emit.harness import harness_files

STUB = '''\
"""Colours in a region stand for what a network says of it."""

import torch
from torch import nn
from torchvision import ops

__all__ = ["RCNN"]


class RCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, image, sizes, rois):
        seen = ops.roi_align(image * self.one / 64, rois, 5, sampling_ratio=2).flatten(1)
        extra = (rois[:, 3:] - rois[:, 1:3]) / 64
        return {"features": seen, "pool5": torch.cat([seen, extra], 1)}


def from_model(model):
    return model
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rcnn")
    for name, text in harness_files(load("rcnn")).items():
        (path / name).write_text(text, encoding="utf-8")
    (path / "model.py").write_text(STUB)
    (path / "deploy.py").write_text(STUB)
    return path


@pytest.fixture(scope="module")
def estimators(folder: Path) -> Any:
    return imported(folder).estimators


def script(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "estimators.py", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


# --- which networks have them -------------------------------------------------------------------


def test_the_file_is_there_where_the_recipe_has_estimators() -> None:
    assert "estimators.py" in harness_files(load("rcnn"))
    text = harness_files(load("spp_net"))["estimators.py"]
    assert "BOX_RIDGE = 4000" in text and 'BOX_FEATURES = "pooled"' in text
    assert "estimators.py" not in harness_files(load("fast_rcnn_vgg16"))


def test_without_regression_of_boxes_there_is_none_of_it(folder: Path) -> None:
    checked = load("rcnn")
    recipe = dict(checked.graph.recipe)
    alone = {**recipe, "estimators": {**recipe["estimators"], "box_regressor": None}}
    text = harness_files(replace(checked, graph=replace(checked.graph, recipe=alone)))
    source = text["estimators.py"]
    compile(source, "estimators.py", "exec")
    assert (
        "BOX_" not in source and "moved" not in source and 'NAMES = ["svm", "svm_scale"]' in source
    )


SPEC = """\
segc: 1
model: Net
inputs:
  image: [N, 3, H, W]
  ROIS: {shape: [R, 5], type: boxes}
  gt_boxes: {shape: [G, 5], type: boxes, only: train}
  gt_labels: {shape: [G], type: labels, only: train}
params: {classes: 3}
layers:
  pooled: {op: roi_pool, from: [ROIS, image], output_size: 1, stride: 1}
  flat: flatten
  scores: {op: linear, out_features: classes}
  match: {op: match, from: [ROIS, gt_boxes], high: 0.5, only: train}
  labels: {op: matched_labels, from: [match, gt_labels], only: train}
  loss: {op: ce_loss, from: [scores, labels], only: train}
  sure: {op: softmax, from: scores, only: test}
  likely: {op: candidates, from: sure, threshold: 0.05, only: test}
  boxes: {op: gather, from: [likely, ROIS], only: test}
outputs: {loss_cls: loss, boxes: boxes, labels: likely.labels, scores: likely.scores, flat: flat}
losses: {cls: {computed: loss_cls}}
recipe:
  estimators: {svm: {features: FEATURES}}
"""


def test_faults_of_a_recipe() -> None:
    text = SPEC.replace("ROIS", "rois")
    fault(text.replace("FEATURES", "flot"), "SEG602", "`svm` reads `flot`", "flat")
    elsewhere = SPEC.replace("ROIS", "regions").replace("FEATURES", "flat")
    fault(elsewhere, "SEG623", "input `rois`")
    fault(text.replace("{features: FEATURES}", "{}"), "SEG104", "`features` is missing")


# --- regression of boxes ------------------------------------------------------------------------


def test_moving_is_the_inverse_of_the_targets(estimators: Any) -> None:
    corners = torch.rand(2, 20, 2, 2).sort(2).values * 90
    corners[:, :, 1] += 5
    boxes, truth = corners.flatten(2)
    assert torch.allclose(
        estimators.moved(boxes, estimators.targets_of(boxes, truth)), truth, atol=1e-3
    )


@pytest.mark.parametrize(("rows", "values"), [(200, 12), (10, 30)])
def test_ridge_regression_is_the_closed_form(estimators: Any, rows: int, values: int) -> None:
    """As in R-CNN's code: targets centred and whitened, the bias penalised like the rest."""
    random = np.random.default_rng(0)
    x, y = (
        random.normal(size=(rows, values)) * 20,
        random.normal(size=(rows, 4)) * [0.1, 0.1, 0.3, 0.2],
    )
    mean = y.mean(0)
    spread, axes = np.linalg.eigh((y - mean).T @ (y - mean) / rows)
    whiten = axes @ np.diag((spread + 0.001) ** -0.5) @ axes.T
    back = axes @ np.diag((spread + 0.001) ** 0.5) @ axes.T
    one = np.c_[x, np.ones(rows)]
    weight = np.linalg.solve(one.T @ one + 1000 * np.eye(values + 1), one.T @ (y - mean) @ whiten)
    wanted = one @ weight @ back + mean
    found = estimators.fit_box_regressor(torch.tensor(x), torch.tensor(y)).double().numpy()
    assert np.allclose(one @ found, wanted, atol=1e-4)


# --- support vector machines --------------------------------------------------------------------


def test_svm_is_liblinears(estimators: Any) -> None:
    """The primal objective of the hinge loss, with its bias and weight of positives, is least."""
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    positives, negatives = torch.randn(30, 6) + 1, torch.randn(60, 6) - 1
    weight = estimators.fit_svm(positives, negatives).double()

    def objective(w: torch.Tensor) -> torch.Tensor:
        scores = estimators.score(torch.cat([positives, negatives]).double(), w[None])[:, 0]
        signs = torch.cat([torch.ones(30), -torch.ones(60)])
        factor = torch.cat([torch.full((30,), 2.0), torch.ones(60)])
        errors = (factor * (1 - signs * scores).clamp(min=0)).sum()
        penalty = w[:-1].square().sum() + (w[-1] / 10) ** 2
        value: torch.Tensor = penalty / 2 + 1e-3 * errors
        return value

    least = objective(weight)
    for _ in range(200):
        assert objective(weight + 0.003 * torch.randn(7).double()) >= least - 1e-7


def test_svm_is_scikit_learns_with_the_recipes_numbers(estimators: Any) -> None:
    """C 0.001, bias 10 and weight 2 of positives, and it separates what can be separated."""
    svm = pytest.importorskip("sklearn.svm")
    torch.manual_seed(0)
    positives, negatives = torch.randn(40, 5) * 2 + 8, torch.randn(80, 5) * 2 - 8
    found = estimators.fit_svm(positives, negatives)
    direct = svm.LinearSVC(
        C=1e-3,
        loss="hinge",
        intercept_scaling=10,
        class_weight={1: 2},
        random_state=0,
        max_iter=10000,
    ).fit(torch.cat([positives, negatives]).numpy(), [1] * 40 + [-1] * 80)
    assert np.array_equal(found[:-1].numpy(), direct.coef_[0].astype(np.float32))
    assert found[-1] == torch.tensor(direct.intercept_[0]).float()
    assert (estimators.score(positives, found[None]) > 0).all()
    assert (estimators.score(negatives, found[None]) < 0).all()


def test_without_scikit_learn_the_package_is_named(
    estimators: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(estimators.Stop, match="pip install scikit-learn") as stopped:
        estimators.fit_svm(torch.ones(2, 3), torch.zeros(2, 3))
    assert stopped.value.status == 3


def test_easy_negatives_are_forgotten_and_hard_ones_gathered(estimators: Any) -> None:
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    svm = estimators.Svm(torch.randn(20, 4) * 2 + 30, torch.zeros(0, 4))
    svm.gather(torch.cat([torch.randn(25, 4) - 30, torch.randn(25, 4) - 90]))
    assert svm.weight is not None and len(svm.negatives) == 25
    kept = len(svm.negatives)
    svm.gather(torch.full((5, 4), -300.0))  # easy
    assert len(svm.negatives) == kept
    svm.gather(torch.full((5, 4), 30.0))  # hard
    assert len(svm.negatives) == kept + 5


def test_a_class_without_objects_is_never_found(estimators: Any) -> None:
    looked = estimators.Looked(
        torch.tensor([[0.0, 0, 20, 20], [1, 1, 21, 21], [40, 40, 60, 60]]),
        {"features": torch.tensor([[1.0], [2], [3]]), "pool5": torch.ones(3, 2)},
    )
    svm = torch.tensor([[0.0, -torch.inf]]).repeat(20, 1)
    svm[4] = torch.tensor([1.0, 0])
    fitted = {"svm": svm, "svm_scale": torch.tensor(1.0), "box": torch.zeros(20, 3, 4),
              "box_scale": torch.tensor(1.0)}  # fmt: skip
    found = estimators.detections(looked, fitted, (50, 64))
    assert found.labels.tolist() == [5, 5] and found.scores.tolist() == [3, 2]
    assert found.boxes.tolist() == [[40, 40, 60, 50], [1, 1, 21, 21]]


# --- the script ---------------------------------------------------------------------------------


def test_fitted_and_scored_on_scenes(folder: Path) -> None:
    pytest.importorskip("sklearn")
    torch.save({"one": torch.ones(1)}, folder / "last.pt")
    text = (folder / "data.py").read_text()
    assert '{"train": 512}.get(self.split, 32)' in text
    (folder / "data.py").write_text(text.replace('{"train": 512}.get(self.split, 32)', "12"))
    fit = script(folder, "fit", "--weights", "last.pt", "--device", "cpu")
    assert fit.returncode == 0, fit.stderr
    saved = torch.load(folder / "estimators.pt", weights_only=True)
    assert saved["svm"].shape == (20, 76) and saved["box"].shape == (20, 78, 4)
    args = (
        "eval",
        "--weights",
        "last.pt",
        "--device",
        "cpu",
        "--split",
        "train",
        "--json",
        "s.json",
    )
    score = script(folder, *args)
    assert score.returncode == 0, score.stderr
    assert json.loads((folder / "s.json").read_text())["box_ap50"] > 0.1
    wrong = script(folder, *args, "--estimators", "last.pt")
    assert wrong.returncode == 1 and "is not what `fit` writes" in wrong.stderr


def test_what_is_missing_is_named(folder: Path) -> None:
    if importlib.util.find_spec("cv2"):
        pytest.skip("OpenCV is installed")
    propose = script(folder, "propose")
    assert propose.returncode == 3 and "pip install opencv-contrib-python" in propose.stderr
