"""Operators of deploy modules only: their emitted classes against direct computations in torch."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rules_kit import Source, difference, image, layer_text, only, spec
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segc.analyse import table
from segc.build import Maker
from segc.check import Checked
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.op import Problem
from segc.ops.fused import DILATED, SCALED_SIZE, SHIFTED, UPSAMPLED, DilatedConv2d, UpsampledConv2d
from segc.types import Tensor as TensorType
from segc.verify import import_source

IMPORTS = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
IMPORTS += "from torch import Tensor\n"
CLASSES = import_source(IMPORTS + SHIFTED + SCALED_SIZE + DILATED + UPSAMPLED, "fused")
LOOSE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 0.05}
DTYPES = list(LOOSE)


class Anything:
    """The `Need` of an operator: sizes here are numbers that fit."""

    def equal(self, a: Any, b: Any, problem: Problem) -> None:
        assert a == b

    def at_least(self, a: Any, minimum: int, problem: Problem) -> None:
        assert a >= minimum

    def multiple(self, a: Any, of: int, problem: Problem) -> None:
        assert a % of == 0


def randn(rng: Random, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return torch.randn(*size, generator=generator, dtype=torch.float64)


# --- tap by tap -------------------------------------------------------------------------------


def dilated(rng: Random) -> Iterator[tuple[nn.Conv2d, nn.Conv2d, Tensor]]:
    """The class, the plain convolution with the same weights, and a map; small maps mostly."""
    for _ in range(120):
        k = rng.choice(((3, 3), (5, 3), (1, 5), (7, 7)))
        d = (rng.randint(1, 20), rng.randint(1, 20))
        keep = tuple(b * (a // 2) for a, b in zip(k, d, strict=True))
        given = {"kernel_size": k, "dilation": d, "bias": rng.random() < 0.7}
        given["padding"] = rng.choice((keep, "same"))
        fast, plain = CLASSES.DilatedConv2d(3, 5, **given), nn.Conv2d(3, 5, **given)
        plain.double()
        fast.double().load_state_dict(plain.state_dict())
        yield fast, plain, randn(rng, 2, 3, rng.randint(1, 25), rng.randint(1, 25))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dilated(dtype: torch.dtype) -> None:
    with torch.no_grad():
        for fast, plain, x in dilated(Random(1)):
            wanted = plain(x)
            assert difference(wanted, fast.to(dtype)(x.to(dtype)).double()) < LOOSE[dtype]


def test_dilated_macs_are_those_counted() -> None:
    fewer = 0
    for fast, plain, x in dilated(Random(2)):
        op = DilatedConv2d(
            out_channels=5,
            kernel_size=fast.kernel_size,
            dilation=fast.dilation,
            padding=fast.padding,
            bias=fast.bias is not None,
        )
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            out = fast.to("meta")(x.to("meta"))
        derived = op.macs((tuple(x.shape),), tuple(out.shape))
        assert counter.get_total_flops() == 2 * derived
        full = plain.weight.numel() * x.shape[0] * out.shape[2] * out.shape[3]
        assert derived <= full
        fewer += derived < full
        assert op.infer(Anything(), TensorType(tuple(x.shape))).shape == tuple(out.shape)
    assert 30 < fewer < 120


# --- upsampled --------------------------------------------------------------------------------


def upsampled(rng: Random, count: int) -> Iterator[tuple[nn.Module, dict[str, Any], Tensor, Any]]:
    """The class, its attributes, a small map and the enlarged size."""
    while count:
        small = rng.randint(1, 6), rng.randint(1, 6)
        size = tuple(n * rng.randint(1, 4) + rng.randint(0, 3) for n in small)
        k, d = rng.randint(1, 5), rng.randint(1, 4)
        given: dict[str, Any] = {"kernel_size": k, "dilation": d, "padding": rng.randint(0, 8)}
        given |= {"align_corners": rng.random() < 0.5, "bias": rng.random() < 0.5}
        if min(size) + 2 * given["padding"] - d * (k - 1) < 1:
            continue
        count -= 1
        module = CLASSES.UpsampledConv2d(3, 4, **given).double()
        if module.bias is not None:
            nn.init.normal_(module.bias)
        yield module, given, randn(rng, 2, 3, *small), size


def direct(module: nn.Module, given: dict[str, Any], x: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge, then convolve with the window the taps came from."""
    k = given["kernel_size"]
    weight = module.taps.weight.view(k, k, 4, 3).permute(2, 3, 1, 0)
    large = F.interpolate(x, size=size, mode="bilinear", align_corners=given["align_corners"])
    return F.conv2d(
        large, weight, module.bias, padding=given["padding"], dilation=given["dilation"]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_upsampled(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for module, given, x, size in upsampled(Random(3), 150):
            wanted = direct(module, given, x, size)
            got = module.to(dtype)(x.to(dtype), size)
            assert got.dtype == dtype
            assert difference(wanted, got.double()) < LOOSE[dtype]


def test_upsampled_has_gradients() -> None:
    """Inference is its use, but nothing in it stands against training."""
    module, given, x, size = next(iter(upsampled(Random(4), 1)))
    x.requires_grad_()
    inputs = (x, *module.parameters())
    wanted = torch.autograd.grad(direct(module, given, x, size).square().sum(), inputs)
    got = torch.autograd.grad(module(x, size).square().sum(), inputs)
    for a, b in zip(wanted, got, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_upsampled_costs_and_shapes_are_those_of_torch() -> None:
    for module, given, x, size in upsampled(Random(5), 120):
        op = UpsampledConv2d(out_channels=4, size=size, **given)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            out = module.to("meta")(x.to("meta"), size)
        assert op.infer(Anything(), TensorType(tuple(x.shape))).shape == tuple(out.shape)
        assert counter.get_total_flops() == 2 * op.macs((tuple(x.shape),), tuple(out.shape))
        wanted = {name: tuple(p.shape) for name, p in module.named_parameters()}
        derived = op.parameters(TensorType(tuple(x.shape)))
        assert {p.name: p.shape for p in derived} == wanted


# --- where rules put them ---------------------------------------------------------------------

PLACES = {
    "dilated": ("dilated_taps", layer_text("conv2d", out_channels=3, kernel_size=3, padding=6,
                                           dilation=6)),
    "narrow": ("stack_convs", "{op: conv2d, out_channels: 1, kernel_size: 3}"),
    "upsampled": ("split_concat_conv", "{op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}"),
}  # fmt: skip


def place(name: str) -> tuple[str, Source]:
    rule, conv = PLACES[name]
    layers = f"  conv: {conv}"
    if name == "narrow":
        layers += f"\n  other: {conv[:-1]}, from: image}}"
        return rule, spec(layers, "conv, z: other")
    if name == "upsampled":
        layers = f"  up: {{op: interpolate, mode: bilinear, scale_factor: 2}}\n{layers}"
    return rule, spec(layers, "conv")


@pytest.mark.parametrize("size", [(5, 5), (9, 14), (40, 33)])
@pytest.mark.parametrize("name", PLACES)
def test_derived_costs_of_networks_with_them(name: str, size: tuple[int, int]) -> None:
    rule, source = place(name)
    make = Maker(source, {}, only(rule))
    done = make.optimised({})
    assert done.fired
    derived = table(done.checked, {"image": (1, 4, *size)}).totals.macs
    with torch.device("meta"):
        network = import_source(deploy_source(make.deploy, done), "deploy").Net()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(1, 4, *size, device="meta"))
    assert counter.get_total_flops() == 2 * derived


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLACES)
def test_converted_in_the_precision_of_the_model(name: str, dtype: torch.dtype) -> None:
    rule, source = place(name)
    make = Maker(source, {}, only(rule))
    torch.manual_seed(0)
    plain = import_source(model_source(make), "plain").Net().double().eval()
    text = deploy_source(make.deploy, make.optimised({}))
    with torch.no_grad():
        x = image(9, 11)
        wanted = plain(x)
        got = import_source(text, "deploy").from_model(plain.to(dtype))(x.to(dtype))
    for a, b in zip(listed(wanted), listed(got), strict=True):
        assert b.dtype == dtype
        assert difference(a, b.double()) < LOOSE[dtype]


def listed(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def checked_shapes(checked: Checked) -> dict[str, tuple[Any, ...]]:
    return {name: checked.shape(ref) for name, ref in checked.graph.outputs.items()}


@pytest.mark.parametrize("name", PLACES)
def test_the_optimised_network_has_the_plain_shapes(name: str) -> None:
    rule, source = place(name)
    make = Maker(source, {}, only(rule))
    assert checked_shapes(make.optimised({}).checked) == checked_shapes(make({}))
