"""Masks and keypoints of rows against torchvision's detectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rows_kit import boxes, made, match, run, tensor
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from segc.dim import symbol
from segc.op import Problem

G, R = symbol("G"), symbol("R")


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


def numbered(corners: Tensor, image: int = 0) -> Tensor:
    return torch.cat([corners.new_full((len(corners), 1), image), corners], dim=1)


def drawn(count: int, size: int, seed: int = 0) -> Tensor:
    """Corners of boxes inside an image."""
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=g) * size * 0.9
    high = low + torch.rand(count, 2, generator=g) * (size - low)
    return torch.cat([low, high], dim=1)


# --- mask_targets -----------------------------------------------------------------------------


def discs(count: int, size: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    middle = torch.arange(count)[:, None, None] * 7 + 12
    return ((y - middle) ** 2 + (x - middle) ** 2 < 90).float()


TARGETS = [boxes("R"), match("R"), tensor(G, 48, 48)]


def test_mask_targets_are_torchvisions() -> None:
    masks, corners = discs(5, 48), drawn(30, 48)
    found_by = torch.arange(30) % 7 - 2  # -2 and -1: no object
    found = run("mask_targets", [numbered(corners, 1), found_by, masks], TARGETS, size=28)
    with_object = found_by >= 0
    expected = project_masks_on_boxes(masks, corners[with_object], found_by[with_object], 28)
    assert torch.equal(found[with_object], expected) and not found[~with_object].any()
    assert found.dtype == torch.float32
    binary = run(
        "mask_targets", [numbered(corners), found_by, masks], TARGETS, size=28, threshold=0.5
    )
    assert torch.equal(binary, (found >= 0.5).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mask_targets_of_bytes_and_of_nothing(dtype: torch.dtype) -> None:
    masks, corners = discs(3, 48), drawn(4, 48).to(dtype)
    values = [numbered(corners), torch.arange(4) % 3]
    found = run("mask_targets", [*values, masks.to(torch.uint8)], TARGETS, size=(14, 9))
    assert torch.equal(found, run("mask_targets", [*values, masks], TARGETS, size=(14, 9)))
    assert found.dtype == dtype and found.any()
    without = [values[0], torch.full((4,), -1), masks[:0]]
    assert not run("mask_targets", without, TARGETS, size=28).any()
    no_rows = [values[0][:0], values[1][:0], masks]
    assert run("mask_targets", no_rows, TARGETS, size=28).shape == (0, 28, 28)


def test_mask_targets_faults() -> None:
    found = fault("mask_targets", [boxes("R"), match("S"), tensor(G, 8, 8)], size=28)
    assert (found.code, found.operand) == ("SEG214", 1)
    found = fault("mask_targets", [boxes("R"), match("R"), tensor(symbol("K"), 8, 8)], size=28)
    assert (found.code, found.operand) == ("SEG214", 2)
    found = fault("mask_targets", [boxes("R"), match("R"), tensor(G, 1, 8, 8)], size=28)
    assert (found.code, found.operand) == ("SEG201", 2)


# --- paste_masks ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channel", [False, True])
def test_paste_masks_is_torchvisions(dtype: torch.dtype, channel: bool) -> None:
    torch.manual_seed(0)
    corners = torch.cat([drawn(20, 60), torch.tensor([[0.0, 0, 60, 60], [5, 5, 5, 5]])]).to(dtype)
    masks = torch.rand(22, 1, 28, 28, dtype=dtype)
    image = torch.zeros(1, 3, 50, 60, dtype=dtype)  # boxes reach out of it at the bottom
    given = masks if channel else masks[:, 0]
    types = [tensor(R, *given.shape[1:]), boxes("R"), tensor(1, 3, 50, 60)]
    found = run("paste_masks", [given, numbered(corners), image], types)
    assert torch.equal(found, paste_masks_in_image(masks, corners, (50, 60)))


def test_paste_masks_outside_the_image_and_of_nothing() -> None:
    types = [tensor(R, 14, 14), boxes("R"), tensor(1, 3, 20, 30)]
    image = torch.zeros(1, 3, 20, 30)
    away = numbered(torch.tensor([[-50.0, -50, -20, -20], [100, 5, 120, 9], [0, 30, 9, 40]]))
    found = run("paste_masks", [torch.ones(3, 14, 14), away, image], types)
    assert found.shape == (3, 1, 20, 30) and not found.any()
    assert run("paste_masks", [torch.ones(0, 14, 14), away[:0], image], types).shape[0] == 0


def test_paste_masks_keeps_oblong_masks_in_place() -> None:
    """A mask of ones fills its box whatever its proportions."""
    types = [tensor(R, 4, 8), boxes("R"), tensor(1, 3, 40, 40)]
    box = numbered(torch.tensor([[10.0, 8, 26, 32]]))
    found = run("paste_masks", [torch.ones(1, 4, 8), box, torch.zeros(1, 3, 40, 40)], types)
    assert torch.allclose(found[0, 0, 11:30, 11:26], torch.ones(()))
    assert not found[0, 0, :, :7].any() and not found[0, 0, :2].any()


def test_paste_masks_faults() -> None:
    image = tensor(1, 3, 20, 30)
    found = fault("paste_masks", [tensor(R, 91, 28, 28), boxes("R"), image])
    assert found.code == "SEG201" and "by_class" in str(found.hint)
    found = fault("paste_masks", [tensor(symbol("S"), 28, 28), boxes("R"), image])
    assert (found.code, found.operand) == ("SEG214", 1)


# --- targets by resizing ----------------------------------------------------------------------


def test_mask_targets_by_resizing_are_mncs() -> None:
    """Whole pixels of the box, resized bilinearly, then held against a threshold."""
    masks = discs(3, 48)
    corners = drawn(9, 46).round()
    found_by = torch.arange(9) % 4 - 1
    values = [numbered(corners), found_by, masks]
    types = [boxes("R", legacy=True), match("R"), tensor(G, 48, 48)]
    found = run("mask_targets", values, types, size=21, sampling="resize", threshold=0.4)
    for r, (x1, y1, x2, y2) in enumerate(corners.long().tolist()):
        if found_by[r] < 0:
            assert not found[r].any()
            continue
        window = masks[found_by[r], None, None, y1 : y2 + 1, x1 : x2 + 1]
        expected = torch.nn.functional.interpolate(window, (21, 21), mode="bilinear")[0, 0]
        clear = (expected - 0.4).abs() > 1e-5
        assert torch.equal(found[r][clear], (expected >= 0.4).float()[clear])
    assert found.any()
    none = [values[0], torch.full((9,), -1), masks[:0]]
    assert not run("mask_targets", none, types, size=21, sampling="resize").any()
    found = fault("mask_targets", types, size=21, sampling="resize", aligned=True)
    assert found.attr == "aligned"
