"""RoI operators against torchvision, the published numbers and loops written once more."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from emit_kit import ruff
from rows_kit import boxes, made, run, tensor
from torch import Tensor
from torchvision import ops
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.poolers import MultiScaleRoIAlign

from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY

STRIDES = (4, 8, 16, 32)
LEVELS = {"strides": STRIDES, "canonical_level": 2}
RAMP = torch.arange(64, dtype=torch.float64).reshape(1, 1, 8, 8)


def rois(*corners: tuple[float, ...], image: int = 0) -> Tensor:
    rows = [[image, *box] for box in corners]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 5)


def drawn(count: int, height: int, width: int, images: int = 2, seed: int = 0) -> Tensor:
    """Boxes of all sizes, image-major."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.rand(count, 2, generator=g) * torch.tensor([width, height])
    half = (
        torch.exp(torch.rand(count, 2, generator=g) * 3 + torch.rand(count, 1, generator=g) * 4) / 2
    )
    low, high = centers - half, centers + half
    limit = torch.tensor([width, height])
    corners = torch.cat([low.clamp(min=0), torch.minimum(high, limit)], dim=1)
    number = torch.arange(count) * images // max(count, 1)
    return torch.cat([number[:, None].float(), corners], dim=1).double()


def pyramid(images: int = 2, size: int = 256, channels: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    return [
        torch.rand(images, channels, size // s, size // s, generator=g, dtype=torch.float64)
        for s in STRIDES
    ]


def kinds(box: Tensor, *maps: Tensor, **options: Any) -> list[Any]:
    return [boxes("R", **options), *(tensor(*x.shape) for x in maps)]


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


# --- roi_align --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aligned", "expected"), [(False, [9, 11, 25, 27]), (True, [4.5, 6.5, 20.5, 22.5])]
)
def test_roi_align_of_a_ramp(aligned: bool, expected: list[float]) -> None:
    box = rois((0, 0, 4, 4))
    found = run(
        "roi_align", [box, RAMP], kinds(box, RAMP), output_size=2, strides=(1,), aligned=aligned
    )
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roi_align_over_levels_is_torchvisions(dtype: torch.dtype) -> None:
    maps = [x.to(dtype) for x in pyramid(size=1024)]
    box = drawn(200, 1024, 1024).to(dtype)
    found = run("roi_align", [box, *maps], kinds(box, *maps), output_size=(7, 5), **LEVELS)
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], (7, 5), 2)
    lists = [box[box[:, 0] == i, 1:] for i in range(2)]
    sizes = ImageList(torch.zeros(2, 3, 1024, 1024), [(1024, 1024)] * 2).image_sizes
    expected = theirs({str(i): x for i, x in enumerate(maps)}, lists, sizes)
    assert found.dtype == dtype and torch.equal(found, expected)
    levels = run("assign_level", [box], [boxes("R")], **LEVELS)
    assert torch.equal(levels, theirs.map_levels(lists)) and len(levels.unique()) == 4


def test_levels_at_their_borders() -> None:
    """Sides of 112 and 448 pixels begin a level, as the published rule has it."""
    sides = torch.tensor([1.0, 111.99, 112, 223.99, 224, 447.99, 448, 5000])
    box = torch.stack([torch.zeros(8), torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    levels = run("assign_level", [box], [boxes("R")], **LEVELS)
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    legacy = run(
        "assign_level", [box - torch.tensor([0, 0, 0, 1, 1])], [boxes("R", True)], **LEVELS
    )
    assert torch.equal(legacy, levels)


def test_roi_align_of_nothing() -> None:
    maps, box = pyramid(), rois()
    for given in (maps, maps[:1]):
        strides = STRIDES[: len(given)]
        found = run(
            "roi_align", [box, *given], kinds(box, *given), output_size=7, strides=strides,
            canonical_level=2,
        )  # fmt: skip
        assert found.shape == (0, 3, 7, 7)


def test_roi_align_of_images_in_any_order() -> None:
    maps, box = pyramid(), drawn(30, 256, 256)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    options = {"output_size": 3, **LEVELS}
    found = run("roi_align", [box, *maps], kinds(box, *maps), **options)
    mixed = run("roi_align", [box[order], *maps], kinds(box, *maps), **options)
    assert torch.equal(found[order], mixed)


def test_roi_align_gradient_reaches_all_maps() -> None:
    maps = [x.requires_grad_() for x in pyramid(size=1024)]
    box = drawn(40, 1024, 1024)
    run("roi_align", [box, *maps], kinds(box, *maps), output_size=2, **LEVELS).sum().backward()
    assert all(x.grad is not None and x.grad.any() for x in maps)


def test_roi_align_faults() -> None:
    fine, coarse = tensor(1, 8, 64, 64), tensor(1, 8, 32, 32)
    options: dict[str, Any] = {"output_size": 7, "strides": (4, 8), "canonical_level": 0}
    types = [boxes("R"), fine, coarse]
    assert made("roi_align", types, **options)[0].shape[1:] == (8, 7, 7)
    found = fault("roi_align", [boxes("R"), fine, tensor(1, 16, 32, 32)], **options)
    assert (found.code, found.operand) == ("SEG203", 2)
    assert "8 channels, map 2 has 16" in found.message
    found = fault("roi_align", types, **{**options, "strides": (4,)})
    assert found.attr == "strides" and "1 stride for 2 maps" in found.message
    found = fault("roi_align", types, **{**options, "strides": (8, 4)})
    assert found.attr == "strides" and "go up" in found.message
    found = fault("roi_align", types, **{**options, "canonical_level": 2})
    assert found.attr == "canonical_level" and "from 0 to 1" in str(found.hint)
    found = fault("roi_align", types, output_size=7, strides=(4, 8))
    assert "which of 2 maps" in found.message
    found = fault("roi_align", [boxes("R", frame="normalised"), fine], output_size=7, strides=(4,))
    assert found.code == "SEG201" and "scale_boxes" in str(found.hint)
    found = fault("assign_level", [boxes("R")], strides=(4,), canonical_level=0)
    assert found.attr == "strides"


# --- roi_pool ---------------------------------------------------------------------------------


def test_roi_pool_of_a_ramp() -> None:
    box = rois((0, 0, 4, 4))
    found = run("roi_pool", [box, RAMP], kinds(box, RAMP), output_size=2, stride=1)
    assert found.flatten().tolist() == [18, 20, 34, 36]


def pooled_by_hand(x: Tensor, box: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Caffe's ROIPooling, cell by cell."""
    out = x.new_zeros(len(box), x.shape[1], *size)
    for r, (image, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = (int(c / stride + 0.5) for c in corners)
        width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for i in range(size[0]):
            top = y1 + i * height // size[0]
            bottom = y1 - (-(i + 1) * height // size[0])
            for j in range(size[1]):
                left = x1 + j * width // size[1]
                right = x1 - (-(j + 1) * width // size[1])
                cell = x[int(image), :, max(top, 0) : bottom, max(left, 0) : right]
                if cell.numel():
                    out[r, :, i, j] = cell.amax(dim=(1, 2))
    return out


def test_roi_pool_is_caffes() -> None:
    x, box = pyramid(size=512)[2] - 0.5, drawn(60, 512, 512).round()
    found = run("roi_pool", [box, x], kinds(box, x), output_size=(7, 6), stride=16)
    assert torch.equal(found, ops.roi_pool(x, box, (7, 6), 1 / 16))
    assert torch.equal(found, pooled_by_hand(x, box, (7, 6), 16))
    assert run("roi_pool", [box[:0], x], kinds(box, x), output_size=7, stride=16).shape[0] == 0


# --- pyramids of grids ------------------------------------------------------------------------


def largest(x: Tensor, bins: tuple[int, ...]) -> Tensor:
    """Maxima of the cells of a map [C, H, W], one after the other."""
    found = []
    for b in bins:
        edges = [[(k * n // b, -(-(k + 1) * n // b)) for k in range(b)] for n in x.shape[1:]]
        found += [
            x[c, top:bottom, left:right].max()
            for c in range(len(x)) for top, bottom in edges[0] for left, right in edges[1]
        ]  # fmt: skip
    return torch.stack(found)


def test_spatial_pyramid_pool() -> None:
    x = pyramid(size=52)[0]
    types = [tensor(*x.shape)]
    found = run("spatial_pyramid_pool", [x], types)
    assert torch.equal(found, torch.stack([largest(m, (1, 2, 3, 6)) for m in x]))
    # the published network of fixed size pools 13 x 13 with windows of 13, 5 and 3
    fixed = [F.max_pool2d(x, 13), F.max_pool2d(x, 5, 4), F.max_pool2d(x, 3, 2)]
    found = run("spatial_pyramid_pool", [x], types, bins=(1, 3, 6))
    assert torch.equal(found, torch.cat([m.flatten(1) for m in fixed], dim=1))
    assert fault("spatial_pyramid_pool", types, bins=()).attr == "bins"


def test_spp_roi_pool_is_spp_nets() -> None:
    x, box = pyramid(size=512)[2], drawn(40, 512, 512).round()
    box[3, 3:] = box[3, 1:3] + 2  # between two pixels of the map
    types = kinds(box, x, legacy=True)
    options = {"stride": 16, "origin": 3.0, "margin": 6.5}
    found = run("spp_roi_pool", [box, x], types, **options)
    for r, (image, *corners) in enumerate(box.tolist()):
        x1, y1, x2, y2 = (c + 1 for c in corners)  # counted from 1
        cells = []
        for low, high, n in ((y1, y2, 32), (x1, x2, 32)):
            first = math.floor((low - 4 + 6.5) / 16 + 0.5) + 1
            last = math.ceil((high - 4 - 6.5) / 16 - 0.5) + 1
            if first > last:
                first = last = (first + last) // 2
            cells.append((min(n, max(1, first)) - 1, min(n, max(1, last))))
        (top, bottom), (left, right) = cells
        window = x[int(image), :, top:bottom, left:right]
        assert torch.equal(found[r], largest(window, (1, 2, 3, 6)))
    continuous = box + torch.tensor([0, 0, 0, 1, 1])
    assert torch.equal(run("spp_roi_pool", [continuous, x], kinds(box, x), **options), found)
    assert run("spp_roi_pool", [box[:0], x], types, **options).shape == (0, 150)
    assert fault("spp_roi_pool", types, stride=16, bins=()).attr == "bins"


# --- what is emitted --------------------------------------------------------------------------

IMPORTS = {
    "math.": "import math\n\n",
    "torch.": "import torch\n",
    "nn.": "import torch.nn as nn\n",
    "F.": "import torch.nn.functional as F\n",
    "Tensor": "from torch import Tensor\n",
    "ops.": "from torchvision import ops\n",
}
FAMILIES = ("region", "warp", "masks", "cascade", "keypoints", "local", "recurrent")


@pytest.mark.parametrize("family", FAMILIES)
def test_helpers_read_as_written_by_hand(family: str) -> None:
    """They are as the formatter wants them, and hold nothing that emitted files may not hold."""
    used = {h.name: h.source for op in REGISTRY.values() if op.family == family for h in op.helpers}
    body = "".join(f"\n\n{source}" for source in used.values())
    words = (f"(?<![a-z_.]){re.escape(word)}" for word in IMPORTS)
    head = [IMPORTS[w] for w, p in zip(IMPORTS, words, strict=True) if re.search(p, body)]
    source = "".join(head) + body
    assert audit(source) == [] and ruff(source) == ""
    assert all('"""' in text for text in used.values())


# --- maps of lower precision ------------------------------------------------------------------

CASES: list[tuple[str, dict[str, Any]]] = [
    ("roi_align", {"output_size": 7, "strides": (16,)}),
    ("roi_pool", {"output_size": 7, "stride": 16}),
    ("roi_warp", {"output_size": 7, "stride": 16}),
    ("spp_roi_pool", {"stride": 16}),
    ("crop_and_resize", {"output_size": 7}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_boxes_stay_exact_where_maps_are_not(name: str, options: dict[str, Any]) -> None:
    """As under autocast: the result is that of the same map in float32, to the map's precision."""
    x, box = pyramid(size=512)[2].bfloat16(), drawn(20, 512, 512).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = run(name, [box, x], kinds(box, x), **options)
    assert found.dtype == torch.bfloat16
    expected = run(name, [box, x.float()], kinds(box, x), **options)
    assert torch.allclose(found.float(), expected, atol=0.01)
