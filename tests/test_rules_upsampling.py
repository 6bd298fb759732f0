"""Convolutions of enlarged maps: pointwise ones moved below, copies and nails left out."""

from __future__ import annotations

from random import Random

import pytest
import torch
import torch.nn.functional as F
from rules_kit import Case, compared, image, layer_text, only, placed, proved, spec

from segc.rules.weights import spread_weights

SIZES = ((5, 7), (1, 1), (2, 3), (1, 4), (8, 6))


def two(rng: Random, low: int, high: int) -> tuple[int, int]:
    """Two numbers, often equal."""
    one = rng.randint(low, high)
    return (one, one) if rng.random() < 0.6 else (one, rng.randint(low, high))


def window(rng: Random, **changes: object) -> dict[str, object]:
    """Attributes of a convolution of 4 channels to 4 channels at stride 1 over zeros."""
    found: dict[str, object] = {
        "out_channels": 4,
        "kernel_size": two(rng, 1, 4),
        "padding": rng.choice(("same", two(rng, 0, 4), 0, 1)),
        "dilation": two(rng, 1, 3),
        "groups": rng.choice((1, 1, 2, 4)),
        "bias": rng.choice((None, False, True)),
    }
    return found | changes


# --- 1x1 convolutions behind upsampling -------------------------------------------------------

RESIZES: tuple[dict[str, object], ...] = (
    {"scale_factor": 2},
    {"scale_factor": 3, "mode": "nearest-exact"},
    {"scale_factor": (1.5, 2.5), "mode": "nearest"},
    {"scale_factor": 2, "mode": "bilinear"},
    {"scale_factor": (3, 1.5), "mode": "bilinear", "align_corners": True},
    {"scale_factor": 1.75, "mode": "bicubic"},
    {"scale_factor": 2, "mode": "bicubic", "align_corners": True},
    {"size": (11, 9), "mode": "bilinear"},
    {"size": (4, 3), "mode": "nearest"},
    {"like": "wide", "mode": "bilinear", "align_corners": True},
    {"like": "wide", "mode": "bicubic"},
    {"like": "wide", "mode": "nearest"},
    {"grow": 3, "mode": "bilinear", "align_corners": True},
    {"shrink": 2, "mode": "bicubic", "align_corners": True},
    {"shrink": 2, "grow": 3, "mode": "bilinear", "align_corners": True},
    {"scale_factor": 0.5, "mode": "bilinear", "antialias": True},
    {"size": (3, 3), "mode": "area"},
)
WIDE = "  wide: {op: bed_of_nails, scale_factor: [2, 3]}\n"


def pointwise(rng: Random) -> Case:
    resize = rng.choice(RESIZES)
    attributes = window(rng, kernel_size=1, dilation=1, padding=rng.choice((0, 0, 0, "same", 1)))
    attributes |= rng.choice(({}, {}, {"stride": 2, "padding": 0}, {"padding_mode": "reflect"}))
    if attributes["padding"] == 1:
        attributes.pop("padding_mode", None)
    up, conv = layer_text("interpolate", **resize), layer_text("conv2d", **attributes)
    fires = attributes["padding"] != 1 and "stride" not in attributes
    fires = fires and "padding_mode" not in attributes
    fires = fires and not resize.get("antialias") and resize.get("mode") != "area"
    if "like" in resize:
        layers = f"{WIDE}  up: {up[:-1]}, from: image}}\n  out: {conv}"
        return Case(layers, "out", fires, SIZES)
    if rng.random() < 0.3:
        layers = f"  up: {up}\n  conv: {conv}\n  other: {conv[:-1]}, from: up}}"
        return Case(f"{layers}\n  out: {{op: add, from: [conv, other]}}", "out", fires, SIZES)
    layers, out = placed(rng, [up, conv])
    return Case(layers, out, fires, SIZES)


def test_pointwise_convolutions_move_below() -> None:
    seen = proved("commute_pointwise", pointwise, 300)
    assert seen["fired"] > 120
    assert len(seen) >= 5


def test_a_moved_convolution_works_on_the_small_map() -> None:
    layers = """
  up: {op: interpolate, scale_factor: 4}
  out: {op: conv2d, out_channels: 4, kernel_size: 1}"""
    done, error = compared(spec(layers, "out"), only("commute_pointwise"), [image(3, 5)])
    assert error <= 1e-9
    assert [n.op.name for n in done.checked.graph.nodes] == ["conv2d", "interpolate"]


# --- bed of nails -------------------------------------------------------------------------------


def nails(rng: Random) -> Case:
    attributes = window(rng)
    attributes |= rng.choice(({}, {}, {}, {"stride": 2}, {"padding_mode": "reflect"}))
    if "stride" in attributes and attributes["padding"] == "same":
        attributes["padding"] = 0
    up = layer_text("bed_of_nails", scale_factor=two(rng, 1, 3))
    layers, out = placed(rng, [up, layer_text("conv2d", **attributes)])
    fires = "stride" not in attributes and "padding_mode" not in attributes
    return Case(layers, out, fires and fits(attributes), SIZES)


def fits(attributes: dict[str, object]) -> bool:
    """As much padding on both sides, and no more than the window reaches."""
    for k, d, p in zip(*(pairs(attributes[n]) for n in NAMES), strict=True):
        if p == "same" and d * (k - 1) % 2:
            return False
        if p != "same" and p > d * (k - 1):
            return False
    return True


NAMES = ("kernel_size", "dilation", "padding")


def pairs(value: object) -> tuple[object, object]:
    return value if isinstance(value, tuple) else (value, value)


def test_nails_are_left_out() -> None:
    seen = proved("nails_conv", nails, 300)
    assert seen["fired"] > 60
    assert len(seen) >= 5


# --- nearest ------------------------------------------------------------------------------------

COPIES: tuple[dict[str, object], ...] = (
    {"scale_factor": 2},
    {"scale_factor": 3},
    {"scale_factor": 4},
    {"scale_factor": 5, "mode": "nearest-exact"},
    {"scale_factor": (2, 3)},
    {"scale_factor": (1, 2)},
    {"like": "wide"},
)
OTHERS: tuple[dict[str, object], ...] = (
    {"scale_factor": 1.5},
    {"scale_factor": 1},
    {"size": (7, 5)},
)


def copied(rng: Random) -> Case:
    resize = rng.choice(COPIES * 2 + OTHERS)
    attributes = window(rng) | rng.choice(({}, {}, {}, {"stride": 2}, {"padding_mode": "circular"}))
    if "stride" in attributes and attributes["padding"] == "same":
        attributes["padding"] = 0
    up, conv = layer_text("interpolate", **resize), layer_text("conv2d", **attributes)
    fires = resize in COPIES and "stride" not in attributes and "padding_mode" not in attributes
    fires = fires and spreads(attributes, resize.get("scale_factor", 3))
    if "like" in resize:
        wide = "  wide: {op: bed_of_nails, scale_factor: 3}\n"
        layers = f"{wide}  up: {up[:-1]}, from: image}}\n  out: {conv}"
        return Case(layers, "out", fires, SIZES)
    layers, out = placed(rng, [up, conv])
    return Case(layers, out, fires, SIZES)


def spreads(attributes: dict[str, object], scale: object) -> bool:
    """No more padding than the window reaches, at most a copy less than one more behind."""
    for k, d, p, s in zip(*(pairs(attributes[n]) for n in NAMES), pairs(scale), strict=True):
        if p == "same" and d * (k - 1) % 2 and s == 1:
            return False
        if p != "same" and p > d * (k - 1):
            return False
    return True


def test_copies_are_convolved_once() -> None:
    seen = proved("nearest_conv", copied, 300)
    assert seen["fired"] > 100
    assert len(seen) == 6  # 5 reasons


def test_fixed_sizes_that_divide_count_as_whole_numbers() -> None:
    layers = """
  up: {op: interpolate, size: [12, 15]}
  out: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"""
    done, error = compared(spec(layers, "out", size="4, 5"), only("nearest_conv"), [image(4, 5)])
    assert error <= 1e-9 and done.fired


@pytest.mark.parametrize("seed", range(10))
def test_spread_windows_by_themselves(seed: int) -> None:
    """Windows, dilations, factors and groups that no draw above reaches."""
    rng = Random(seed)
    torch.manual_seed(seed)
    for _ in range(40):
        k, d = (rng.randint(1, 6), rng.randint(1, 6)), (rng.randint(1, 5), rng.randint(1, 5))
        s, small = (rng.randint(1, 7), rng.randint(1, 7)), (rng.randint(1, 6), rng.randint(1, 6))
        reaches = [rate * (size - 1) for size, rate in zip(k, d, strict=True)]
        pads = tuple(rng.randint(0, r) for r in reaches)
        sizes = zip(s, small, pads, reaches, strict=True)
        if min(f * n + 2 * p - r for f, n, p, r in sizes) < 1:
            continue
        groups = rng.choice((1, 2))
        x = torch.randn(1, 4, *small, dtype=torch.float64)
        weight = torch.randn(6, 4 // groups, *k, dtype=torch.float64)
        large = x.repeat_interleave(s[0], 2).repeat_interleave(s[1], 3)
        wanted = F.conv2d(large, weight, padding=pads, dilation=d, groups=groups)
        state = {"c.weight": weight.clone()}
        spread_weights(state, "c", groups, s, d)
        window = tuple(f + r for f, r in zip(s, reaches, strict=True))
        assert state["c.weight"].shape == (4, 6 // groups, *window)
        cut = tuple(r - p for r, p in zip(reaches, pads, strict=True))
        got = F.conv_transpose2d(x, state["c.weight"], stride=s, padding=cut, groups=groups)
        assert torch.allclose(got, wanted, rtol=0, atol=1e-12)
