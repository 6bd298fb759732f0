"""The specs against the literature: parameter totals, shapes at the papers' sizes, the authors' own
Caffe definitions."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from segc.analyse import shapes, table
from segc.check import Checked, verify
from segc.diag import Report
from segc.facts import facts_of
from segc.ir import Ref
from segc.read import read
from segc.source import Source

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted(p.stem for p in (ROOT / "specs").glob("*.yaml"))
DATA = Path(os.environ.get("SEGC_DATA", ROOT.parent / "shared" / "data"))


def load(name: str, **params: object) -> Checked:
    report = Report()
    graph = read(Source.open(ROOT / "specs" / f"{name}.yaml"), params, report)
    assert graph is not None, report.diagnostics
    checked = verify(graph, report)
    assert report.diagnostics == []
    return checked


# Sources: the authors' prototxt files and torchvision / the named PyTorch repositories, counted
# over weights, biases and norm affines.
TOTALS = [
    ("fcn32s", {}, 136_152_917),
    ("fcn16s", {}, 134_815_994),
    ("fcn8s", {}, 134_489_759),
    ("segnet", {}, 29_449_355),
    ("segnet", {"classes": 12}, 29_449_932),
    ("segnet", {"classes": 21}, 29_455_125),
    ("segnet", {"classes": 38}, 29_464_934),
    ("segnet_basic", {}, 1_416_587),
    ("unet", {}, 31_031_810),
    ("unet", {"classes": 21}, 31_033_045),
    ("unet", {"channels": 1, "padding": 0}, 31_030_658),
    ("unet_nearest", {}, 31_031_810 + 5 * 2 * (64**2 + 128**2 + 256**2 + 512**2)),  # 3x3 for 2x2
    ("deeplab", {}, 39_761_845),
    ("deeplab", {"output_stride": 8}, 39_761_845),
]


@pytest.mark.parametrize(("name", "params", "total"), TOTALS)
def test_parameter_total_is_the_published_one(name: str, params: dict, total: int) -> None:
    assert table(load(name, **params)).totals.params == total


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_is_sound_and_names_its_source(name: str) -> None:
    checked = load(name)
    graph = checked.graph
    assert graph.title and graph.source and graph.outputs
    assert graph.losses or facts_of(checked) is None  # generators and the like have no map to learn


FROZEN = [("fcn32s", 1_806_336), ("fcn16s", 458_640), ("fcn8s", 127_008)]


@pytest.mark.parametrize(("name", "count"), FROZEN)
def test_the_bilinear_deconvolutions_of_fcn_are_frozen(name: str, count: int) -> None:
    totals = table(load(name)).totals
    assert totals.params - totals.trainable == count


def sizes(name: str, height: int, width: int, **params: object) -> dict[str, tuple[int, ...]]:
    checked = load(name, **params)
    env = {"N": 1, "H": height, "W": width}
    return {ref.node: s[2:] for ref, s in shapes(checked, env).items() if ref.port == "out"}


FCN_500 = {
    "conv1_1": 698, "pool1": 349, "pool2": 175, "pool3": 88, "pool4": 44, "pool5": 22, "fc6": 16,
    "score_fr": 16, "score": 500,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("fcn32s", {"upscore": 544}),
        ("fcn16s", {"upscore2": 34, "score_pool4": 44, "score_pool4c": 34, "upscore16": 560}),
        ("fcn8s", {"upscore2": 34, "upscore_pool4": 70, "score_pool3": 88, "upscore8": 568}),
    ],
)
def test_fcn_shapes_for_a_500_pixel_image(name: str, more: dict[str, int]) -> None:
    found = sizes(name, 500, 500)
    for layer, size in {**FCN_500, **more}.items():
        assert found[layer] == (size, size), layer


def test_fcn8s_takes_any_image_down_to_one_pixel() -> None:
    for height, width in [(1, 1), (32, 32), (64, 96), (500, 333), (375, 500)]:
        assert sizes("fcn8s", height, width)["score"] == (height, width)
    assert load("fcn8s").domain.constraints() == ()


def test_segnet_shapes_on_camvid() -> None:
    found = sizes("segnet", 360, 480)
    pooled = [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]
    assert [found[f"pool{i}"] for i in range(1, 6)] == pooled
    assert [found[f"upsample{i}"] for i in range(5, 0, -1)] == [*pooled[3::-1], (360, 480)]


def test_unet_of_the_paper_maps_572_to_388() -> None:
    found = sizes("unet", 572, 572, padding=0)
    assert [found[f"enc{i}.relu2"] for i in range(1, 5)] == [(n, n) for n in (568, 280, 136, 64)]
    assert found["bridge.relu2"] == (28, 28)
    assert [found[f"dec{i}.upconv"] for i in range(4, 0, -1)] == [
        (n, n) for n in (56, 104, 200, 392)
    ]
    assert found["logits"] == (388, 388)


def test_accepted_sizes_are_derived() -> None:
    assert load("unet").domain.constraints() == ("H % 16 == 0", "W % 16 == 0")
    valid = load("unet", padding=0).domain
    by_paper = {16 * k + 60 for k in range(8, 40)}
    assert {h for h in range(1, 16 * 40 + 60) if valid.contains({"H": h, "W": 188})} == by_paper


def test_deeplab_keeps_its_output_stride() -> None:
    for stride, low, deep in [(16, 129, 33), (8, 129, 65)]:
        found = sizes("deeplab", 513, 513, output_stride=stride)
        assert found["backbone.layer4.2.relu"] == (deep, deep)
        assert found["low.relu"] == (low, low)
        assert found["logits"] == (513, 513)


# --- the authors' Caffe definitions ----------------------------------------------------------


def prototxt(path: Path) -> dict[str, dict[str, str]]:
    """Layer name -> its scalar fields, of a Caffe prototxt (a minimal reading)."""
    found: dict[str, dict[str, str]] = {}
    text = re.sub(r"#.*", "", path.read_text())
    for body in re.split(r"\blayer\s*\{", text)[1:]:
        pairs = re.findall(r'(\w+)\s*:\s*"?([^"\s}]+)"?', body)
        fields: dict[str, str] = {}
        for key, value in pairs:
            fields.setdefault(key, value)
        found[fields["name"]] = fields
    return found


CAFFE = [
    ("fcn32s", "fcn/voc-fcn32s/train.prototxt"),
    ("fcn16s", "fcn/voc-fcn16s/train.prototxt"),
    ("fcn8s", "fcn/voc-fcn8s/train.prototxt"),
    ("segnet_basic", "segnet/Models/segnet_basic_train.prototxt"),
    ("segnet", "segnet/Models/segnet_train.prototxt"),
]


@pytest.mark.parametrize(("name", "file"), CAFFE)
def test_windows_equal_the_authors_prototxt(name: str, file: str) -> None:
    path = DATA / "prototxt" / file
    if not path.exists():
        pytest.skip(f"no Caffe definitions at {path.parent}: set SEGC_DATA")
    checked = load(name)
    compared = 0
    for layer, fields in prototxt(path).items():
        node = checked.graph.by_name.get(layer) or checked.graph.by_name.get(f"{layer}.conv")
        if node is None or "kernel_size" not in fields or "kernel_size" not in node.op.attrs:
            continue
        op = node.op.values
        square = {k: op.get(k, (d, d))[0] for k, d in [("stride", 1), ("padding", 0)]}
        assert op["kernel_size"] == (int(fields["kernel_size"]),) * 2, layer
        if "max_pool" not in node.op.name:
            assert op["out_channels"] == int(fields["num_output"]), layer
            assert square["stride"] == int(fields.get("stride", 1)), layer
        assert square["padding"] == int(fields.get("pad", 0)), layer
        compared += 1
    assert compared >= 9


@pytest.mark.parametrize(("name", "file"), CAFFE[:3])
def test_crops_equal_the_authors_prototxt(name: str, file: str) -> None:
    path = DATA / "prototxt" / file
    if not path.exists():
        pytest.skip(f"no Caffe definitions at {path.parent}: set SEGC_DATA")
    checked = load(name)
    crops = {k: f for k, f in prototxt(path).items() if f.get("type") == "Crop"}
    assert crops
    for layer, fields in crops.items():
        assert checked.graph.by_name[layer].op.values["offset"] == (int(fields["offset"]),) * 2


def test_the_unet_crops_are_the_papers() -> None:
    checked = load("unet", padding=0)
    found = shapes(checked, {"N": 1, "H": 572, "W": 572})
    margins = []
    for i in range(1, 5):
        skip = checked.graph.by_name[f"dec{i}.crop"].inputs[0]
        margins.append((found[skip][2] - found[Ref(f"dec{i}.crop")][2]) // 2)
    assert margins == [88, 40, 16, 4]
