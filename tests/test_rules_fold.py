"""Folding into convolutions: batch norms behind and before, constant factors; in float64."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from rules_kit import Case, compared, fired, image, layer_text, only, placed, proved, spec

SIZES = ((5, 7), (1, 1), (2, 3), (12, 9))
LARGE = ((9, 11), (12, 9), (15, 15))


def pair(rng: Random, low: int, high: int) -> int | tuple[int, int]:
    """One number or two."""
    one = rng.randint(low, high)
    return one if rng.random() < 0.6 else (one, rng.randint(low, high))


def convolution(rng: Random, stride: bool = True, same: bool = False) -> str:
    """Any convolution of 4 channels to 4 channels."""
    step = pair(rng, 1, 3) if stride and rng.random() < 0.5 else 1
    padding: object = pair(rng, 0, 3)
    if same or (step == 1 and rng.random() < 0.3):
        padding, step = "same", 1
    mode = rng.choice((None, None, "zeros", "reflect", "replicate", "circular"))
    return layer_text(
        "conv2d",
        out_channels=4,
        kernel_size=pair(rng, 1, 4),
        stride=step,
        padding=padding,
        dilation=pair(rng, 1, 3),
        groups=rng.choice((1, 1, 2, 4)),
        bias=rng.choice((None, False, True)),
        padding_mode=mode,
    )


def transposed(rng: Random) -> str:
    """Any transposed convolution of 4 channels to 4 channels."""
    stride = pair(rng, 1, 3)
    first = stride if isinstance(stride, int) else min(stride)
    return layer_text(
        "conv_transpose2d",
        out_channels=4,
        kernel_size=pair(rng, 1, 4),
        stride=stride,
        padding=rng.choice((0, 0, 1)),
        output_padding=rng.randint(0, first - 1),
        dilation=pair(rng, 1, 2),
        groups=rng.choice((1, 2, 4)),
        bias=rng.choice((None, False, True)),
    )


def norm(rng: Random) -> str:
    """A batch norm with running statistics."""
    eps = rng.choice((None, 0.001, 0.5))
    if rng.random() < 0.3:
        return layer_text("frozen_batch_norm2d", eps=eps)
    return layer_text("batch_norm2d", eps=eps, affine=rng.choice((None, True, False)))


def behind(rng: Random) -> Case:
    made = convolution(rng) if rng.random() < 0.7 else transposed(rng)
    layers, out = placed(rng, [made, norm(rng)])
    return Case(layers, out, "only: train" not in layers or None, (*SIZES, *LARGE))


def test_norm_behind_a_convolution() -> None:
    assert proved("fold_batch_norm", behind)["fired"] > 200


def test_norm_behind_anything() -> None:
    """Convolutions with other readers, other layers between: folded where it can be."""

    def drawn(rng: Random) -> Case:
        between = rng.choice(("relu", "identity", "dropout", norm(rng)))
        late = rng.random() < 0.3
        lines = [f"c: {convolution(rng, same=True)}"]
        lines += [f"mid: {between}"] if late else []
        lines += [f"bn: {norm(rng)}", f"c2: {convolution(rng, same=True)}", f"bn2: {norm(rng)}"]
        reader = rng.choice((None, "c", "bn", "c2"))
        if reader:
            lines.append(f"out: {{op: add, from: [bn2, {reader}]}}")
        text = "\n".join(f"  {line}" for line in lines)
        first = reader != "c" and (not late or "norm" in between)
        return Case(text, "out" if reader else "bn2", first or reader != "c2", LARGE)

    seen = proved("fold_batch_norm", drawn, 150)
    assert {"the value of `c` is read elsewhere too", "it follows relu, not a convolution"} <= {
        *seen
    }


def test_norm_before_an_unpadded_convolution() -> None:
    def drawn(rng: Random) -> Case:
        conv = convolution(rng)
        pads = "padding: 0," not in conv and "padding: [0, 0]" not in conv
        layers, out = placed(rng, [norm(rng), conv])
        fires = False if pads and "same" not in conv else None
        if not pads and "aux" not in layers:
            fires = True
        return Case(layers, out, fires, (*SIZES, *LARGE))

    seen = proved("fold_batch_norm_before", drawn)
    assert seen["fired"] > 40
    assert seen["the convolution pads with zeros, which the norm would not shift"] > 60


def test_norms_on_both_sides() -> None:
    """The shift of the norm before passes through the norm behind."""
    layers = """
  a: batch_norm2d
  c: {op: conv2d, out_channels: 6, kernel_size: 3, groups: 2, bias: false}
  b: {op: batch_norm2d, affine: false}"""
    done, error = compared(
        spec(layers, "b"), only("fold_batch_norm", "fold_batch_norm_before"), [image(5, 6)]
    )
    assert error <= 1e-9
    assert fired(done) == {"fold_batch_norm": 1, "fold_batch_norm_before": 1}
    assert [n.op.name for n in done.checked.graph.nodes] == ["conv2d"]


def scaled(rng: Random) -> Case:
    factor = layer_text("scale", value=rng.choice((0.5, -2.0, 0.0, 0.1, 3.25)))
    conv = convolution(rng) if rng.random() < 0.6 else transposed(rng)
    chain = [factor, conv] if rng.random() < 0.5 else [conv, factor]
    layers, out = placed(rng, chain)
    return Case(layers, out, "only: train" not in layers or None, (*SIZES, *LARGE))


def test_factor_beside_a_convolution() -> None:
    assert proved("fold_scale", scaled)["fired"] > 200


@pytest.mark.parametrize("bias", ["true", "false"])
@pytest.mark.parametrize("first", [True, False])
def test_factor_beside_a_linear_layer(first: bool, bias: str) -> None:
    linear, scale = f"{{op: linear, out_features: 5, bias: {bias}}}", "{op: scale, value: -0.3}"
    chain = [scale, linear] if first else [linear, scale]
    lines = ["flat: flatten", f"one: {chain[0]}", f"two: {chain[1]}"]
    layers = "\n".join(f"  {line}" for line in lines)
    done, error = compared(spec(layers, "two", size="3, 4"), only("fold_scale"), [image(3, 4)])
    assert error <= 1e-9 and fired(done) == {"fold_scale": 1}


def test_factor_at_random_places() -> None:
    """Factors among readers, activations and learned factors: folded where it can be."""

    def drawn(rng: Random) -> Case:
        lines = []
        for n in range(5):
            kinds = (convolution(rng, same=True), layer_text("scale", value=1.5), "relu")
            learned = "{op: scale, learned: true}"
            lines.append(f"part{n}: {rng.choice((*kinds, learned))}")
        if rng.random() < 0.5:
            a, b = rng.sample(range(5), 2)
            lines.append(f"part5: {{op: add, from: [part{a}, part{b}, part4]}}")
        out = lines[-1].split(":")[0]
        return Case("\n".join(f"  {line}" for line in lines), out, None, ((5, 5), (9, 7)))

    seen: Counter[str] = proved("fold_scale", drawn, 200)
    assert seen["fired"] > 50
    assert seen["its value goes to relu, not to a convolution"] > 10
