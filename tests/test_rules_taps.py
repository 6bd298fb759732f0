"""Dilated convolutions tap by tap, and parallel convolutions as one."""

from __future__ import annotations

from random import Random

import pytest
from rules_kit import Case, compared, fired, image, layer_text, only, placed, proved, spec

SIZES = ((5, 7), (1, 1), (2, 9), (13, 3), (24, 24))


def dilated(rng: Random) -> Case:
    k = rng.choice(((3, 3), (3, 3), (5, 5), (1, 3), (3, 5), (2, 3)))
    d = rng.choice(((2, 2), (6, 6), (1, 3), (12, 12), (4, 9), (40, 40)))
    keep = tuple(b * (a // 2) for a, b in zip(k, d, strict=True))
    attributes: dict[str, object] = {"out_channels": 4, "kernel_size": k, "dilation": d}
    attributes["padding"] = rng.choice(("same", keep, keep, keep, (0, 0), (1, 2)))
    attributes["bias"] = rng.choice((None, False, True))
    odd: tuple[dict[str, object], ...] = ({"groups": 2}, {"padding_mode": "replicate"})
    changed = rng.choice((*odd, {"stride": 2, "padding": keep})) if rng.random() < 0.25 else {}
    same = attributes["padding"] in ("same", keep) and k[0] % 2 == 1 and k[1] % 2 == 1
    layers, out = placed(rng, [layer_text("conv2d", **attributes | changed)])
    return Case(layers, out, same and not changed, SIZES)


def test_taps_on_the_map() -> None:
    seen = proved("dilated_taps", dilated, 250)
    assert seen["fired"] > 80
    assert len(seen) == 5  # four reasons


@pytest.mark.parametrize("rate", [1, 2, 3, 6, 12, 18, 24, 36])
def test_every_small_size(rate: int) -> None:
    """From the map of one pixel to where nothing is left out."""
    layers = layer_text(
        "conv2d", out_channels=4, kernel_size=3, padding=rate, dilation=(rate, max(rate - 1, 1))
    )
    if rate == 1:
        layers = layers.replace("padding: 1", "padding: [1, 2]").replace("[1, 1]", "[1, 2]")
    else:
        layers = layers.replace(f"padding: {rate}", f"padding: [{rate}, {max(rate - 1, 1)}]")
    sizes = [image(h, w) for h in range(1, 2 * rate + 3, 3) for w in (1, rate, rate + 1, 50)]
    done, error = compared(spec(f"  conv: {layers}", "conv"), only("dilated_taps"), sizes)
    assert error <= 1e-9
    assert fired(done) == {"dilated_taps": 1}


# --- parallel convolutions --------------------------------------------------------------------


def parallel(rng: Random) -> Case:
    """Convolutions of one map among others, in every order."""
    window: dict[str, object] = {
        "kernel_size": rng.choice((1, 3, (1, 3))),
        "stride": rng.choice((1, 2)),
        "padding": rng.choice((0, 1)),
        "dilation": rng.choice((1, 2)),
        "bias": rng.choice((None, False)),
        "padding_mode": rng.choice((None, "reflect")),
    }
    lines, names, total = [], [], 0
    for n in range(rng.randint(2, 4)):
        attributes = dict(window)
        odd = rng.random() < 0.2
        if odd:
            attributes |= rng.choice(({"kernel_size": 2}, {"groups": 2}, {"dilation": 4}))
        channels = rng.choice((1, 2, 2, 4)) if "groups" not in attributes else 2
        total += 0 if odd else channels
        text = layer_text("conv2d", out_channels=channels, **attributes)
        lines.append(f"  part{n}: {text[:-1]}, from: image}}")
        names.append(f"part{n}")
    if rng.random() < 0.4:  # in a group of its own, numbered
        text = layer_text("conv2d", out_channels=1, **window)
        lines.append(f"  g:\n    from: image\n    layers:\n      0: {text}\n      1: relu")
        names.append("g")
    outputs = ", ".join(f"o{n}: {name}" for n, name in enumerate(names))
    return Case("\n".join(lines), outputs.removeprefix("o0: "), None, SIZES, 8)


def test_stacks() -> None:
    seen = proved("stack_convs", parallel, 250)
    assert seen["fired"] > 100
    assert sum("more channels than the map it reads" in why for why in seen) >= 1


def test_a_stack_is_one_convolution() -> None:
    layers = """
  a: {op: conv2d, out_channels: 3, kernel_size: 1}
  b: {op: conv2d, out_channels: 1, kernel_size: 1, from: image}
  mix: {op: concat, from: [b, a]}"""
    done, error = compared(spec(layers, "mix"), only("stack_convs"), [image(3, 4)])
    assert error <= 1e-9 and fired(done) == {"stack_convs": 1}
    kinds = [n.op.name for n in done.checked.graph.nodes]
    assert kinds == ["conv2d", "narrow", "narrow", "concat"]
