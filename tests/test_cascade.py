"""Masks inside a cascade against loops written from MNC's code."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from rows_kit import boxes, made, match, run, tensor
from torch import Tensor

from segc.dim import symbol
from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY
D, G, R = symbol("D"), symbol("G"), symbol("R")
HEIGHT, WIDTH = 40, 60


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


def numbered(corners: Tensor, image: int = 0) -> Tensor:
    return torch.cat([corners.new_full((len(corners), 1), image), corners], dim=1)


def drawn(count: int, seed: int = 0) -> Tensor:
    """Boxes of inclusive pixels, [count, 4], a few pixels around three places."""
    g = torch.Generator().manual_seed(seed)
    around = torch.tensor([[5.0, 4, 30, 25], [20, 10, 50, 35], [2, 15, 20, 38]])
    box = around[torch.arange(count) % 3] + torch.rand(count, 4, generator=g) * 6 - 3
    limit = torch.tensor([WIDTH - 1, HEIGHT - 1, WIDTH - 1, HEIGHT - 1])
    return torch.minimum(box.clamp(min=0), limit)


def masks(count: int, size: int = 21, seed: int = 1) -> Tensor:
    """Soft discs."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    center = torch.rand(count, 2, 1, 1, generator=g) * 0.6 - 0.3
    distance = (y - center[:, 0]) ** 2 + (x - center[:, 1]) ** 2
    return torch.sigmoid(8 * (0.7 - distance))


def pixel(value: float) -> int:
    return math.floor(value + 0.5)


def placed(mask: Tensor, box: Tensor) -> Tensor:
    """The mask in an image of zeros, resized to a box of inclusive pixels."""
    x1, y1, x2, y2 = (pixel(c) for c in box.tolist())
    image = mask.new_zeros(HEIGHT, WIDTH)
    shape = (y2 - y1 + 1, x2 - x1 + 1)
    image[y1 : y2 + 1, x1 : x2 + 1] = torch.nn.functional.interpolate(
        mask[None, None], shape, mode="bilinear", align_corners=False
    )[0, 0]
    return image


# --- mask_labels ------------------------------------------------------------------------------

LABELLING = [
    tensor(R, 21, 21), boxes("R", True), match("R"), tensor(G, HEIGHT, WIDTH),
    tensor(G, dtype="int"),
]  # fmt: skip


def labelling(count: int = 12) -> list[Tensor]:
    box, found = drawn(count), masks(count)
    truth = torch.stack([placed(m, b) >= 0.5 for m, b in zip(masks(3), drawn(3), strict=True)])
    given = torch.arange(count) % 3
    given[2], given[7], given[8] = -1, -2, 0  # 8 is of another object's place
    return [found, numbered(box), given, truth.float(), torch.tensor([4, 7, 2])]


def test_mask_labels_are_mncs() -> None:
    values = labelling()
    found = run("mask_labels", values, LABELLING)
    predicted, box, given, truth, labels = values
    for r in range(len(box)):
        k = int(given[r])
        expected = {-1: 0, -2: -1}.get(k, 0)
        if k >= 0:
            here, there = placed(predicted[r], box[r, 1:]) >= 0.4, truth[k] > 0.5
            iou = (here & there).sum() / (here | there).sum()
            expected = int(labels[k]) if iou >= 0.5 else 0
        assert found[r] == expected
    assert len(set(found.tolist())) == 5  # all labels, background, left out
    box = box + torch.tensor([0, 0, 0, 1, 1])
    continuous = [LABELLING[0], boxes("R"), *LABELLING[2:]]
    same = run("mask_labels", [predicted, box, *values[2:]], continuous)
    assert torch.equal(same, found)


def test_mask_labels_of_nothing() -> None:
    predicted, box, given, truth, labels = labelling()
    none = [predicted[:0], box[:0], given[:0], truth, labels]
    assert run("mask_labels", none, LABELLING).shape == (0,)
    without = [predicted, box, torch.full_like(given, -1), truth[:0], labels[:0]]
    assert not run("mask_labels", without, LABELLING).any()
    empty = [torch.zeros_like(predicted), box, given.clamp(min=0), truth * 0, labels]
    assert not run("mask_labels", empty, LABELLING).any()


def test_mask_labels_faults() -> None:
    types = list(LABELLING)
    types[4] = tensor(G)
    assert fault("mask_labels", types).operand == 4
    types[4] = tensor(symbol("K"), dtype="int")
    assert fault("mask_labels", types).code == "SEG214"
    types = list(LABELLING)
    types[0] = tensor(R, 21, 21, 21)
    assert fault("mask_labels", types).code == "SEG201"


# --- vote_masks -------------------------------------------------------------------------------

VOTING = [
    boxes("D", True), tensor(D, dtype="int"), boxes("R", True), tensor(R, 1, 21, 21),
    tensor(R, 4), tensor(2, 3, HEIGHT, WIDTH),
]  # fmt: skip


def voting(count: int = 15) -> list[Tensor]:
    instances = numbered(drawn(count))
    instances[count // 2 :, 0] = 1
    scores = torch.rand(count, 4, generator=torch.Generator().manual_seed(3))
    picked = torch.tensor([0, 1, 2, 8, 12])
    labels = torch.tensor([1, 3, 2, 1, 2])
    image = torch.zeros(2, 3, HEIGHT, WIDTH)
    return [instances[picked], labels, instances, masks(count)[:, None], scores, image]


def iou(a: Tensor, b: Tensor) -> float:
    """Of boxes of inclusive pixels."""
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    shared = (high - low + 1).clamp(min=0).prod()
    both = (a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod()
    return float(shared / (both - shared))


def test_vote_masks_is_mncs() -> None:
    values = voting()
    voted, around = run("vote_masks", values, VOTING)
    box, labels, instances, predicted, scores, _ = values
    for d in range(len(box)):
        near = [
            r for r in range(len(instances))
            if instances[r, 0] == box[d, 0] and iou(box[d, 1:], instances[r, 1:]) >= 0.5
        ]  # fmt: skip
        assert len(near) > 1
        weight = scores[near, labels[d]] / scores[near, labels[d]].sum()
        votes = sum(
            w * (placed(predicted[r, 0], instances[r, 1:]) >= 0.4)
            for w, r in zip(weight, near, strict=True)
        )
        expected = votes >= 0.4
        assert torch.equal(voted[d, 0], expected.float())
        y, x = torch.where(expected)
        assert around[d].tolist() == [box[d, 0], x.min(), y.min(), x.max(), y.max()]
    corners = torch.tensor([0, 0, 0, 1, 1])
    continuous = [boxes("D"), VOTING[1], boxes("R"), *VOTING[3:]]
    again = [box + corners, labels, instances + corners, *values[3:]]
    same, wider = run("vote_masks", again, continuous)
    assert torch.equal(same, voted) and torch.equal(wider, around + corners)


def test_vote_masks_of_nothing() -> None:
    box, labels, instances, predicted, scores, image = voting()
    none = [box[:0], labels[:0], instances[:0], predicted[:0], scores[:0], image]
    voted, around = run("vote_masks", none, VOTING)
    assert voted.shape == (0, 1, HEIGHT, WIDTH) and around.shape == (0, 5)
    empty = [box, labels, instances, predicted * 0, scores, image]
    voted, around = run("vote_masks", empty, VOTING)
    assert not voted.any() and torch.equal(around, box)
    alone = [box, labels, instances[:0], predicted[:0], scores[:0], image]
    assert not run("vote_masks", alone, VOTING)[0].any()


def test_vote_masks_faults() -> None:
    types = list(VOTING)
    types[2] = boxes("R")
    assert (fault("vote_masks", types).code, fault("vote_masks", types).operand) == ("SEG203", 2)
    types = list(VOTING)
    types[4] = tensor(D, 4)
    assert fault("vote_masks", types).code == "SEG214"


# --- mask_resize ------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [((21, 21), (14, 14)), ((6, 9), (9, 4)), ((3, 1), (5, 3))])
def test_mask_resize_is_mncs(old: tuple[int, int], new: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *old, dtype=torch.float64, requires_grad=True)
    types = [tensor(2, 3, *old)]
    found = run("mask_resize", [x], types, size=new)
    for i in range(new[0]):
        for j in range(new[1]):
            v, u = i * old[0] / new[0], j * old[1] / new[1]
            p, q = int(v), int(u)
            below, right = min(p + 1, old[0] - 1), min(q + 1, old[1] - 1)
            a, b = v - p, u - q
            top = (1 - b) * x[:, :, p, q] + b * x[:, :, p, right]
            bottom = (1 - b) * x[:, :, below, q] + b * x[:, :, below, right]
            assert torch.allclose(found[:, :, i, j], (1 - a) * top + a * bottom, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: run("mask_resize", [x], types, size=new), (x,))
