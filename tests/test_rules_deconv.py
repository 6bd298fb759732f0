"""Transposed convolutions: bilinear ones as interpolations, those without overlap as shuffles.

Weights of `init: bilinear` are float32 numbers. Where the stride is no power of two they are not
the triangle's exact values, so these networks are filled in float64 before they are compared.
"""

from __future__ import annotations

from random import Random

import pytest
import torch
from rules_kit import Case, image, layer_text, only, placed, proved, reasons, spec
from torch import Tensor

from segc.build import Maker
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.verify import import_source

SIZES = ((5, 7), (1, 1), (2, 3), (1, 4))


def bilinear(k: int, s: int, p: int, **more: object) -> str:
    """A frozen transposed convolution of 4 channels that interpolates."""
    given: dict[str, object] = {"out_channels": 4, "kernel_size": k, "stride": s, "padding": p}
    text = layer_text("conv_transpose2d", **given, bias=False, **more)
    return f"{text[:-1]}, init: {{weight: bilinear}}, freeze: true}}"


def interpolating(rng: Random) -> Case:
    s = rng.choice((2, 4, 8))
    k = rng.choice((2 * s, 2 * s - 1))
    layers, out = placed(rng, [bilinear(k, s, rng.randint(0, s - 1), groups=rng.choice((1, 4)))])
    # Twice in one network a stride of 8 makes 64 times the map.
    return Case(layers, out, True, ((2, 3), (1, 1), (3, 2)))


def test_powers_of_two() -> None:
    assert proved("bilinear_deconv", interpolating, 120)["fired"] == 120


def triangle(k: int, s: int) -> Tensor:
    """The window along one axis: 1 - |i - c| / s around its centre."""
    taps = torch.arange(k, dtype=torch.float64)
    return 1 - (taps - (k - 1) / 2).abs() / s


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("s", [2, 3, 4, 5, 6, 7, 16, 32])
def test_every_stride(s: int, groups: int) -> None:
    """Against the weights in float64, for every padding."""
    for k in [2 * s - 1, *([2 * s] if s % 2 == 0 else [])]:
        for p in {0, 1, s // 2, s - 1}:
            source = spec(f"  out: {bilinear(k, s, p, groups=groups)}", "out")
            make = Maker(source, {}, only("bilinear_deconv"))
            plain = import_source(model_source(make), "plain").Net().double().eval()
            weight = plain.out.weight
            exact = triangle(k, s)[:, None] * triangle(k, s)
            with torch.no_grad():
                for c in range(4):
                    kept = 0 if groups == 4 else c
                    assert torch.allclose(weight[c, kept], exact, rtol=0, atol=1e-6)
                    weight[c, kept] = exact
                done = make.optimised({})
                assert not any(n.op.stateful for n in done.checked.graph.nodes)
                fast = import_source(deploy_source(make.deploy, done), "deploy").from_model(plain)
                for size in SIZES:
                    x = image(*size)
                    assert torch.allclose(fast(x), plain(x), rtol=0, atol=1e-9)


def test_other_weights_are_refused_when_they_are_converted() -> None:
    source = spec(f"  out: {bilinear(4, 2, 1)}", "out")
    make = Maker(source, {}, only("bilinear_deconv"))
    plain = import_source(model_source(make), "plain").Net()
    module = import_source(deploy_source(make.deploy, make.optimised({})), "deploy")
    module.from_model(plain)
    with torch.no_grad():
        plain.out.weight[1, 1, 2, 2] += 0.01
    with pytest.raises(ValueError, match="the weights of out .* --rule bilinear_deconv=off"):
        module.from_model(plain)


def other(rng: Random) -> Case:
    """Frozen bilinear weights that do something else: nothing may happen."""
    kinds = (
        bilinear(6, 3, 0),
        bilinear(4, 3, 0),
        bilinear(3, 1, 1),
        bilinear(4, 2, 1, output_padding=1),
        bilinear(4, 2, 1, dilation=2),
        bilinear(4, 2, 1, groups=2),
        bilinear(4, 2, 1).replace("bias: false", "bias: true"),
        bilinear(4, 2, 1).replace("freeze: true", "freeze: false"),
        layer_text("conv_transpose2d", out_channels=4, kernel_size=4, stride=2, padding=1),
    )
    layers, out = placed(rng, [rng.choice(kinds)])
    return Case(layers, out, False, ((5, 7), (2, 2)))


def test_others_stay() -> None:
    assert len(proved("bilinear_deconv", other, 60)) == 5  # 4 reasons; "fired": 0


def test_other_channels_stay() -> None:
    text = bilinear(4, 2, 1).replace("out_channels: 4", "out_channels: 3")
    done = Maker(spec(f"  out: {text}", "out"), {}, only("bilinear_deconv")).optimised({})
    assert reasons(done) == {"out": "it mixes channels"}


def shuffled(rng: Random) -> Case:
    s = rng.choice((2, 2, 3, 4, (2, 3), (1, 1), (1, 2)))
    attributes: dict[str, object] = {"out_channels": 4, "kernel_size": s, "stride": s}
    attributes["bias"] = rng.choice((None, False, True))
    changes = ({"padding": 1}, {"dilation": 2}, {"groups": 2}, {"output_padding": (0, 1)})
    changed = rng.choice(changes) if rng.random() < 0.3 else {}
    chain = [layer_text("conv_transpose2d", **attributes, **changed)]
    layers, out = placed(rng, chain)
    return Case(layers, out, not isinstance(s, tuple) and not changed, SIZES)


def test_windows_without_overlap() -> None:
    seen = proved("shuffle_deconv", shuffled)
    assert seen["fired"] > 80
    assert len(seen) == 3
