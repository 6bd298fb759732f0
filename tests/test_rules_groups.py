"""All rules together on networks of groups and blocks, made and applied several times."""

from __future__ import annotations

from random import Random

import pytest
from emit_random import random_spec
from rules_kit import accepted, compared, image, spec

from segc.optimise import Options
from segc.rules import RULES
from segc.source import Source

FORCED = Options(on=frozenset(rule.name for rule in RULES))
SIZES = ((5, 6), (2, 1), (8, 11))


def blocks(chunk: int) -> list[Source]:
    """Networks of blocks in blocks. Those with a max pooling of a smoothed map are left out: its
    equal neighbours make the largest one a matter of the last bit, in the plain network too."""
    texts = [random_spec(seed) for seed in range(10 * chunk, 10 * (chunk + 1))]
    texts = [t for t in texts if not ("max_unpool2d" in t and "smooth" in t)]
    return [Source.from_text(t) for t in texts]


@pytest.mark.parametrize("chunk", range(4))
def test_equal_in_groups_and_blocks(chunk: int) -> None:
    for source in blocks(chunk):
        sizes = accepted(source, SIZES) or [(8, 12)]
        done, error = compared(source, FORCED, [image(*size, channels=3) for size in sizes])
        assert error <= 1e-9, source.text


WIDE = "{op: interpolate, scale_factor: 2, from: image}"


def grouped(rng: Random) -> str:
    """Two groups applied one or several times to maps of different sizes."""
    inner = []
    for n in range(rng.randint(2, 4)):
        kinds = (
            "relu",
            "batch_norm2d",
            "dropout",
            "{op: scale, value: 0.5}",
            "{op: conv2d, out_channels: 4, kernel_size: 1}",
            "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}",
            "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 2, dilation: 2}",
            "{op: interpolate, scale_factor: 2}",
            "{op: interpolate, scale_factor: 2, mode: bilinear}",
            "{op: bed_of_nails, scale_factor: 2}",
            "{op: crop, like: like}",
        )
        large = any("scale_factor" in line for line in inner)  # enlarge once, not 8 times
        kinds = tuple(k for k in kinds if not (large and "scale_factor" in k))
        inner.append(f"      part{n}: {rng.choice(kinds)}")
    wide = rng.choice(("{op: bed_of_nails, from: image}", WIDE))
    head = ["  like: {op: relu, from: image}"] if "like: like" in "".join(inner) else []
    lines = [
        *head,
        f"  wide: {wide}",
        "  g:",
        "    layers:",
        *inner,
        "  act: relu",
        "  h: {use: g}",
    ]
    if rng.random() < 0.5:
        lines.insert(lines.index("  g:") + 1, "    from: image")
    if rng.random() < 0.5:
        lines += ["  c: {op: conv2d, out_channels: 4, kernel_size: 1}", "  k: {use: g}"]
    return "\n".join(lines)


@pytest.mark.parametrize("chunk", range(8))
def test_equal_in_groups_applied_again(chunk: int) -> None:
    done = applied = 0
    for seed in range(60 * chunk, 60 * (chunk + 1)):
        layers = grouped(Random(f"grouped {seed}"))
        output = "k" if "  k:" in layers else "h"
        output += "" if "from: image" not in layers else ", z: wide"
        source = spec(layers, output)
        sizes = accepted(source, ((3, 4), (1, 2)))
        if not sizes:
            continue
        done += 1
        optimised, error = compared(source, FORCED, [image(*size) for size in sizes])
        assert error <= 1e-9, layers
        applied += bool(optimised.fired)
    assert done > 10 and applied > 5
