"""max_unpool2d and the convolution behind it as one layer: the rule, its files, its kernels.

The kernels run in Triton's interpreter (triton_cases.py) and through its compiler
(triton_compiled.py); there need not be a GPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from emit_kit import reformatted
from rules_kit import Case, compared, fired, image, layer_text, only, proved, reasons, spec
from spec_kit import fault

from segc.build import Maker, build
from segc.emit.audit import audit
from segc.emit.beside import importable
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.optimise import Options
from segc.rules.unpool_conv import ON_CPU
from segc.source import Source
from segc.verify import import_source, verify

HERE = Path(__file__).resolve().parent
SPECS = HERE.parent / "specs"
TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not TRITON, reason="Triton is not installed")
GPU = Options(balance=100.0)
ON = only("unpool_conv")

LAYERS = """
  conv1: {op: conv2d, out_channels: 6, kernel_size: 3, padding: 1}
  pool: {op: max_pool2d, kernel_size: 2, ceil_mode: true, return_indices: true}
  conv2: {op: conv2d, out_channels: 6, kernel_size: 3, padding: 1}
  up: {op: max_unpool2d, from: [conv2, pool.indices], size: pool.input}
  out: {op: conv2d, out_channels: 3, kernel_size: 3, padding: same}
"""


# --- the rule -----------------------------------------------------------------------------------


def draw(rng: Random) -> Case:
    """A pooling, and a convolution of what is unpooled with its indices."""
    window = (rng.choice((2, 2, 3)), rng.choice((2, 2, 3)))
    ceil, sized = rng.random() < 0.5, rng.random() < 0.7
    kernel, dilation = (rng.choice((1, 2, 3, 7)), rng.choice((1, 3))), rng.choice((1, 1, 2))
    transposed, stride, groups = rng.random() < 0.4, rng.choice((1, 1, 1, 1, 2)), 1
    padding: Any = rng.randrange(3)
    if not transposed and stride == 1 and rng.random() < 0.3:
        padding = "same"
    if rng.random() < 0.15:
        groups = 2
    pool = layer_text("max_pool2d", kernel_size=window, ceil_mode=ceil, return_indices=True)
    size = "pool.input" if sized else None
    up = layer_text("max_unpool2d", kernel_size=window, size=size).replace(
        "{op: max_unpool2d", "{op: max_unpool2d, from: [act, pool.indices]"
    )
    conv = layer_text(
        "conv_transpose2d" if transposed else "conv2d",
        out_channels=6, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation,
        groups=groups, bias=rng.random() < 0.5,
    )  # fmt: skip
    layers = f"  pool: {pool}\n  act: leaky_relu\n  up: {up}\n  out: {conv}"
    sizes = ((18, 12), (23, 30), (5, 7), (9, 6))
    return Case(layers, "out", stride == 1 and groups == 1, sizes)


def test_the_function_stays() -> None:
    seen = proved("unpool_conv", draw, 120)
    assert seen["fired"] > 40


def test_odd_sizes_of_camvid() -> None:
    done, error = compared(spec(LAYERS, "out"), ON, [image(45, 60), image(23, 30), image(1, 1)])
    assert fired(done) == {"unpool_conv": 1}
    assert error == 0  # on a CPU it is the same two steps


def test_weights_stay_as_they_are() -> None:
    make = Maker(spec(LAYERS, "out"), {}, ON)
    plain = import_source(model_source(make), "plain").Net()
    quick = import_source(deploy_source(make.deploy, make.optimised({})), "deploy").from_model(
        plain
    )
    assert make.optimised({}).moves == ()
    kept = quick.state_dict()
    assert list(kept) == list(plain.state_dict())
    assert all(torch.equal(v, kept[k]) for k, v in plain.state_dict().items())


@pytest.mark.parametrize(
    ("name", "count"),
    [("segnet", 5), ("segnet_basic", 4), ("bayesian_segnet", 5), ("deconvnet", 5),
     ("encoder_decoder_max_unpool", 2)],
)  # fmt: skip
def test_networks_that_unpool(name: str, count: int) -> None:
    """On a GPU's balance all of their unpoolings go, on a CPU's none, with the reason."""
    source = Source.open(str(SPECS / f"{name}.yaml"))
    assert fired(Maker(source, {}, GPU).optimised({}))["unpool_conv"] == count
    plain = Maker(source, {}).optimised({})
    assert "unpool_conv" not in fired(plain)
    refused = [s.why for rule, s in plain.skipped if rule == "unpool_conv"]
    assert refused == [ON_CPU] * count


def test_a_network_is_verified_with_it() -> None:
    source = Source.open(str(SPECS / "encoder_decoder_max_unpool.yaml"))
    findings = list(verify(source, {}, Options(on=frozenset({"unpool_conv"}))))
    assert [f.what for f in findings if not f.ok] == []


def test_what_it_saves_on_a_gpu() -> None:
    """The unpooled map [1, 6, 64, 64], written and read once in 4 bytes."""
    source = spec(LAYERS, "out", size="64, 64")
    (done,) = Maker(source, {}, GPU).optimised({}).fired
    assert (done.macs, done.bytes) == (0, 2 * 4 * 6 * 64 * 64)
    (asked,) = Maker(source, {}, ON).optimised({}).fired
    assert (asked.macs, asked.bytes) == (0, 0)  # nothing, on a CPU


def test_an_unpooling_at_the_end_of_a_block() -> None:
    layers = """
  pool: {op: max_pool2d, kernel_size: 2, return_indices: true, ceil_mode: true}
  wide: {block: widen, from: [pool, pool.indices, image]}
  out: {op: conv_transpose2d, out_channels: 3, kernel_size: 3, padding: 1}
"""
    block = """blocks:
  widen:
    inputs: [x, indices, map]
    layers:
      act: {op: leaky_relu, from: x}
      up: {op: max_unpool2d, from: [act, indices], size: map}
layers:
"""
    text = spec(layers, "out").text.replace("layers:\n", block, 1)
    source = Source.from_text(text)
    done, error = compared(source, ON, [image(9, 8)])
    assert fired(done) == {"unpool_conv": 1}
    assert error == 0


# --- its files ----------------------------------------------------------------------------------


def test_only_networks_that_use_them_get_the_files(tmp_path: Path) -> None:
    source = spec(LAYERS, "out")
    assert not {f for f in build(source).files if f.startswith("unpool")}
    files = build(source, {}, GPU).files
    assert {f for f in files if f.startswith("unpool")} == {"unpool_conv.py", "unpool_kernels.py"}
    assert "unpool" not in files["model.py"].replace("max_unpool2d", "")
    for name in ("deploy.py", "unpool_conv.py", "unpool_kernels.py"):
        assert reformatted(files[name]) == ""
        (tmp_path / name).write_text(files[name], encoding="utf-8")
    (tmp_path / "model.py").write_text(files["model.py"], encoding="utf-8")
    code = (
        "import torch; from model import Net; from deploy import from_model\n"
        "net = Net().eval(); x = torch.rand(1, 4, 23, 30)\n"
        "torch.testing.assert_close(from_model(net)(x), net(x))"
    )
    run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": ""})


def test_deploy_imports_nothing_but_the_layers() -> None:
    make = Maker(spec(LAYERS, "out"), {}, ON)
    text = deploy_source(make.deploy, make.optimised({}))
    line = "from unpool_conv import UnpoolConv2d\n"
    assert line in text
    assert audit(text) == []
    for other in (
        "import unpool_conv\n",
        "import unpool_kernels\n",
        "import triton\n",
        "from unpool_conv import kernels\n",
        "from unpool_conv import UnpoolConv2d as nn\n",
        "from .unpool_conv import UnpoolConv2d\n",
        "from unpool_kernels import convolve_kernel\n",
    ):
        assert audit(text.replace(line, line + other)) != [], other


@pytest.mark.parametrize("name", ["UnpoolConv2d", "UnpoolConvTranspose2d", "DilatedConv2d"])
def test_a_network_may_not_be_named_as_a_layer_is(name: str) -> None:
    text = spec(LAYERS, "out").text.replace("model: Net", f"model: {name}")
    fault(text, "SEG306", name)


# --- its kernels --------------------------------------------------------------------------------


def run(command: list[str], cwd: Path | None = None, **more: Any) -> str:
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), **more.get("env", {})}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def differences() -> dict[str, list[float]]:
    """Of every case of triton_cases.py."""
    script = str(HERE / "triton_cases.py")
    found = run([sys.executable, "-W", "ignore", script], env={"TRITON_INTERPRET": "1"})
    result: dict[str, list[float]] = json.loads(found)
    return result


@needs_triton
def test_kernels_compute_what_the_operators_do(differences: dict[str, list[float]]) -> None:
    """Output, gradients of pooled values, weight and bias; relative to the largest value."""
    allowed = {"float32": 1e-6, "float16": 2e-3}
    assert len(differences) > 20
    for name, found in differences.items():
        most = next((v for k, v in allowed.items() if name.endswith(k)), 1e-12)
        assert max(found) <= most, (name, found)
        assert len(found) >= 3, name


@needs_triton
def test_a_network_trains_by_the_kernels_as_without(differences: dict[str, list[float]]) -> None:
    found = differences["network"]
    assert len(found) == 2 + 13  # output, image, three convolutions (one without bias), norms
    assert max(found) <= 1e-12


@needs_triton
@pytest.mark.parametrize("capability", ["80", "90"])
def test_kernels_compile_for_gpus(capability: str, tmp_path: Path) -> None:
    """For all precisions, with products on tensor cores."""
    command = [sys.executable, "-W", "ignore", str(HERE / "triton_compiled.py"), capability]
    found = json.loads(run(command, env={"TRITON_CACHE_DIR": str(tmp_path)}))
    assert len(found) == 3 * 3 * 2
    assert min(found.values()) > 0


@needs_triton
def test_when_kernels_are_used() -> None:
    with importable():
        import unpool_conv as module
    plain = module.UnpoolConv2d(2, 3, kernel_size=3)

    def on(device: str, dtype: torch.dtype) -> Any:
        return SimpleNamespace(is_cuda=device == "cuda", dtype=dtype)

    assert module.has_kernels(plain, on("cuda", torch.float32))
    assert module.has_kernels(plain, on("cuda", torch.bfloat16))
    assert not module.has_kernels(plain, on("cuda", torch.float64))
    assert not module.has_kernels(plain, on("cpu", torch.float32))
    for options in ({"stride": 2}, {"groups": 2}, {"padding_mode": "reflect"}):
        other = module.UnpoolConv2d(2, 2, kernel_size=3, **options)
        assert not module.has_kernels(other, on("cuda", torch.float32)), options
    wider = module.UnpoolConvTranspose2d(2, 2, kernel_size=3, dilation=2, output_padding=1)
    assert not module.has_kernels(wider, on("cuda", torch.float32))


def test_without_triton_operators_do_it() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, unpool_conv; assert unpool_conv.kernels is None\n"
        "x, i = torch.nn.functional.max_pool2d(torch.rand(1, 2, 6, 6), 2, return_indices=True)\n"
        "layer = unpool_conv.UnpoolConv2d(2, 3, kernel_size=3, padding=1)\n"
        "assert not unpool_conv.has_kernels(layer, x)\n"
        "y = torch.nn.Conv2d.forward(layer, torch.nn.functional.max_unpool2d(x, i, 2))\n"
        "assert torch.equal(layer(x, i), y) and torch.equal(layer(x, i, (6, 6)), y)"
    )
    kernels = HERE.parent / "segc" / "emit" / "kernels"
    run([sys.executable, "-c", code], env={"PYTHONPATH": str(kernels)})


def test_reasons_name_the_layer() -> None:
    text = LAYERS.replace("kernel_size: 3, padding: same", "kernel_size: 3, groups: 3, padding: 1")
    done, _ = compared(spec(text, "out"), ON, [image(8, 8)])
    assert reasons(done) == {"out": "the convolution has groups"}
