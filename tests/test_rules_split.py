"""Convolutions over concatenations with enlarged branches, computed at the branches' size."""

from __future__ import annotations

from random import Random

import pytest
from rules_kit import Case, compared, fired, image, layer_text, only, proved, spec

SIZES = ((6, 8), (1, 1), (2, 3), (1, 5), (9, 4))
# Maps of the full size [N, 4, 2H, 3H'] or [N, 4, 2H, 2W], made of the image or of a pooled one.
BILINEAR: tuple[dict[str, object], ...] = (
    {"mode": "bilinear", "like": "wide"},
    {"mode": "bilinear", "like": "wide", "align_corners": True},
    {"mode": "nearest", "like": "wide"},
    {"mode": "nearest-exact", "like": "wide"},
    {"mode": "bicubic", "like": "wide"},
    {"mode": "bilinear", "like": "wide", "antialias": True},
)
BY_TWO: tuple[dict[str, object], ...] = (
    {"mode": "bilinear", "scale_factor": 2},
    {"mode": "bilinear", "scale_factor": 2, "align_corners": True},
    {"mode": "nearest", "scale_factor": 2},
    {"mode": "nearest-exact", "scale_factor": (2, 2)},
)
WIDE = "  wide: {op: bed_of_nails, scale_factor: %d, from: image}\n"
POOL = "  pixel: {op: adaptive_avg_pool2d, output_size: %s, from: image}\n"


def window(rng: Random) -> dict[str, object]:
    """A convolution of any map to 3 channels: mostly one that may be split."""
    k, d = rng.choice((1, 1, 2, 3, 3, 5)), rng.choice((1, 1, 2, 3))
    found: dict[str, object] = {
        "out_channels": 3,
        "kernel_size": k,
        "dilation": d,
        "padding": rng.choice((0, d * (k // 2), d * (k // 2), 1)) if k > 1 else 0,
        "bias": rng.choice((None, False, True)),
    }
    return found | (rng.choice(ODD) if rng.random() < 0.15 else {})


ODD: tuple[dict[str, object], ...] = (
    {"stride": 2},
    {"groups": 3, "out_channels": 3},
    {"padding_mode": "replicate", "padding": 1},
    {"kernel_size": (1, 3), "padding": 1},
    {"kernel_size": 3, "padding": "same"},
)


def branches(rng: Random) -> Case:
    """Enlarged images, enlarged pooled maps and full maps in every order."""
    scale = rng.choice((2, 2, 3))
    pooled = rng.choice((1, 1, 2, "[2, 1]"))
    lines = [WIDE % scale, POOL % pooled]
    values, used = ["wide"], False
    for n in range(rng.randint(1, 4)):
        choices = BILINEAR + (BY_TWO if scale == 2 else ())
        resize, source = rng.choice(choices), "image"
        if "like" in resize and rng.random() < 0.4:
            source, used = "pixel", True
        text = layer_text("interpolate", **resize)
        lines.append(f"  up{n}: {text[:-1]}, from: {source}}}\n")
        values.append(f"up{n}")
    rng.shuffle(values)
    if not used:
        lines.remove(POOL % pooled)
    lines.append(f"  concat: {{op: concat, from: [{', '.join(values)}]}}\n")
    lines.append(f"  conv: {layer_text('conv2d', **window(rng))}\n")
    out = "conv"
    if rng.random() < 0.3:  # the concatenation and a branch have other readers
        lines.append(f"  sum: {{op: concat, from: [{values[0]}, concat]}}\n")
        return Case("".join(lines), "conv, z: sum", None, SIZES)
    if rng.random() < 0.3:
        lines.append(f"  again: {layer_text('conv2d', **window(rng))[:-1]}, from: concat}}\n")
        return Case("".join(lines), "conv, z: again", None, SIZES)
    return Case("".join(lines), out, None, SIZES)


def test_branches_in_every_order() -> None:
    seen = proved("split_concat_conv", branches, 300)
    assert seen["fired"] > 150
    assert len(seen) >= 5


def alone(rng: Random) -> Case:
    """A window over one bilinearly enlarged map; every target an enlargement can have."""
    corners = {"align_corners": True}
    targets: tuple[dict[str, object], ...] = (
        {"scale_factor": 2},
        {"scale_factor": 3} | corners,
        {"scale_factor": 4},
        {"grow": 2} | corners,
        {"grow": 5} | corners,
        {"size": (11, 14)},
        {"size": (10, 9)} | corners,
        {"like": "wide"},
        {"like": "wide"} | corners,
        {"like": "wide", "grow": 1} | corners,
    )
    target = rng.choice(targets)
    k, d = rng.choice((2, 3, 3, 4, 5)), rng.choice((1, 1, 2, 4))
    conv = layer_text(
        "conv2d",
        out_channels=3,
        kernel_size=k,
        dilation=d,
        padding=rng.randint(0, d * k),
        bias=rng.choice((None, False)),
    )
    up = layer_text("interpolate", mode="bilinear", **target)
    if "like" not in target:
        fires = None if "size" in target else True  # figures are quoted at larger maps
        return Case(f"  up: {up}\n  conv: {conv}", "conv", fires, SIZES)
    wide = WIDE % (1 if "grow" in target else 2)
    text = f"{wide}  up: {up[:-1]}, from: image}}\n  conv: {conv}"
    return Case(text, "conv", "grow" not in target, SIZES)


def test_windows_over_one_enlarged_map() -> None:
    assert proved("split_concat_conv", alone, 250)["fired"] > 150


def pointwise(rng: Random) -> Case:
    """1x1 convolutions may also be split where the factor is no whole number."""
    resize = layer_text(
        "interpolate",
        mode=rng.choice(("nearest", "nearest-exact", "bilinear")),
        scale_factor=rng.choice(((1.5, 2), (2, 3), (1.25, 1.5))),
    )
    conv = layer_text("conv2d", out_channels=rng.choice((1, 7)), kernel_size=1)
    order = rng.choice(("up, act", "act, up", "up, up", "act, up, act"))
    layers = f"  up: {resize}\n  act: relu\n  mix: {{op: concat, from: [{order}]}}\n  conv: {conv}"
    if "act" not in order:
        layers = layers.replace("  act: relu\n", "")
    return Case(layers, "conv", True, SIZES)


def test_pointwise_branches_of_any_factor() -> None:
    assert proved("split_concat_conv", pointwise, 80)["fired"] == 80


def test_a_map_of_one_pixel_is_added_to_all() -> None:
    """Image pooling: its branch becomes a number for each image and channel."""
    layers = """
  pool: {op: adaptive_avg_pool2d, output_size: 1}
  up: {op: interpolate, mode: bilinear, like: image}
  mix: {op: concat, from: [image, up]}
  conv: {op: conv2d, out_channels: 5, kernel_size: 1}"""
    sizes = [image(7, 9), image(1, 1)]
    done, error = compared(spec(layers, "conv"), only("split_concat_conv"), sizes)
    assert error <= 1e-9 and fired(done) == {"split_concat_conv": 1}
    kinds = [n.op.name for n in done.checked.graph.nodes]
    assert kinds == ["adaptive_avg_pool2d", "conv2d", "conv2d", "add"]


def test_only_pixels_are_enlarged_where_nothing_else_has_the_size() -> None:
    layers = """
  pool: {op: adaptive_avg_pool2d, output_size: 1}
  up: {op: interpolate, mode: bilinear, like: image}
  down: {op: adaptive_max_pool2d, output_size: 1, from: image}
  more: {op: interpolate, like: image}
  mix: {op: concat, from: [up, more]}
  conv: {op: conv2d, out_channels: 5, kernel_size: 1}"""
    done, error = compared(spec(layers, "conv"), only("split_concat_conv"), [image(7, 9)])
    assert error <= 1e-9 and fired(done) == {"split_concat_conv": 1}


@pytest.mark.parametrize("dim", [0, 2, -1, -3, 1])
def test_the_axis_of_the_concatenation(dim: int) -> None:
    layers = f"""
  up: {{op: interpolate, mode: bilinear, scale_factor: 2}}
  wide: {{op: bed_of_nails, from: image}}
  mix: {{op: concat, from: [up, wide], dim: {dim}}}
  conv: {{op: conv2d, out_channels: 5, kernel_size: 3}}"""
    done, error = compared(spec(layers, "conv"), only("split_concat_conv"), [image(7, 9)])
    assert error <= 1e-9
    assert bool(done.fired) == (dim in (1, -3))


def test_inside_numbered_groups_and_blocks() -> None:
    layers = """
  wide: {op: bed_of_nails, from: image}
  up: {op: interpolate, mode: bilinear, scale_factor: 2, from: image}
  g:
    layers:
      mix: {op: concat, from: [wide, up]}
      head:
        layers:
          0: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
          1: batch_norm2d
          2: relu"""
    done, error = compared(spec(layers, "g"), only("split_concat_conv"), [image(3, 4)])
    assert error <= 1e-9 and fired(done) == {"split_concat_conv": 1}
