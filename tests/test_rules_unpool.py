"""Max unpooling and the convolution behind it as one layer: equal, and every refusal."""

from __future__ import annotations

from random import Random

import pytest
from rules_kit import (
    Case,
    accepted,
    compared,
    fired,
    image,
    layer_text,
    only,
    proved,
    reasons,
    spec,
)

from segc.build import Maker
from segc.optimise import Options

SIZES = ((6, 8), (2, 2), (5, 7), (9, 4))
POOL = "  pool: {op: max_pool2d, %s, return_indices: true}\n"
MID = "  mid: {op: conv2d, out_channels: 4, kernel_size: 1}\n"
UP = "  up: {op: max_unpool2d, from: [mid, pool.indices], %s}\n"
PLAIN = "kernel_size: 2"
WINDOW = "{op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}"


def pair(rng: Random, low: int, high: int) -> int | tuple[int, int]:
    one = rng.randint(low, high)
    return one if rng.random() < 0.5 else (one, rng.randint(low, high))


def network(pool: str, unpool: str, conv: str, after: str = "") -> str:
    return POOL % pool + MID + UP % unpool + f"  out: {conv}\n{after}"


def fitting(rng: Random) -> Case:
    """Windows of every size, convolutions of both kinds."""
    window = pair(rng, 1, 3)
    shape = f"kernel_size: {list(window) if isinstance(window, tuple) else window}"
    kind = rng.choice(("conv2d", "conv_transpose2d"))
    given: dict[str, object] = {"out_channels": rng.choice((3, 4)), "kernel_size": pair(rng, 1, 4)}
    given |= {"dilation": pair(rng, 1, 2), "bias": rng.choice((None, False))}
    given["padding"] = pair(rng, 0, 2)
    if kind == "conv2d" and rng.random() < 0.3:
        given["padding"] = "same"
    whole = f"{shape}, size: pool.input"
    pool = shape + rng.choice(("", ", ceil_mode: true"))
    return Case(network(pool, whole, layer_text(kind, **given)), "out", True, SIZES)


def test_fused_pairs() -> None:
    assert proved("unpool_conv", fitting, 150)["fired"] == 150


def test_a_size_of_its_own() -> None:
    """Without `size` only maps that the windows fill are taken."""
    done, error = compared(
        spec(network(PLAIN, PLAIN, WINDOW), "out"), only("unpool_conv"), [image(4, 6)]
    )
    assert error <= 1e-9 and fired(done) == {"unpool_conv": 1}


OVERLAP = "kernel_size: 3, stride: 2"
PADDED = "kernel_size: 2, stride: 2, padding: 1"
FREE = "kernel_size: 2, size: pool.input"
REFUSED = {
    "the windows of `pool` overlap or leave gaps: its stride is not its size": network(
        OVERLAP, f"{OVERLAP}, size: pool.input", WINDOW
    ),
    "`pool` pads": network(PADDED, f"{PADDED}, size: pool.input", WINDOW),
    "the windows of `pool` overlap: they are dilated": network(
        f"{PLAIN}, dilation: 2", FREE, WINDOW
    ),
    "`pool` and `up` have different windows": network(
        PLAIN, "kernel_size: 3, size: pool.input", WINDOW
    ),
    "the windows of `up` overlap or leave gaps: its stride is not its size": network(
        PLAIN, f"{OVERLAP}, size: pool.input", WINDOW
    ),
    "`up` pads": network("kernel_size: 3", "kernel_size: 3, padding: 1, size: pool.input", WINDOW),
    "the convolution has a stride": network(PLAIN, FREE, f"{WINDOW[:-1]}, stride: 2}}"),
    "the convolution has groups": network(
        PLAIN, FREE, "{op: conv2d, out_channels: 4, kernel_size: 3, groups: 2}"
    ),
    "its padding is not zeros": network(PLAIN, FREE, f"{WINDOW[:-1]}, padding_mode: reflect}}"),
    "the convolution has an output padding": network(
        PLAIN,
        FREE,
        "{op: conv_transpose2d, out_channels: 3, kernel_size: 3, dilation: 2, output_padding: 1}",
    ),
    "the unpooled map of `up` is read elsewhere too": network(
        PLAIN, FREE, WINDOW, "  more: {op: relu, from: up}\n"
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why: str) -> None:
    layers = REFUSED[why]
    source = spec(layers, "out, z: more" if "more" in layers else "out")
    sizes = accepted(source, ((8, 10), (9, 9), (4, 4), (3, 3), (6, 6)))
    assert sizes
    done, error = compared(source, only("unpool_conv"), [image(*size) for size in sizes])
    assert error <= 1e-9 and not done.fired
    assert reasons(done)["out"] == why


# A guard that no spec reaches as long as max_pool2d alone gives indices.
NO_POOL = "the pooling whose indices `up` reads is not there"
ON_CPU = "a CPU has no kernel for it and would do the same two steps; for a GPU give --balance 100"


def test_a_gpu_has_a_kernel_and_a_cpu_has_none() -> None:
    source = spec(network(PLAIN, FREE, WINDOW), "out", size="64, 64")
    on_cpu = Maker(source, {}, Options()).optimised({})
    assert "unpool_conv" not in fired(on_cpu)
    assert reasons(on_cpu)["out"] == ON_CPU
    assert fired(Maker(source, {}, Options(balance=100.0)).optimised({}))["unpool_conv"] == 1
