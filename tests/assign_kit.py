"""Boxes drawn at random and matched, for tests of assignment, sampling and losses."""

from __future__ import annotations

from typing import Any

import torch
from rows_kit import boxes, run, tensor
from torch import Tensor


def drawn(count: int, images: int, seed: int, whole: bool = False, size: int = 64) -> Tensor:
    """Boxes in images of this size, rows of an image together."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g, dtype=torch.float64) * size * 0.7 - 4
    extent = torch.rand(count, 2, generator=g, dtype=torch.float64) * size * 0.5 + 2
    image = torch.randint(images, (count, 1), generator=g).sort(0).values.double()
    found = torch.cat([image, corner, corner + extent], 1)
    return found.round() if whole else found


def per_image(values: Tensor, image: Tensor, n: int) -> list[Tensor]:
    return [values[image == i] for i in range(n)]


def matched(a: Tensor, gt: Tensor, legacy: bool = False, sizes: Any = None, **attrs: Any) -> Tensor:
    values, types = [a, gt], [boxes("R", legacy), boxes("G", legacy)]
    if sizes is not None:
        values, types = [*values, sizes], [*types, tensor(len(sizes), 2)]
        attrs["inside"] = "sizes"
    found = run("match", values, types, **attrs)
    assert isinstance(found, Tensor)
    return found


def values(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_(grad)


def gradients(loss: Tensor, *xs: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, xs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]


def alike(got: Tensor, want: Tensor, *xs: Tensor) -> None:
    """Two losses and their gradients are the same."""
    torch.testing.assert_close(got, want)
    for a, b in zip(gradients(got, *xs), gradients(want, *xs), strict=True):
        torch.testing.assert_close(a, b)
