"""Boxes matched with ground truth: each rule of the systems, against torchvision where it has the
rule, else against a loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from assign_kit import drawn, matched
from rows_kit import boxes, made, match, rows, run, tensor
from torch import Tensor
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou

from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY
from segc.types import Match

OPERATORS = (
    "match",
    "max_overlaps",
    "matched_labels",
    "matched_boxes",
    "matched",
    "positives",
    "inside",
)


# --- torchvision's rules ---------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("attrs", "matcher"),
    [
        ({"high": 0.7, "low": 0.3, "low_quality": True}, Matcher(0.7, 0.3, True)),  # RPN
        ({"high": 0.5}, Matcher(0.5, 0.5, False)),  # RoI heads
        ({"high": 0.5, "low": 0.4, "low_quality": True}, Matcher(0.5, 0.4, True)),  # RetinaNet
        ({"high": 0.5, "best_always": True}, SSDMatcher(0.5)),
    ],
)
def test_matches_as_torchvision_does(seed: int, attrs: dict[str, Any], matcher: Matcher) -> None:
    a, gt = drawn(120, 3, seed), drawn(9, 3, seed + 50)
    gt[gt[:, 0] == 1, 0] = 2  # an image without objects
    want = torch.full((len(a),), -1)
    for image in (0, 2):
        mine, objects = a[:, 0] == image, torch.where(gt[:, 0] == image)[0]
        found = matcher(box_iou(gt[objects, 1:], a[mine, 1:]))
        want[mine] = torch.where(found >= 0, objects[found.clamp(min=0)], found)
    assert torch.equal(matched(a, gt, **attrs), want)


def test_two_objects_with_the_same_best_prior_give_it_to_the_last() -> None:
    a = torch.tensor([[0, 0, 0, 10, 10.0], [0, 50, 50, 60, 60]])
    gt = torch.tensor([[0, 0, 0, 10, 9.0], [0, 0, 0, 9, 10]])
    assert matched(a, gt, high=0.5, best_always=True).tolist() == [1, -1]
    nearest: dict[str, Any] = {"best_always": True, "best_takes": "nearest"}
    assert matched(a, gt, high=0.5, **nearest).tolist() == [0, -1]


# --- rules of the sheet, as loops ------------------------------------------------------------
def overlap_of(a: np.ndarray, b: np.ndarray, legacy: bool) -> float:
    one = 1 if legacy else 0
    w = min(a[3], b[3]) - max(a[1], b[1]) + one
    h = min(a[4], b[4]) - max(a[2], b[2]) + one
    if w <= 0 or h <= 0 or a[0] != b[0]:
        return 0.0
    area = [(c[3] - c[1] + one) * (c[4] - c[2] + one) for c in (a, b)]
    return float(w * h / (area[0] + area[1] - w * h))


def table(a: Tensor, gt: Tensor, legacy: bool) -> np.ndarray:
    """Overlaps, 0 between images."""
    pairs = [[overlap_of(p, q, legacy) for q in gt.numpy()] for p in a.numpy()]
    return np.array(pairs).reshape(len(a), len(gt))


def nearest(a: Tensor, gt: Tensor, overlaps: np.ndarray, row: int) -> tuple[float, int]:
    """The largest overlap with an object of the row's image, and which has it."""
    mine = [g for g in range(len(gt)) if gt[g, 0] == a[row, 0]]
    if not mine:
        return 0.0, -1
    best = max(mine, key=lambda g: overlaps[row, g])
    return overlaps[row, best], best


def within(box: Tensor, size: Tensor, legacy: bool) -> bool:
    last = 1 if legacy else 0
    low = box[1] >= 0 and box[2] >= 0
    return bool(low and box[3] <= size[1] - last and box[4] <= size[0] - last)


SIZES = torch.tensor([[64, 60], [50, 64], [64, 64]])


@pytest.mark.parametrize("seed", range(4))
def test_anchors_of_py_faster_rcnn(seed: int) -> None:
    """Inside the image only; .7 or tied for an object's best among those inside; below .3."""
    a, gt = drawn(90, 3, seed, whole=True), drawn(7, 3, seed + 50, whole=True)
    a[::9] = a[1::9]  # equal anchors: ties
    a = a[a[:, 0].argsort(stable=True)]
    overlaps = table(a, gt, legacy=True)
    inside = [within(box, SIZES[int(box[0])], True) for box in a]
    want = []
    for r in range(len(a)):
        best, g = nearest(a, gt, overlaps, r)
        label = g if best >= 0.7 else -1 if best < 0.3 else -2
        for k in range(len(gt)):
            rivals = [q for q in range(len(a)) if inside[q] and a[q, 0] == gt[k, 0]]
            if r in rivals and overlaps[r, k] == max(overlaps[q, k] for q in rivals):
                label = g
        want.append(label if inside[r] else -2)
    attrs: dict[str, Any] = {"high": 0.7, "low": 0.3, "low_quality": True}
    found = matched(a, gt, True, SIZES, **attrs)
    assert found.tolist() == want
    assert -2 in want and -1 in want and max(want) >= 0


@pytest.mark.parametrize("legacy", [False, True])
def test_boxes_inside_their_image(legacy: bool) -> None:
    a = drawn(90, 3, 0, whole=True)
    a[0] = torch.tensor([0.0, 0, 0, 60, 64])  # as large as the image
    types: list[Any] = [boxes("R", legacy), tensor(3, 2)]
    found = run("inside", [a, SIZES], types)
    want = [int(within(box, SIZES[int(box[0])], legacy)) for box in a]
    assert found.tolist() == want and want[0] == (not legacy)
    assert run("inside", [a[:0], SIZES], types).tolist() == []


def test_an_object_that_no_anchor_overlaps_takes_all_that_overlap_nothing() -> None:
    a = torch.tensor([[0, 0, 0, 9, 9.0], [0, 20, 20, 29, 29], [0, 40, 40, 49, 49]])
    gt = torch.tensor([[0, 20, 20, 29, 29.0], [0, 90, 90, 99, 99]])
    found = matched(a, gt, True, high=0.7, low=0.3, low_quality=True)
    assert found.tolist() == [0, 0, 0]  # tied at 0; of all objects they are nearest to the first
    assert matched(a, gt, True, high=0.7, low=0.3).tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("attrs", "legacy"),
    [
        ({"high": 0.5, "low": 0.5, "floor": 0.1}, True),  # Fast R-CNN
        ({"high": 0.5}, True),  # py-faster-rcnn's regions
        ({"high": 0.5}, False),  # torchvision's and Detectron2's
        ({"high": 0.6, "strict": True}, True),  # regressors of R-CNN
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_regions_by_their_overlap(attrs: dict[str, Any], legacy: bool, seed: int) -> None:
    a, gt = drawn(150, 3, seed, whole=True), drawn(8, 2, seed + 50, whole=True)
    a[:9] = gt[0] + torch.arange(9.0)[:, None] * torch.tensor([0.0, 1, 1, 1, 1])
    a = a[a[:, 0].argsort(stable=True)]
    overlaps, floor = table(a, gt, legacy), attrs.get("floor", 0)
    want = []
    for r in range(len(a)):
        best, g = nearest(a, gt, overlaps, r)
        positive = best > attrs["high"] if attrs.get("strict") else best >= attrs["high"]
        below = best < attrs["high"]
        want.append(g if positive else -1 if below and best >= floor else -2)
    assert matched(a, gt, legacy, **attrs).tolist() == want
    assert max(want) >= 0 and (-2 in want) == bool(floor)
    types: list[Any] = [boxes("R", legacy), boxes("G", legacy)]
    best_of = run("max_overlaps", [a, gt], types)
    np.testing.assert_allclose(best_of, [nearest(a, gt, overlaps, r)[0] for r in range(len(a))])


def test_strict_is_about_equality() -> None:
    a, gt = torch.tensor([[0, 0, 0, 10, 10.0]]), torch.tensor([[0, 0, 0, 10, 5.0]])
    assert matched(a, gt, high=0.5).tolist() == [0]
    assert matched(a, gt, high=0.5, strict=True).tolist() == [-2]


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_densecap(seed: int) -> None:
    """> .7 or first best of an object, wherever it lies; < .3; those outside are dropped."""
    a, gt = drawn(80, 2, seed), drawn(6, 2, seed + 50)
    overlaps = table(a, gt, legacy=True)
    want = []
    for r in range(len(a)):
        best, g = nearest(a, gt, overlaps, r)
        label = g if best > 0.7 else -1 if best < 0.3 else -2
        label = label if within(a[r], SIZES[int(a[r, 0])], True) else -2
        for k in range(len(gt)):
            rivals = [q for q in range(len(a)) if a[q, 0] == gt[k, 0]]
            if r == max(rivals, key=lambda q, k=k: overlaps[q, k]):  # the first of them
                label = g
        want.append(label)
    attrs: dict[str, Any] = {"high": 0.7, "low": 0.3, "strict": True}
    attrs |= {"best_always": True, "best_takes": "nearest"}
    assert matched(a, gt, True, SIZES, **attrs).tolist() == want


# --- what rows take from their objects -------------------------------------------------------
def test_rows_take_the_values_of_their_object() -> None:
    m, g = torch.tensor([-2, 1, -1, 0]), rows("G")
    labels = torch.tensor([5, 7])
    types: list[Any] = [match("R"), tensor(g, dtype="int")]
    assert run("matched_labels", [m, labels], types).tolist() == [-1, 7, 0, 5]
    last: dict[str, Any] = {"background": "last", "classes": 81}
    assert run("matched_labels", [m, labels], types, **last).tolist() == [-1, 6, 80, 4]
    values = torch.arange(8.0).reshape(2, 2, 2)
    y = run("matched", [m, values], [match("R"), tensor(g, 2, 2)])
    assert torch.equal(y[[1, 3]], values[[1, 0]]) and not y[[0, 2]].any()
    gt = torch.tensor([[0, 1, 2, 3, 4.0], [1, 5, 6, 7, 8]])
    y = run("matched_boxes", [m, gt], [match("R"), boxes("G", True)])
    assert torch.equal(y[[1, 3]], gt[[1, 0]]) and not y[[0, 2]].any()
    assert run("positives", [m], [match("R")]).tolist() == [0, 1, 0, 1]
    assert run("positives", [m], [match("R")], dtype="int").tolist() == [-1, 1, 0, 1]
    last = {"dtype": "int", "background": "last"}
    assert run("positives", [m], [match("R")], **last).tolist() == [-1, 0, 1, 0]


# --- nothing there ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("legacy", [False, True])
def test_without_rows_and_without_objects(dtype: torch.dtype, legacy: bool) -> None:
    none, some = torch.zeros(0, 5, dtype=dtype), drawn(5, 2, 0).to(dtype)
    kinds: list[Any] = [boxes("R", legacy), boxes("G", legacy)]
    all_rules: dict[str, Any] = {"high": 0.7, "low": 0.3, "low_quality": True, "best_always": True}
    for a, gt, want in ((none, none, []), (none, some, []), (some, none, [-1] * 5)):
        assert matched(a, gt, legacy, **all_rules).tolist() == want
        assert run("max_overlaps", [a, gt], kinds).tolist() == [0] * len(want)
    floor: dict[str, Any] = {"high": 0.5, "floor": 0.1}
    assert matched(some, none, legacy, **floor).tolist() == [-2] * 5
    assert matched(some, none, legacy, SIZES, high=0.5).min() >= -2
    empty = torch.zeros(0, dtype=torch.long)
    ignored = torch.full((5,), -1)
    target = tensor(rows("G"), dtype="int")
    found = run("matched_labels", [ignored, empty], [match("R"), target])
    assert found.tolist() == [0] * 5
    assert not run("matched_boxes", [ignored, none], [match("R"), boxes("G")]).any()


def test_boxes_without_area_match_nothing() -> None:
    point = torch.tensor([[0, 3, 3, 3, 3.0], [0, 3, 3, 9, 9]])
    found = matched(point, point, high=0.5)
    assert found.tolist() == [-1, 1]
    assert matched(point, point, True, high=0.5).tolist() == [0, 1]  # of one pixel


# --- faults ----------------------------------------------------------------------------------
G = rows("G")
FAULTS: list[tuple[str, list[Any], dict[str, Any], str, str]] = [
    ("match", [boxes("R"), boxes("G", True)], {"high": 0.5}, "SEG206", "geometry"),
    ("match", [boxes("R"), boxes("G", frame="normalised")], {"high": 0.5}, "SEG206", "frame"),
    ("match", [boxes("R"), boxes("G")], {"high": 0.3, "low": 0.7}, "SEG210", "up to 0.7"),
    ("match", [boxes("R"), boxes("G")], {"high": 0.0}, "SEG210", "every box matches"),
    ("match", [boxes("R"), boxes("G")], {"high": 0.5, "floor": 0.5}, "SEG210", "no box"),
    (
        "match",
        [boxes("R"), boxes("G")],
        {"high": 0.5, "best_takes": "nearest"},
        "SEG210",
        "best_always",
    ),
    (
        "match",
        [boxes("R"), boxes("G"), tensor(2, 3)],
        {"high": 0.5, "inside": "s"},
        "SEG201",
        "height and width",
    ),
    ("matched_labels", [match("R"), tensor(G)], {}, "SEG201", "whole number"),
    ("matched_labels", [match("R"), tensor(G, 2, dtype="int")], {}, "SEG201", "for each row"),
    ("matched_labels", [match("R", "G"), tensor(rows("H"), dtype="int")], {}, "SEG214", "`H`"),
    ("matched_labels", [match("R"), tensor(G, dtype="int")], {"classes": 4}, "SEG210", "last"),
    (
        "matched_labels",
        [match("R"), tensor(G, dtype="int")],
        {"background": "last"},
        "SEG210",
        "classes",
    ),
    ("matched_boxes", [match("R", "G"), boxes("H")], {}, "SEG214", "`G`"),
    ("matched", [match("R", "G"), tensor(rows("H"), 3)], {}, "SEG214", "`G`"),
    ("positives", [match("R")], {"background": "last"}, "SEG210", "whole numbers"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "code", "words"), FAULTS)
def test_faults(name: str, types: list[Any], attrs: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as fault:
        made(name, types, **attrs)
    assert fault.value.code == code


def test_a_match_keeps_what_it_points_into() -> None:
    (kind,) = made("match", [boxes("R"), boxes("G")], high=0.5)
    assert kind == Match((rows("R"),), rows("G"))


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_emitted_passes_the_audit(name: str) -> None:
    source = "\n\n".join(h.source for h in REGISTRY[name].helpers)
    assert audit(f"import torch\n\n{source}") == []
    for line in source.splitlines():
        assert len(line) <= 100
