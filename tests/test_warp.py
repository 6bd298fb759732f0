"""Warps and crops of boxes against loops written from the published code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from rows_kit import boxes, made, run, tensor
from torch import Tensor

from segc.dim import symbol
from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY
R = symbol("R")


def rois(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 5)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


def bilinear(x: Tensor, row: float, column: float, zeros: bool) -> Tensor:
    """One sample of [C, H, W]; beyond the map zeros, or its nearest pixels."""
    height, width = x.shape[1:]
    total = x.new_zeros(len(x))
    i, j = math.floor(row), math.floor(column)
    for p, a in ((i, 1 - (row - i)), (i + 1, row - i)):
        for q, b in ((j, 1 - (column - j)), (j + 1, column - j)):
            if zeros and not (0 <= p < height and 0 <= q < width):
                continue
            total += a * b * x[:, min(max(p, 0), height - 1), min(max(q, 0), width - 1)]
    return total


# --- roi_warp ---------------------------------------------------------------------------------


def warped(x: Tensor, box: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    out = x.new_zeros(len(box), x.shape[1], *size)
    height, width = x.shape[2:]
    for r, (image, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = (half_up(c / stride) for c in corners)
        for i in range(size[0]):
            for j in range(size[1]):
                row = y1 + i * max(y2 - y1, 0) / size[0]
                column = x1 + j * max(x2 - x1, 0) / size[1]
                if -0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5:
                    out[r, :, i, j] = bilinear(x[int(image)], row, column, zeros=False)
    return out


WARP = [
    [0, 8, 24, 200, 120], [1, 0, 0, 303, 207], [0, 40, 40, 40, 40], [1, 100, 30, 400, 60],
    [1, 8, 8, 24, 24],
]  # fmt: skip


def test_roi_warp_is_mncs() -> None:
    x, box = random(2, 3, 13, 19), rois(*WARP)
    types = [boxes("R", legacy=True), tensor(2, 3, 13, 19)]
    found = run("roi_warp", [box, x], types, stride=16, output_size=(6, 5))
    assert torch.allclose(found, warped(x, box, 16, (6, 5)), atol=1e-12)
    assert run("roi_warp", [box[:0], x], types, stride=16, output_size=4).shape == (0, 3, 4, 4)


def test_roi_warp_gradients() -> None:
    """Those of the same samples without rounding, for boxes that rounding leaves alone.

    Between pixels: at a pixel the slope is that on either side of it.
    """
    x = random(2, 3, 13, 19).requires_grad_()
    box = rois([0, 16, 32, 160, 144], [1, 48, 16, 192, 128]).requires_grad_()
    types = [boxes("R"), tensor(2, 3, 13, 19)]
    weight = random(2, 3, 5, 4, seed=1)
    weight[:, :, 0], weight[:, :, :, 0] = 0, 0
    out = run("roi_warp", [box, x], types, stride=16, output_size=(5, 4))
    found = torch.autograd.grad((out * weight).sum(), [box, x])

    def unrounded(b: Tensor, m: Tensor) -> Tensor:
        total = m.new_zeros(())
        for r in range(2):
            n, (x1, y1, x2, y2) = int(b[r, 0]), b[r, 1:] / 16
            for i in range(5):
                for j in range(4):
                    v, u = y1 + i / 5 * (y2 - y1), x1 + j / 4 * (x2 - x1)
                    p, q = int(v.detach()), int(u.detach())
                    a, c = v - p, u - q
                    top = (1 - c) * m[n, :, p, q] + c * m[n, :, p, q + 1]
                    bottom = (1 - c) * m[n, :, p + 1, q] + c * m[n, :, p + 1, q + 1]
                    total = total + (((1 - a) * top + a * bottom) * weight[r, :, i, j]).sum()
        return total

    expected = torch.autograd.grad(unrounded(box, x), [box, x])
    assert torch.allclose(found[1], expected[1], atol=1e-12)
    assert torch.allclose(found[0], expected[0], atol=1e-12) and found[0][:, 1:].all()
    assert not found[0][:, 0].any()


# --- bilinear_roi_pool ------------------------------------------------------------------------


def densecap(x: Tensor, box: Tensor, image: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Its affine matrix, with (xc, yc, w, h) in pixels counted from 1."""
    out = x.new_zeros(len(box), x.shape[1], *size)
    (tall, wide), (height, width) = image, x.shape[2:]
    for r, (number, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = (c + 1 for c in corners)
        xc, yc, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1
        shift_y, shift_x = (2 * yc - 1 - tall) / (tall - 1), (2 * xc - 1 - wide) / (wide - 1)
        for i in range(size[0]):
            for j in range(size[1]):
                v = h / tall * (-1 + 2 * i / (size[0] - 1)) + shift_y
                u = w / wide * (-1 + 2 * j / (size[1] - 1)) + shift_x
                row, column = (v + 1) * (height - 1) / 2, (u + 1) * (width - 1) / 2
                out[r, :, i, j] = bilinear(x[int(number)], row, column, zeros=True)
    return out


def test_bilinear_roi_pool_is_densecaps() -> None:
    x, image = random(2, 3, 12, 18), torch.zeros(2, 3, 200, 300)
    box = rois(
        [0, 10, 20, 100, 150], [1, 0, 0, 299, 199], [1, -20, 5, 30, 190], [0, 50, 50, 50, 50]
    )
    types = [boxes("R", legacy=True), tensor(2, 3, 12, 18), tensor(2, 3, 200, 300)]
    found = run("bilinear_roi_pool", [box, x, image], types, output_size=(7, 5))
    assert torch.allclose(found, densecap(x, box, (200, 300), (7, 5)), atol=1e-12)
    assert torch.allclose(found[1, :, ::6, ::4], x[1, :, ::11, ::17])  # corners of the whole image
    continuous = box + torch.tensor([0, 0, 0, 1, 1])
    types[0] = boxes("R")
    same = run("bilinear_roi_pool", [continuous, x, image], types, output_size=(7, 5))
    assert torch.allclose(same, found, atol=1e-12)
    none = run("bilinear_roi_pool", [box[:0], x, image], types, output_size=7)
    assert none.shape == (0, 3, 7, 7)


def test_bilinear_roi_pool_gradients() -> None:
    x, image = random(1, 2, 6, 8).requires_grad_(), torch.zeros(1, 3, 96, 128)
    corners = torch.tensor([[11.3, 20.1, 80.2, 71.7]], dtype=torch.float64, requires_grad=True)
    types = [boxes("R"), tensor(1, 2, 6, 8), tensor(1, 3, 96, 128)]

    def pooled(x: Tensor, corners: Tensor) -> Any:
        box = torch.cat([corners.new_zeros(1, 1), corners], dim=1)
        return run("bilinear_roi_pool", [box, x, image], types, output_size=(4, 3))

    assert torch.autograd.gradcheck(pooled, (x, corners))


# --- crop_and_resize --------------------------------------------------------------------------


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if 0 in (*size, *x.shape[1:]):
        return x.new_zeros(len(x), *size)
    return torch.nn.functional.interpolate(x[None], size, mode="bilinear", align_corners=False)[0]


def rcnn(x: Tensor, box: Tensor, size: int, context: int) -> Tensor:
    """R-CNN's crop of [N, C, H, W], its steps in its order, pixels counted from 1."""
    out = x.new_zeros(len(box), x.shape[1], size, size)
    height, width = x.shape[2:]
    for r, (number, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = (c + 1 for c in corners)
        scale = size / (size - 2 * context)
        half_height, half_width = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
        cx, cy = x1 + half_width, y1 + half_height
        x1, y1 = half_up(cx - half_width * scale), half_up(cy - half_height * scale)
        x2, y2 = half_up(cx + half_width * scale), half_up(cy + half_height * scale)
        scale_x, scale_y = size / (x2 - x1 + 1), size / (y2 - y1 + 1)
        pad_x, pad_y = half_up(max(0, 1 - x1) * scale_x), half_up(max(0, 1 - y1) * scale_y)
        x1, y1, x2, y2 = max(1, x1), max(1, y1), min(width, x2), min(height, y2)
        w = min(half_up((x2 - x1 + 1) * scale_x), size - pad_x)
        h = min(half_up((y2 - y1 + 1) * scale_y), size - pad_y)
        window = resized(x[int(number), :, y1 - 1 : y2, x1 - 1 : x2], (h, w))
        out[r, :, pad_y : pad_y + h, pad_x : pad_x + w] = window
    return out


CROPS = [
    [0, 20, 10, 79, 49], [1, 0, 0, 99, 69], [1, 60, 30, 99, 69], [0, 0, 40, 12, 45],
    [0, 93, 0, 97, 60], [1, 50, 33, 50, 33], [0, 3, 5, 18, 27],
]  # fmt: skip


@pytest.mark.parametrize(("size", "context"), [(57, 4), (32, 9), (227, 16)])
def test_crop_and_resize_is_rcnns(size: int, context: int) -> None:
    x, box = random(2, 3, 70, 100), rois(*CROPS)
    types = [boxes("R", legacy=True), tensor(2, 3, 70, 100)]
    found = run("crop_and_resize", [box, x], types, output_size=size, context=context)
    assert torch.allclose(found, rcnn(x, box, size, context), atol=1e-10)


def test_crop_without_context() -> None:
    x, box = random(2, 3, 70, 100), rois(*CROPS)
    types: list[Any] = [boxes("R"), tensor(2, 3, 70, 100)]
    continuous = box + torch.tensor([0, 0, 0, 1, 1])
    found = run("crop_and_resize", [continuous, x], types, output_size=(24, 40))
    for r, (n, x1, y1, x2, y2) in enumerate(box.long().tolist()):
        expected = resized(x[n, :, y1 : y2 + 1, x1 : x2 + 1], (24, 40))
        assert torch.allclose(found[r], expected, atol=1e-12)
    away = rois([0, -50, -50, -10, -10], [1, 200, 10, 260, 30], [0, 30, 20, 10, 10])
    found = run("crop_and_resize", [away, x], types, output_size=8)
    assert found.isfinite().all() and not found[:2].any()
    assert run("crop_and_resize", [box[:0], x], types, output_size=8).shape == (0, 3, 8, 8)


def test_crop_faults() -> None:
    found = fault("crop_and_resize", [boxes("R"), tensor(1, 3, 9, 9)], output_size=32, context=16)
    assert found.attr == "context"


# --- box_upsample -----------------------------------------------------------------------------


def upsampled(
    x: Tensor, box: Tensor, category: list[int], image: tuple[int, int], k: int, size: int
) -> Tensor:
    out = x.new_zeros(len(box), k, size, size)
    (tall, wide), (height, width) = image, x.shape[2:]
    for r, (number, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = corners
        low_x, high_x = (x1 - 0.5) / (wide - 1), (x2 + 0.5) / (wide - 1)
        low_y, high_y = (y1 - 0.5) / (tall - 1), (y2 + 0.5) / (tall - 1)
        mine = x[int(number), k * category[r] : k * (category[r] + 1)]
        for i in range(size):
            row = ((i + 0.5) * (high_y - low_y) / size + low_y) * height - 0.5
            for j in range(size):
                column = ((j + 0.5) * (high_x - low_x) / size + low_x) * width - 0.5
                out[r, :, i, j] = bilinear(mine, row, column, zeros=False)
    return out


def test_box_upsample_is_the_hypercolumns() -> None:
    x, image = random(2, 12, 9, 13), torch.zeros(2, 3, 72, 104)
    box = rois([0, 10, 20, 60, 50], [1, 0, 0, 103, 71], [1, 30, 5, 44, 60])
    category = torch.tensor([2, 0, 3])
    types = [boxes("R", True), tensor(R, dtype="int"), tensor(2, 12, 9, 13), tensor(2, 3, 72, 104)]
    values = [box, category, x, image]
    found = run("box_upsample", values, types, channels=3, output_size=8)
    expected = upsampled(x, box, category.tolist(), (72, 104), 3, 8)
    assert torch.allclose(found, expected, atol=1e-12)
    values[1] = category + 1
    labelled = run("box_upsample", values, types, channels=3, output_size=8, first=1)
    assert torch.equal(labelled, found)
    none = [box[:0], category[:0], x, image]
    assert run("box_upsample", none, types, channels=3, output_size=8).shape == (0, 3, 8, 8)


def test_box_upsample_faults() -> None:
    image, map_ = tensor(1, 3, 72, 104), tensor(1, 12, 9, 13)
    labels = tensor(R, dtype="int")
    options: dict[str, Any] = {"channels": 5, "output_size": 8}
    found = fault("box_upsample", [boxes("R"), labels, map_, image], **options)
    assert (found.code, found.attr) == ("SEG202", "channels")
    options["channels"] = 4
    found = fault("box_upsample", [boxes("R"), tensor(R), map_, image], **options)
    assert (found.code, found.operand) == ("SEG201", 1)
    other = tensor(symbol("S"), dtype="int")
    assert fault("box_upsample", [boxes("R"), other, map_, image], **options).code == "SEG214"
    found = fault("box_upsample", [boxes("R"), labels, map_, tensor(1, 3, 1, 9)], **options)
    assert (found.code, found.operand) == ("SEG205", 3)
