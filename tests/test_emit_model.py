"""Emitted modules: imported, built, run, and compared with the graph layer by layer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from emit_cases import CASES
from emit_kit import builder, emit, exercise, network, ruff, same_as_rebuilt
from emit_random import random_spec

from segc.diag import Diagnostic, Fail
from segc.emit.module import instrumented_source, model_source
from segc.emit.observe import Observations

SPECS = Path(__file__).parent.parent / "specs"
PUBLISHED = ("unet", "segnet_basic", "segnet", "deeplab", "fcn8s")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", sorted(CASES))
def test_case(name: str) -> None:
    exercise(CASES[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_spec(name: str) -> None:
    exercise(str(SPECS / f"{name}.yaml"), meta=True)


def test_paper_unet_has_its_own_file() -> None:
    source = exercise(str(SPECS / "unet.yaml"), meta=True, padding=0)
    assert "center_crop" in source and "padding: int = 0" in source


@pytest.mark.parametrize("seed", range(30))
def test_random_network(seed: int) -> None:
    exercise(random_spec(seed))


# --- constructor arguments --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (str(SPECS / "unet.yaml"), {"classes": 5, "width": 8}),
        (str(SPECS / "unet.yaml"), {"channels": 1, "width": 12}),
        (str(SPECS / "segnet_basic.yaml"), {"classes": 5, "width": 32}),
        (CASES["taps_in_repeat"], {"classes": 2, "width": 12}),
        (CASES["gates"], {"attention": True, "norm": False, "width": 10}),
        (CASES["gates"], {"attention": True}),
        (CASES["nested_groups"], {"width": 3}),
        (CASES["repeats"], {"width": 5}),
        (CASES["classifier"], {"hidden": 7, "classes": 3}),
        (CASES["aux"], {"width": 5}),
        (CASES["varying_functions"], {"dropout": 0.5, "classes": 1}),
    ],
)
def test_other_arguments_give_what_a_rebuild_gives(text: str, settings: dict[str, object]) -> None:
    same_as_rebuilt(text, settings)


def test_fixed_parameter_names_the_way_out() -> None:
    cls = network(emit(str(SPECS / "unet.yaml")))
    with pytest.raises(ValueError, match=r"built with padding=1.*--set padding=0"):
        cls(padding=0)
    cls(padding=1, width=4)


def test_built_values_are_the_defaults() -> None:
    with torch.device("meta"):
        model = network(emit(str(SPECS / "unet.yaml"), classes=7, width=16))()
    assert model.logits.weight.shape == (7, 16, 1, 1)


def test_a_parameter_with_one_other_value_is_fixed() -> None:
    build = builder(str(SPECS / "deeplab.yaml"))
    assert Observations(build).free == ("classes",)


def test_failing_probes_fix_a_parameter() -> None:
    build = builder(CASES["nested_groups"])

    def only_default(settings: dict[str, object]) -> object:
        if "width" in settings:
            raise Fail(Diagnostic("SEG210", "no"))
        return build(settings)

    source = model_source(only_default)  # type: ignore[arg-type]
    assert "built with width=8" in source and "nn.Conv2d(3, 8, kernel_size=3" in source


def test_a_value_nothing_fits_fixes_what_it_depends_on() -> None:
    text = CASES["classifier"].replace("hidden}", "hidden ** 2}")
    source = exercise(text)
    assert "built with hidden=32" in source and "nn.Linear(1024, classes)" in source


# --- weights ----------------------------------------------------------------------------------
def test_initial_values_and_frozen_layers() -> None:
    model = network(emit(CASES["frozen"]))()
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
        "stem.conv.weight", "stem.conv.bias", "stem.bn.weight", "stem.bn.bias",
        "mid.a.weight", "mid.a.bias", "up.weight",
    }  # fmt: skip
    assert model.stem.conv.weight.std().item() == pytest.approx(0.01, rel=0.3)
    assert not model.stem.conv.bias.any() and (model.stem.bn.weight == 1).all()
    assert (model.mid.b.bias == 0.5).all() and not model.score.weight.any()
    assert model.mid.c.weight.abs().max() <= 0.04
    identity = torch.rand(1, 8, 5, 5)
    bare = torch.nn.functional.conv2d(identity, model.mid.f.weight, padding=1)
    torch.testing.assert_close(bare, identity)


BILINEAR = """segc: 1
model: Net
inputs: {{image: [N, 4, H, W]}}
layers:
  up:
    op: conv_transpose2d
    out_channels: 4
    kernel_size: {kernel}
    stride: {stride}
    padding: {padding}
    groups: {groups}
    bias: false
    init: {{weight: bilinear}}
outputs: {{out: up}}
"""


@pytest.mark.parametrize("kernel", [3, 4, 5, 8, 16])
@pytest.mark.parametrize("groups", [1, 4])
def test_bilinear_kernel_interpolates(kernel: int, groups: int) -> None:
    """Away from the border it is torch's bilinear interpolation."""
    stride = (kernel + 1) // 2
    padding = stride - 1 if kernel % 2 else stride // 2
    text = BILINEAR.format(kernel=kernel, stride=stride, padding=padding, groups=groups)
    x = torch.rand(1, 4, 9, 9)
    got = network(emit(text))()(x)
    odd = bool(kernel % 2)  # odd kernels put values at pixel centres: aligned corners
    size = got.shape[-2:]
    wanted = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=odd)
    inside = slice(2 * stride, -2 * stride)
    assert got.shape[-1] > 4 * stride
    torch.testing.assert_close(got[..., inside, inside], wanted[..., inside, inside])


def test_shared_layers_are_one_module() -> None:
    model = network(emit(CASES["shared"]))()
    assert not any(n.startswith(("other", "head2", "mid")) for n, _ in model.named_parameters())


def test_branches_stand_in_a_list_and_outputs_keep_their_names() -> None:
    source = emit(CASES["parallel_branches"])
    model = network(source)()
    assert isinstance(model.convs, torch.nn.ModuleList)
    assert isinstance(model.convs[2], torch.nn.Sequential)
    keys = ["convs.0", "convs.1", "convs.2.0", "last", "side"]
    assert list(model.state_dict()) == [f"{k}.{n}" for k in keys for n in ("weight", "bias")]
    assert "out = self.last(" in source and '"out": out' in source
    assert "out_" not in source.replace("out_channels", "") and "x_" not in source


# --- the file ---------------------------------------------------------------------------------
PROGRAM = """
import sys
from segc.check import verify
from segc.diag import Report
from segc.emit.module import model_source
from segc.read import read
from segc.source import Source

def build(settings):
    report = Report()
    graph = read(Source.open(sys.argv[1]), settings, report)
    report.raise_if_failed()
    checked = verify(graph, report)
    report.raise_if_failed()
    return checked

sys.stdout.write(model_source(build))
assert not {"torch", "numpy", "jinja2", "networkx", "jsonschema"} & set(sys.modules)
"""


def test_same_bytes_for_any_hash_seed_and_no_heavy_import() -> None:
    texts = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(SPECS / "deeplab.yaml")],
            capture_output=True, text=True, check=True, cwd=SPECS.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        texts.add(done.stdout)
    assert len(texts) == 1


def test_no_absolute_path_and_the_digest() -> None:
    source = model_source(builder(str((SPECS / "unet.yaml").resolve())), digest="ab" * 32)
    assert str(SPECS.resolve()) not in source
    assert "Generated by segc from unet.yaml (sha256 abab" in " ".join(source.split())


def test_instrumented_module_shares_the_state_dict() -> None:
    build = builder(CASES["taps_in_repeat"])
    plain, watched = network(model_source(build))(), network(instrumented_source(build))()
    assert list(plain.state_dict()) == list(watched.state_dict())


def test_training_outputs_appear_in_training_only() -> None:
    model = network(emit(CASES["aux"]))()
    x = torch.rand(2, 3, 16, 16)
    assert list(model(x)) == ["logits", "aux"]
    assert list(model.eval()(x)) == ["logits"]


def test_many_layers_in_linear_time() -> None:
    rows = "".join(f"  c{k}: {{op: conv2d, out_channels: width, kernel_size: 1}}\n  r{k}: relu\n"
                   for k in range(1100))  # fmt: skip
    head = "segc: 1\nmodel: Net\nparams: {width: 2}\ninputs: {image: [N, 3, H, W]}\nlayers:\n"
    source = emit(f"{head}{rows}outputs: {{out: r1099}}\n")
    compile(source, "model.py", "exec")
    assert source.count("F.relu(") == 1100


def test_published_code_is_formatted() -> None:
    assert ruff(emit(str(SPECS / "deeplab.yaml"), output_stride=8)) == ""
