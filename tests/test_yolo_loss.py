"""The loss of YOLO against a loop over cells and boxes, written from darknet's detection layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from assign_kit import drawn
from rows_kit import boxes, made, rows, run, tensor
from torch import Tensor

from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY

G = rows("G")
LABELS = tensor(G, dtype="int")
Truth = dict[int, tuple[int, list[float]]]


def iou(a: list[float], b: list[float]) -> float:
    """Of boxes by centre, width and height."""
    common = [
        min(a[k] + a[k + 2] / 2, b[k] + b[k + 2] / 2)
        - max(a[k] - a[k + 2] / 2, b[k] - b[k + 2] / 2)
        for k in (0, 1)
    ]
    if min(common) < 0:
        return 0.0
    return common[0] * common[1] / (a[2] * a[3] + b[2] * b[3] - common[0] * common[1])


def loop(
    x: np.ndarray,
    truth: dict[int, tuple[int, list[float]]],
    side: int,
    per_cell: int,
    rescore: bool,
) -> tuple[float, np.ndarray]:
    """Sum of squares of one image, and the steps darknet takes (half the negative gradient).

    truth: by cell the class, from 0, and x, y (within the cell), w, h (shares of the image)
    """
    cells = side * side
    classes = len(x) // cells - 5 * per_cell
    loss, steps = 0.0, np.zeros_like(x)

    def square(at: int, target: float, scale: float) -> float:
        steps[at] = scale * (target - x[at])
        return float(scale * (target - x[at]) ** 2)

    for cell in range(cells):
        confidences = [cells * classes + cell * per_cell + j for j in range(per_cell)]
        best, overlap = -1, 0.0
        if cell in truth:
            label, place = truth[cell]
            for c in range(classes):
                loss += square(cell * classes + c, float(c == label), 1)
            best_iou, best_rmse = 0.0, 20.0
            goal = [place[0] / side, place[1] / side, place[2], place[3]]
            for j in range(per_cell):
                at = cells * (classes + per_cell) + (cell * per_cell + j) * 4
                out = [x[at] / side, x[at + 1] / side, x[at + 2] ** 2, x[at + 3] ** 2]
                o, rmse = iou(out, goal), math.dist(out, goal)
                if best_iou > 0 or o > 0:
                    if o > best_iou:
                        best_iou, best = o, j
                elif rmse < best_rmse:
                    best_rmse, best = rmse, j
            overlap = best_iou
            at = cells * (classes + per_cell) + (cell * per_cell + best) * 4
            roots = [place[0], place[1], math.sqrt(place[2]), math.sqrt(place[3])]
            for k in range(4):
                loss += square(at + k, roots[k], 5)
        for j, at in enumerate(confidences):
            target = overlap if rescore else 1.0
            loss += square(at, target, 1) if j == best else square(at, 0, 0.5)
    return loss, steps


def truths(gt: Tensor, labels: Tensor, image: int, side: int, size: tuple[int, int]) -> Any:
    """By cell its first object."""
    found: dict[int, tuple[int, list[float]]] = {}
    height, width = size
    for box, label in zip(gt.tolist(), labels.tolist(), strict=True):
        if box[0] != image:
            continue
        cx, cy = (box[1] + box[3]) / 2 / width * side, (box[2] + box[4]) / 2 / height * side
        column, row = (min(max(int(c // 1), 0), side - 1) for c in (cx, cy))
        place = [cx - column, cy - row, (box[3] - box[1]) / width, (box[4] - box[2]) / height]
        found.setdefault(row * side + column, (label - 1, place))
    return found


def said(n: int, side: int, classes: int, per_cell: int, seed: int, spread: float) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, side * side * (classes + 5 * per_cell), generator=g, dtype=torch.float64)
    return (x * spread).requires_grad_()


@pytest.mark.parametrize("rescore", [True, False])
@pytest.mark.parametrize(
    ("side", "per_cell", "classes", "spread"),
    [(7, 2, 20, 1.0), (3, 3, 4, 0.7), (3, 2, 4, 0.05), (2, 1, 1, 1.0)],
)
def test_is_darknets(side: int, per_cell: int, classes: int, spread: float, rescore: bool) -> None:
    """Values and gradients; with small outputs no box overlaps its object: the nearest answers."""
    x = said(3, side, classes, per_cell, 1, spread)
    gt = drawn(12, 3, 5, size=50)
    gt[:, 1:] += 6
    gt[gt[:, 0] == 1, 0] = 2  # an image without objects
    labels = torch.arange(12) % classes + 1
    image = torch.zeros(3, 3, 60, 64, dtype=torch.float64)
    types: list[Any] = [tensor(*x.shape), boxes("G"), LABELS, tensor(*image.shape)]
    attrs: dict[str, Any] = {"side": side, "per_cell": per_cell, "image": "image"}
    attrs |= {"rescore": rescore}
    got = run("yolo_loss", [x, gt, labels, image], types, reduction="sum", **attrs)
    parts = []
    for n in range(3):
        truth = truths(gt, labels, n, side, (60, 64))
        parts.append(loop(x[n].detach().numpy(), truth, side, per_cell, rescore))
    assert got.item() == pytest.approx(sum(p[0] for p in parts), rel=1e-12)
    (gradient,) = torch.autograd.grad(got, x)
    np.testing.assert_allclose(gradient, -2 * np.stack([p[1] for p in parts]), atol=1e-12)
    mean = run("yolo_loss", [x, gt, labels, image], types, **attrs)
    assert mean.item() == pytest.approx(got.item() / 3, rel=1e-12)
    shares = gt / torch.tensor([1.0, 64, 60, 64, 60])
    types = [types[0], boxes("G", frame="normalised"), LABELS]
    del attrs["image"]
    again = run("yolo_loss", [x, shares, labels], types, **attrs)
    assert again.item() == pytest.approx(mean.item(), rel=1e-9)


def test_weights_of_the_parts() -> None:
    """The parts add up: the loss is linear in its four weights."""
    x, gt = said(2, 3, 4, 2, 3, 1.0), drawn(5, 2, 5, size=40)
    gt[:, 1:] = (gt[:, 1:] + 5).clamp(0, 64) / 64
    labels = torch.tensor([1, 2, 3, 4, 1])
    types: list[Any] = [tensor(2, 126), boxes("G", frame="normalised"), LABELS]
    names = ("box_weight", "object_weight", "empty_weight", "class_weight")

    def loss(*weights: float) -> float:
        attrs = dict(zip(names, weights, strict=True))
        found = run("yolo_loss", [x, gt, labels], types, side=3, **attrs)
        assert isinstance(found, Tensor)
        return found.item()

    parts = [loss(*(float(k == j) for k in range(4))) for j in range(4)]
    assert min(parts) > 0
    assert loss(5, 1, 0.5, 1) == pytest.approx(np.dot(parts, [5, 1, 0.5, 1]), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_objects_only_confidences_cost(dtype: torch.dtype) -> None:
    x = said(2, 3, 4, 2, 3, 1.0).detach().to(dtype).requires_grad_()
    none, types = torch.zeros(0, 5, dtype=dtype), [tensor(2, 126), boxes("G"), LABELS]
    types = [*types, tensor(2, 3, 9, 9)]
    image = torch.zeros(2, 3, 9, 9, dtype=dtype)
    args = [x, none, torch.zeros(0).long(), image]
    got = run("yolo_loss", args, types, side=3, image="image")
    want = 0.5 * x[:, 36:54].square().sum() / 2
    torch.testing.assert_close(got, want)
    assert got.dtype == dtype


def test_an_object_at_the_border_and_one_without_area() -> None:
    x = said(1, 3, 4, 2, 3, 1.0)
    gt = torch.tensor([[0, 64, 64, 64, 64.0], [0, 70, -9, 80, -5]], dtype=torch.float64)
    types = [tensor(1, 126), boxes("G"), LABELS, tensor(1, 3, 64, 64)]
    args = [x, gt, torch.tensor([1, 4]), torch.zeros(1, 3, 64, 64)]
    loss = run("yolo_loss", args, types, side=3, image="image")
    assert loss.isfinite() and torch.autograd.grad(loss, x)[0].isfinite().all()


def test_half_precision_is_computed_in_that_of_the_boxes() -> None:
    x, gt = said(2, 3, 4, 2, 3, 1.0).detach(), drawn(5, 2, 5, size=40).float()
    types = [tensor(2, 126), boxes("G"), LABELS, tensor(2, 3, 64, 64)]
    args = [gt, torch.tensor([1, 2, 3, 4, 1]), torch.zeros(2, 3, 64, 64)]
    half = x.to(torch.bfloat16)
    attrs: dict[str, Any] = {"side": 3, "image": "image"}
    with torch.autocast("cpu", torch.bfloat16):
        got = run("yolo_loss", [half, *args], types, **attrs)
    torch.testing.assert_close(got, run("yolo_loss", [half.float(), *args], types, **attrs))


BOXES, CELLS, IMAGE = boxes("G", frame="normalised"), tensor(2, 1470), tensor(2, 3, 448, 448)
FAULTS: list[tuple[list[Any], dict[str, Any], str, str]] = [
    ([tensor(2, 1471), BOXES, LABELS], {}, "SEG203", "49 x"),
    ([tensor(2, 490), BOXES, LABELS], {}, "SEG203", "49 cells"),
    ([tensor(2, 30, 7, 7), BOXES, LABELS], {}, "SEG201", "cells of each image"),
    ([CELLS, boxes("G"), LABELS], {}, "SEG206", "in pixels"),
    ([CELLS, BOXES, LABELS, IMAGE], {"image": "image"}, "SEG206", "shares of the image already"),
    ([CELLS, boxes("G"), LABELS, tensor(4, 3, 8, 8)], {"image": "i"}, "SEG203", "other images"),
    ([CELLS, BOXES, tensor(G)], {}, "SEG201", "whole number"),
    ([CELLS, BOXES, tensor(rows("H"), dtype="int")], {}, "SEG214", "labels"),
    ([CELLS, boxes("G", True), LABELS], {}, "SEG206", "last pixel"),
]


@pytest.mark.parametrize(("types", "attrs", "code", "words"), FAULTS)
def test_faults(types: list[Any], attrs: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as fault:
        made("yolo_loss", types, **attrs)
    assert fault.value.code == code


def test_what_is_emitted_passes_the_audit() -> None:
    source = "\n\n".join(h.source for h in REGISTRY["yolo_loss"].helpers)
    assert audit(f"import torch\n\n{source}") == []
    assert max(map(len, source.splitlines())) <= 100
