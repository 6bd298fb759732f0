"""Rules that depend on how values lie in memory: written over, channels_last; what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rules_kit import compared, fired, image, only, reasons, spec

from segc.build import Maker
from segc.cost import Cost
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.optimise import Options
from segc.rewrite import Optimised
from segc.source import Source
from segc.verify import import_source, trained_like


def networks(source: Source, options: Options) -> tuple[Optimised, Any, Any]:
    """What was done, the plain and the deploy network, in float64."""
    make = Maker(source, {}, options)
    plain = import_source(model_source(make), "plain").Net().double().eval().requires_grad_(False)
    trained_like(plain)
    done = make.optimised({})
    return done, plain, import_source(deploy_source(make.deploy, done), "deploy").from_model(plain)


# --- written over -------------------------------------------------------------------------------

CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"
IN_PLACE = {
    "behind a convolution": (f"  a: {CONV}\n  out: relu", 1, ""),
    "behind a sum": (
        f"  a: {CONV}\n  b: sigmoid\n  s: {{op: add, from: [a, b]}}\n  out: relu",
        1,
        "",
    ),
    "of the image": ("  out: relu", 0, "part of another value"),
    "of a crop": (
        f"  a: {CONV}\n  cut: {{op: pad, padding: -1}}\n  r: relu\n"
        "  up: {op: interpolate, like: a}\n  out: {op: add, from: [up, a]}",
        0,
        "part of another value",
    ),
    "read elsewhere": (
        f"  a: {CONV}\n  r: relu\n  out: {{op: add, from: [r, a]}}",
        0,
        "`a` is read elsewhere",
    ),
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_relu_writes_over_what_nobody_else_reads(case: str) -> None:
    layers, count, why = IN_PLACE[case]
    x = image(7, 9)
    before = x.clone()
    done, error = compared(spec(layers, "out"), only("relu_in_place"), [x])
    assert error == 0
    assert torch.equal(x, before)
    assert fired(done).get("relu_in_place", 0) == count
    assert bool(why) == bool(done.skipped)
    assert all(why in reason for reason in reasons(done).values())


def test_an_output_is_not_written_over() -> None:
    done, plain, deploy = networks(spec(f"  a: {CONV}\n  r: relu", "r, z: a"), Options("safe"))
    assert not fired(done)
    wanted, got = plain(image(7, 9)), deploy(image(7, 9))
    assert all(torch.equal(got[name], wanted[name]) for name in ("y", "z"))


# --- memory formats -----------------------------------------------------------------------------

LAYERS = {
    "dilated_taps": (
        "  out: {op: conv2d, out_channels: 6, kernel_size: 3, padding: 9, dilation: 9}",
        (8, 10),
    ),
    "split_concat_conv": (
        "  small: {op: max_pool2d, kernel_size: 2}\n"
        "  up: {op: interpolate, scale_factor: 2, mode: bilinear}\n"
        "  both: {op: concat, from: [image, up]}\n"
        "  out: {op: conv2d, out_channels: 5, kernel_size: 3, padding: 1}",
        (8, 12),
    ),
    "nearest_conv": (
        "  up: {op: interpolate, scale_factor: [3, 2]}\n"
        "  out: {op: conv2d, out_channels: 5, kernel_size: 3, padding: 1}",
        (5, 6),
    ),
}


@pytest.mark.parametrize("rule", LAYERS)
def test_the_same_in_channels_last(rule: str) -> None:
    layers, (height, width) = LAYERS[rule]
    source = spec(layers, "out", size=f"{height}, {width}")
    done, plain, deploy = networks(source, only(rule))
    assert fired(done) == {rule: 1}
    x = image(height, width)
    wanted = plain(x)
    last = x.contiguous(memory_format=torch.channels_last)
    for got in (deploy(x), deploy.to(memory_format=torch.channels_last)(last)):
        assert float((got - wanted).abs().max()) < 1e-12


# --- cost ---------------------------------------------------------------------------------------


def test_matrix_products_are_dearer_than_convolutions() -> None:
    """64 channels, 64 x 64 -> 256 x 256: x0.5-0.6 measured, with two thirds of the products."""
    layers = """
  up: {op: interpolate, scale_factor: 4, mode: bilinear}
  out: {op: conv2d, out_channels: 64, kernel_size: 3, padding: 1}
"""
    source = spec(layers, "out", channels=64, size="64, 64")
    assert not fired(Maker(source, {}, Options()).optimised({}))
    (forced,) = Maker(source, {}, only("split_concat_conv")).optimised({}).fired
    assert forced.macs > 0


def test_costs_add_up() -> None:
    total = Cost(10, 4, 10.0) + Cost(4, 8, 10.0)
    assert total == Cost(14, 12, 20.0)
    assert total.time(2) == 20 + 2 * 12
