"""Keypoints of rows against torchvision's detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rows_kit import boxes, made, match, run, tensor
from torch import Tensor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from segc.dim import symbol
from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY
G, R = symbol("G"), symbol("R")
TARGETS = [boxes("R"), match("R"), tensor(G, 17, 3)]
DECODED = [tensor(R, 17, 14, 14), boxes("R")]


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


def numbered(corners: Tensor) -> Tensor:
    return torch.cat([corners.new_ones(len(corners), 1), corners], dim=1)


def drawn(count: int, size: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    low = torch.rand(count, 2, generator=g) * size * 0.5
    return torch.cat([low, low + torch.rand(count, 2, generator=g) * size], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keypoint_targets_are_torchvisions(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(1)
    points = torch.rand(4, 17, 3, generator=g).to(dtype) * 100
    points[..., 2] = torch.randint(0, 3, (4, 17), generator=g)
    corners = drawn(20, 80).to(dtype)
    given = torch.arange(20) % 6 - 2
    rows = given >= 0
    first = torch.where(rows)[0][0]
    corners[first, 2:] = points[given[first], 3, :2]  # on the far corner
    corners[first, :2] = corners[first, 2:] - 20
    points[given[first], 3, 2] = 2
    found = run("keypoint_targets", [numbered(corners), given, points], TARGETS, size=56)
    expected, valid = keypoints_to_heatmap(points[given[rows]], corners[rows], 56)
    assert torch.equal(found[rows], torch.where(valid > 0, expected, -1))
    assert (found[~rows] == -1).all() and valid.any() and not valid.all()
    assert found[first, 3] == 56 * 56 - 1


def test_keypoint_targets_of_nothing() -> None:
    box, points = numbered(drawn(3, 50)), torch.rand(2, 17, 3)
    found = run("keypoint_targets", [box, torch.full((3,), -1), points[:0]], TARGETS, size=56)
    assert (found == -1).all()
    empty = [box[:0], torch.zeros(0, dtype=torch.int64), points]
    assert run("keypoint_targets", empty, TARGETS, size=56).shape == (0, 17)
    flat = numbered(torch.tensor([[5.0, 5, 5, 5]]))
    found = run("keypoint_targets", [flat, torch.tensor([0]), points + 9], TARGETS, size=56)
    assert (found == -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keypoint_decode_is_torchvisions(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(2)
    maps = torch.randn(8, 17, 14, 14, generator=g).to(dtype)
    corners = torch.cat([drawn(7, 60), torch.tensor([[3.0, 4, 3.2, 4.1]])]).to(dtype)
    found, scores = run("keypoint_decode", [maps, numbered(corners)], DECODED)
    expected, values = heatmaps_to_keypoints(maps, corners)
    assert torch.allclose(found.float(), expected) and torch.allclose(scores.float(), values)
    assert found.dtype == scores.dtype == dtype
    low, _ = run("keypoint_decode", [maps.bfloat16(), numbered(corners)], DECODED)
    same, _ = run("keypoint_decode", [maps.bfloat16().to(dtype), numbered(corners)], DECODED)
    assert low.dtype == dtype and torch.equal(low, same)
    found, scores = run("keypoint_decode", [maps[:0], numbered(corners)[:0]], DECODED)
    assert found.shape == (0, 17, 3) and scores.shape == (0, 17)


def test_targets_are_decoded_near_their_keypoints() -> None:
    points = torch.rand(1, 17, 3, generator=torch.Generator().manual_seed(3)) * 40 + 10
    points[..., 2] = 1
    box = numbered(torch.tensor([[5.0, 5, 61, 61]]))
    types = [boxes("R"), match("R"), tensor(G, 17, 3)]
    target = run("keypoint_targets", [box, torch.tensor([0]), points], types, size=56)
    maps = torch.nn.functional.one_hot(target, 56 * 56).reshape(1, 17, 56, 56).float()
    types = [tensor(R, 17, 56, 56), boxes("R")]
    found, _ = run("keypoint_decode", [maps, box], types)
    assert (found[..., :2] - points[..., :2]).abs().max() <= 0.5


def test_keypoint_faults() -> None:
    found = fault("keypoint_targets", [boxes("R"), match("R"), tensor(G, 17, 2)], size=56)
    assert (found.code, found.operand) == ("SEG201", 2)
    found = fault("keypoint_targets", [boxes("R"), match("S"), tensor(G, 17, 3)], size=56)
    assert found.code == "SEG214"
    found = fault("keypoint_decode", [tensor(symbol("S"), 17, 56, 56), boxes("R")])
    assert (found.code, found.operand) == ("SEG214", 1)
