"""Canny's edges against cv2 and against the algorithm written down once more, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from op_torch import Built
from spec_kit import fault, node, sound, spec

from segc.ops.image import Canny
from segc.types import Tensor

KERNEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # Sobel, along x


def edges(pixels: Any, low: int, high: int) -> Any:
    """What the emitted function makes of an image [H, W, C] of bytes."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].double()
    built = Built(Canny(low=low, high=high), [Tensor(tuple(image.shape))])
    found = built(image)
    assert found.shape == (1, 1, *image.shape[2:]) and found.dtype == image.dtype
    return found[0, 0].numpy()


# --- the algorithm, one pixel at a time, with real angles -------------------------------------


def slopes(pixels: Any) -> tuple[Any, Any, Any]:
    """|dx| + |dy|, dx and dy of the steepest channel of every pixel; borders repeat."""
    height, width, channels = pixels.shape
    padded = np.pad(pixels.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    found = np.zeros((3, height, width), int)
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                window = padded[i : i + 3, j : j + 3, c]
                dx, dy = int((KERNEL * window).sum()), int((KERNEL.T * window).sum())
                if c == 0 or abs(dx) + abs(dy) > found[0, i, j]:
                    found[:, i, j] = abs(dx) + abs(dy), dx, dy
    return found[0], found[1], found[2]


def is_ridge(slope: Any, dx: int, dy: int, i: int, j: int) -> bool:
    """Larger than both neighbours across the edge; of equals along an axis the first counts."""

    def at(k: int, n: int) -> int:
        inside = 0 <= k < slope.shape[0] and 0 <= n < slope.shape[1]
        return int(slope[k, n]) if inside else 0

    here, angle = at(i, j), math.degrees(math.atan2(abs(dy), abs(dx)))
    if angle < 22.5:
        return here > at(i, j - 1) and here >= at(i, j + 1)
    if angle > 67.5:
        return here > at(i - 1, j) and here >= at(i + 1, j)
    side = -1 if (dx < 0) != (dy < 0) else 1
    return here > at(i - 1, j - side) and here > at(i + 1, j + side)


def by_hand(pixels: Any, low: int, high: int) -> Any:
    slope, dx, dy = slopes(pixels)
    height, width = slope.shape
    ridge = {
        (i, j)
        for i in range(height)
        for j in range(width)
        if slope[i, j] > low and is_ridge(slope, int(dx[i, j]), int(dy[i, j]), i, j)
    }
    found = [p for p in ridge if slope[p] > high]
    seen = set(found)
    while found:
        i, j = found.pop()
        around = {(i + k, j + n) for k in (-1, 0, 1) for n in (-1, 0, 1)}
        new = (around & ridge) - seen
        seen |= new
        found.extend(new)
    result = np.zeros((height, width))
    for p in seen:
        result[p] = 255
    return result


def images(count: int, largest: int) -> Iterator[tuple[Any, int, int]]:
    """Noise, plateaus, blobs and the few values of a normalised image, with thresholds."""
    draw = np.random.default_rng(0)
    for k in range(count):
        height, width = draw.integers(1, largest, 2)
        shape = (height, width, (1, 3, 3)[k % 3])
        match k % 4:
            case 0:
                pixels = draw.integers(0, 256, shape)
            case 1:
                pixels = draw.integers(0, 4, shape) * 20
            case 2:
                coarse = draw.integers(0, 256, (height // 4 + 2, width // 4 + 2, shape[2]))
                smooth = np.kron(coarse, np.ones((4, 4, 1)))
                total = sum(np.roll(smooth, (i, j), (0, 1)) for i in range(4) for j in range(4))
                pixels = total[:height, :width] // 16
            case _:
                pixels = draw.choice([0, 1, 2, 254, 255], shape)
        low, high = sorted(draw.integers(0, 400, 2).tolist()) if k % 2 else (10, 100)
        yield pixels.astype(np.uint8), low, high


def test_edges_are_those_of_the_algorithm_followed_pixel_by_pixel() -> None:
    some = 0
    for pixels, low, high in images(60, 22):
        wanted = by_hand(pixels, low, high)
        assert np.array_equal(edges(pixels, low, high), wanted), (pixels.shape, low, high)
        some += bool(wanted.any())
    assert some > 30


def test_edges_are_those_of_cv2() -> None:
    cv2 = pytest.importorskip("cv2", reason="needs pip install opencv-python-headless")
    for pixels, low, high in images(200, 60):
        wanted = cv2.Canny(np.ascontiguousarray(pixels), low, high)
        assert np.array_equal(edges(pixels, low, high), wanted), (pixels.shape, low, high)


def test_an_edge_is_followed_to_its_end() -> None:
    """A weak step that is strong in one corner only: the whole of it counts, however long."""
    pixels = np.zeros((40, 300, 1), np.uint8)
    pixels[20:] = 20  # a slope of 80
    pixels[20:, :3] = 90
    found = edges(pixels, 10, 100)
    assert found[:, -1].any() and not edges(pixels, 100, 100)[:, -1].any()
    assert np.array_equal(found, by_hand(pixels, 10, 100))


def test_values_become_bytes_as_c_casts_them() -> None:
    image = torch.tensor([-1.7, -0.9, 0.9, 2.64, 255.9, 256.0, 300.5]).repeat(1, 1, 9, 3)
    op = Canny(low=10, high=100)
    bytes_ = torch.tensor([255, 0, 0, 2, 255, 0, 44.0]).repeat(1, 1, 9, 3)
    types = [Tensor(tuple(image.shape))]
    assert torch.equal(Built(op, types)(image), Built(op, types)(bytes_))
    assert bool(Built(op, types)(image).any())


def test_images_of_a_batch_do_not_touch_and_no_gradient_passes() -> None:
    draw = torch.Generator().manual_seed(0)
    batch = (torch.rand(3, 3, 20, 17, generator=draw) * 255).requires_grad_()
    built = Built(Canny(low=50, high=300), [Tensor((3, 3, 20, 17))])
    together = built(batch)
    assert not together.requires_grad and 0 < together.count_nonzero() < together.numel()
    assert torch.equal(together, torch.cat([built(image[None]) for image in batch]))
    assert built(batch.to("meta")).shape == together.shape


def test_in_a_spec() -> None:
    text = spec("edges: {op: canny, low: 10, high: 100}")
    checked = sound(text)
    assert node(checked, "edges").op.style.label == "Canny 10/100"
    backwards = spec("edges: {op: canny, low: 100, high: 10}")
    fault(backwards, "SEG210", "cannot begin above 10", "`low` is the smaller")
