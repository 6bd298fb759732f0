"""Losses of rows and their denominators: sums written from each system."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from assign_kit import alike, gradients, values
from rows_kit import NAMESPACE, boxes, build, made, rows, run, tensor
from torch import Tensor

from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY

NAMESPACE.setdefault("math", math)
OPERATORS = (
    "bce_loss", "ce_loss", "smooth_l1_loss", "l1_loss", "l2_loss", "l2_penalty", "focal_loss",
    "giou_loss",
)  # fmt: skip
R, S, P, G = (rows(name) for name in "RSPG")
INT = tensor(R, dtype="int")


@pytest.fixture(autouse=True)
def fixed() -> None:
    torch.manual_seed(0)


# --- denominators of the other systems -------------------------------------------------------
def smooth(d: np.ndarray, beta: float) -> np.ndarray:
    d = np.abs(d)
    return np.where(d < beta, d * d / (2 * beta), d - beta / 2) if beta else d


@pytest.mark.parametrize(
    ("attrs", "beta", "denominator"),
    [
        ({"beta": 1.0, "reduction": "sum", "per": "labels"}, 1.0, 11),  # Fast R-CNN, MNC: / R
        ({"beta": 1 / 9, "reduction": "sum", "per": "labels"}, 1 / 9, 11),  # / sampled
        ({"beta": 1.0, "reduction": "mean"}, 1.0, 7 * 4),  # DenseCap: / values
        ({"beta": 0.0, "reduction": "sum", "per": "image", "count": 256}, 0.0, 256 * 2),
        ({"beta": 1.0, "reduction": "sum"}, 1.0, 1),
    ],
)
def test_denominators_of_box_losses(attrs: dict[str, Any], beta: float, denominator: int) -> None:
    x, y = values(7, 4), values(7, 4, seed=1, grad=False)
    extra = {"labels": torch.zeros(11).long(), "image": torch.zeros(2, 3, 5, 5)}
    kinds: dict[str, Any] = {"labels": tensor(S, dtype="int"), "image": tensor(2, 3, 5, 5)}
    name = attrs.get("per")
    args = [x, y, *([extra[name]] if name else [])]
    types = [tensor(P, 4), tensor(P, 4), *([kinds[name]] if name else [])]
    got = run("smooth_l1_loss", args, types, **attrs)
    want = smooth((x.detach() - y).numpy(), beta).sum() / denominator
    assert got.item() == pytest.approx(want, rel=1e-12)
    if not beta:
        attrs = {name: value for name, value in attrs.items() if name != "beta"}
        assert run("l1_loss", args, types, **attrs).item() == pytest.approx(want, rel=1e-12)


def test_targets_beyond_ten_cost_nothing_but_count() -> None:
    """DenseCap: rows with any target above 10, either sign."""
    x, y = values(5, 4), values(5, 4, seed=1, grad=False)
    y[1, 2], y[3, 0], y[4, 1] = 10.5, -11, torch.inf
    types = [tensor(P, 4), tensor(P, 4)]
    got = run("smooth_l1_loss", [x, y], types, drop_above=10.0)
    kept = [0, 2]
    alike(got, F.smooth_l1_loss(x[kept], y[kept], reduction="sum") / 20, x)


def test_objectness_averaged_over_objects_and_over_background() -> None:
    """DenseCap: mean over positives and mean over negatives, added."""
    labels = torch.tensor([1, 0, 0, 1, 0, -1, 0, 0])
    x, two = values(8), values(8, 2)
    each = F.cross_entropy(two, labels.clamp(min=0), reduction="none")
    want = each[labels == 1].mean() + each[labels == 0].mean()
    types: list[Any] = [tensor(R, 2), INT]
    alike(run("ce_loss", [two, labels], types, reduction="balanced"), want, two)
    each = F.softplus(-x) * (labels == 1) + F.softplus(x) * (labels == 0)
    want = each[labels == 1].mean() + each[labels == 0].mean()
    for targets in (labels, labels.double()):
        kind = tensor(R, dtype="int" if targets.dtype == torch.long else "float")
        got = run("bce_loss", [x, targets], [tensor(R), kind], reduction="balanced", ignored=-1.0)
        alike(got, want, x)
    only = torch.ones(8).long()
    got = run("ce_loss", [two, only], types, reduction="balanced")
    alike(got, F.cross_entropy(two, only), two)


def test_sentences_are_summed_over_words_and_averaged_over_regions() -> None:
    """DenseCap: step 0 and what follows the end do not count."""
    x, words = values(3, 6, 9), torch.randint(0, 9, (3, 6))
    words[:, 0], words[0, 3:], words[2, 5:] = -1, -1, -1
    types: list[Any] = [tensor(P, 6, 9), tensor(P, 6, dtype="int"), tensor(P, 6, dtype="int")]
    attrs: dict[str, Any] = {"reduction": "sum", "per": "words"}
    want = x.new_zeros(())
    for r in range(3):
        for t in range(6):
            if words[r, t] >= 0:
                want = want - x[r, t].log_softmax(0)[words[r, t]]
    alike(run("ce_loss", [x, words, words], types, **attrs), want / 3, x)


def test_classes_on_another_axis() -> None:
    x, labels = values(4, 3, 5, 5), torch.randint(0, 3, (4, 5, 5))
    kinds: list[Any] = [tensor(R, 3, 5, 5), tensor(R, 5, 5, dtype="int")]
    alike(run("ce_loss", [x, labels], kinds, axis=1), F.cross_entropy(x, labels), x)


def test_masks_weighted_by_foreground() -> None:
    """MNC: sigmoid cross entropy over regions on objects, divided by the sum of weights."""
    x, t = values(6, 21, 21), (values(6, 21, 21, seed=1, grad=False) > 0).double()
    weights = torch.tensor([1.0, 0, 1, 1, 0, 0], dtype=torch.float64)
    types = [tensor(R, 21, 21), tensor(R, 21, 21), tensor(R)]
    attrs: dict[str, Any] = {"reduction": "weighted", "row_weights": "w"}
    want = F.binary_cross_entropy_with_logits(x[weights > 0], t[weights > 0])
    alike(run("bce_loss", [x, t, weights], types, **attrs), want, x)
    none = run("bce_loss", [x, t, weights * 0], types, **attrs)
    assert none.item() == 0 and not gradients(none, x)[0].any()


def test_masks_of_hypercolumns() -> None:
    """Label -1 left out, a weight for each box, divided by their number."""
    x, t = values(4, 5, 5), torch.randint(-1, 2, (4, 5, 5)).double()
    weights = torch.tensor([1.0, 0.3, 0.5, 1], dtype=torch.float64)
    types = [tensor(R, 5, 5), tensor(R, 5, 5), tensor(R, 5, 5), tensor(R)]
    attrs: dict[str, Any] = {"reduction": "sum", "per": "x", "row_weights": "w", "ignored": -1.0}
    each = F.binary_cross_entropy_with_logits(x, t, reduction="none") * (t >= 0)
    want = (each.sum((1, 2)) * weights).sum() / 4
    alike(run("bce_loss", [x, t, x, weights], types, **attrs), want, x)
    got = run("bce_loss", [x, t], types[:2], ignored=-1.0)
    alike(got, each.sum() / (t >= 0).sum(), x)
    got = run("bce_loss", [x, t, weights], [*types[:2], tensor(R)], ignored=-1.0,
              reduction="weighted", row_weights="w")  # fmt: skip
    every = weights[:, None, None] * (t >= 0)
    alike(got, (each * every).sum() / every.sum(), x)


def test_joints_and_boxes_that_are_not_known() -> None:
    """DeepPose sums squares over labelled joints; images without a box weigh nothing."""
    x, y = values(3, 4, 2), values(3, 4, 2, seed=1, grad=False)
    joints = (values(3, 4, seed=2, grad=False) > 0).double()
    types = [tensor(3, 4, 2), tensor(3, 4, 2), tensor(3, 4, 2), tensor(3, 4)]
    attrs: dict[str, Any] = {"reduction": "sum", "per": "x", "row_weights": "joints"}
    want = sum(((x[i, k] - y[i, k]) ** 2).sum() for i in range(3) for k in range(4) if joints[i, k])
    assert isinstance(want, Tensor)
    alike(run("l2_loss", [x, y, x, joints], types, **attrs), want / 3, x)
    box, goal = values(3, 4), values(3, 4, seed=1, grad=False)
    known = torch.tensor([1.0, 0, 1])
    types = [tensor(3, 4), tensor(3, 4), tensor(3)]
    got = run("l2_loss", [box, goal, known], types, reduction="weighted", row_weights="known")
    alike(got, ((box - goal) ** 2)[[0, 2]].mean(), box)
    got = run("l2_loss", [box, goal, known], types, reduction="mean", row_weights="known")
    alike(got, ((box - goal) ** 2)[[0, 2]].sum() / 12, box)


def test_penalty_on_the_size_of_deltas() -> None:
    x = values(6, 4)
    got = run("l2_penalty", [x], [tensor(R, 4)], reduction="sum")
    alike(got, x.square().sum(), x)


@pytest.mark.parametrize("name", ["l1_loss", "l2_loss", "smooth_l1_loss"])
def test_each_value(name: str) -> None:
    x, y = values(3, 4), values(3, 4, seed=1, grad=False)
    got = run(name, [x, y], [tensor(R, 4), tensor(R, 4)], reduction="none")
    assert got.shape == (3, 4)
    alike(got.mean(), run(name, [x, y], [tensor(R, 4), tensor(R, 4)]), x)


# --- nothing there ---------------------------------------------------------------------------
@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted", "balanced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_rows_are_a_zero_that_has_a_gradient(reduction: str, dtype: torch.dtype) -> None:
    x, none = torch.zeros(0, 4, dtype=dtype, requires_grad=True), torch.zeros(0).long()
    cases: dict[str, tuple[list[Tensor], list[Any]]] = {
        name: ([x, x.detach()], [tensor(R, 4), tensor(R, 4)])
        for name in ("smooth_l1_loss", "l1_loss", "l2_loss", "bce_loss")
    }
    cases["l2_penalty"] = ([x], [tensor(R, 4)])
    cases["ce_loss"] = cases["focal_loss"] = ([x, none], [tensor(R, 4), INT])
    attrs: dict[str, Any] = {"reduction": reduction}
    extra: list[Tensor] = []
    kinds: list[Any] = []
    if reduction == "sum":
        attrs, extra, kinds = {**attrs, "per": "x"}, [x], [tensor(R, 4)]
    if reduction == "weighted":
        extra, kinds = [torch.zeros(0, dtype=dtype)], [tensor(R)]
        attrs = {**attrs, "row_weights": "w"}
    for name, (args, types) in cases.items():
        if reduction in REGISTRY[name].attrs["reduction"].choices:
            loss = run(name, [*args, *extra], [*types, *kinds], **attrs)
            assert loss.item() == 0 and loss.dtype == dtype, name
            loss.backward()
    assert x.grad is not None and x.grad.shape == (0, 4)


def test_labels_that_are_all_left_out() -> None:
    x, labels = values(4, 3), torch.full((4,), -1)
    for reduction in ("mean", "sum", "balanced"):
        loss = run("ce_loss", [x, labels], [tensor(R, 3), INT], reduction=reduction)
        assert loss.item() == 0 and not gradients(loss, x)[0].any()
    none = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
    assert run("giou_loss", [none, none], [boxes("R"), boxes("R")]).item() == 0


# --- faults ----------------------------------------------------------------------------------
TWO: list[Any] = [tensor(R, 4), tensor(R, 4)]
FAULTS: list[tuple[str, list[Any], dict[str, Any], str, str]] = [
    ("smooth_l1_loss", [tensor(R, 4), tensor(S, 4)], {}, "SEG214", "rows `R`"),
    ("l1_loss", [tensor(R, 4), tensor(R, 5)], {}, "SEG203", "one is 4, the other 5"),
    ("l2_loss", [tensor(R, 4, 2), tensor(R, 4)], {}, "SEG203", "one is 4 x 2, the other 4"),
    ("l2_loss", [tensor(R, 4), tensor(R, 4, dtype="int")], {}, "SEG201", "real numbers"),
    ("l1_loss", [tensor(), tensor()], {}, "SEG201", "one number"),
    ("l1_loss", TWO, {"per": "x"}, "SEG210", "divides a sum"),
    ("l1_loss", TWO, {"reduction": "sum", "count": 4}, "SEG210", "add|count"),
    ("l1_loss", TWO, {"reduction": "weighted"}, "SEG210", "has weights"),
    ("l1_loss", [*TWO, tensor(R)], {"reduction": "none", "row_weights": "w"}, "SEG210", "no use"),
    ("l1_loss", [*TWO, tensor(S)], {"row_weights": "w"}, "SEG214", "weights"),
    ("l1_loss", [*TWO, tensor(R, 3)], {"row_weights": "w"}, "SEG203", "weights"),
    ("l1_loss", [*TWO, tensor(R, 4, 2)], {"row_weights": "w"}, "SEG201", "weights are of rows"),
    ("l1_loss", [*TWO, tensor()], {"reduction": "sum", "per": "n"}, "SEG201", "with rows"),
    ("smooth_l1_loss", [tensor(R), tensor(R)], {"drop_above": 10.0}, "SEG201", "several values"),
    ("bce_loss", [tensor(R), tensor(S)], {}, "SEG214", "targets"),
    ("bce_loss", [tensor(R, 1), tensor(R)], {}, "SEG203", "one value"),
    ("bce_loss", [tensor(R, dtype="int"), tensor(R)], {}, "SEG201", "real numbers"),
    ("ce_loss", [tensor(R, 4), tensor(R)], {}, "SEG201", "whole numbers"),
    ("ce_loss", [tensor(R, 4), tensor(S, dtype="int")], {}, "SEG214", "labels"),
    ("ce_loss", [tensor(R), INT], {}, "SEG201", "score for each class"),
    ("ce_loss", [tensor(R, 4), INT], {"axis": 0}, "SEG210", "rows, not the classes"),
    ("ce_loss", [tensor(R, 4), INT], {"axis": 2}, "SEG210", "axis 2"),
    ("ce_loss", [tensor(R, 6, 4), INT], {}, "SEG203", "one is 6"),
    ("focal_loss", [tensor(R, 4, 4), INT], {}, "SEG201", "score for each class"),
    ("focal_loss", [tensor(R, 4), tensor(R)], {}, "SEG201", "whole number"),
    ("focal_loss", [tensor(R, 4), tensor(S, dtype="int")], {}, "SEG214", "labels"),
    ("giou_loss", [boxes("R"), boxes("S")], {}, "SEG214", "targets"),
    ("giou_loss", [boxes("R", True), boxes("R", True)], {}, "SEG206", "last pixel"),
    ("giou_loss", [boxes("R"), boxes("R", True)], {}, "SEG206", "geometry"),
    ("l2_penalty", [INT], {}, "SEG201", "real numbers"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "code", "words"), FAULTS)
def test_faults(name: str, types: list[Any], attrs: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as fault:
        made(name, types, **attrs)
    assert fault.value.code == code


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_emitted_passes_the_audit(name: str) -> None:
    source = "\n\n".join(h.source for h in REGISTRY[name].helpers)
    assert audit(f"import torch\n\n{source}") == []
    assert max(map(len, source.splitlines())) <= 100
    assert build(name).style.family == "predict"
