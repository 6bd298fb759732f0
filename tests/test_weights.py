"""Layouts of checkpoints: `weights:` of specs, `segc weights map|port`, `--init-from`.

The oracle is torchvision: its models are saved, converted, and compared tensor by tensor.
"""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from spec_kit import check, faults

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from segc.build import Maker, build  # noqa: E402
from segc.cli import main  # noqa: E402
from segc.emit.harness import harness_files  # noqa: E402
from segc.emit.module import model_source  # noqa: E402
from segc.layouts import choose, counts, is_view, plan  # noqa: E402
from segc.source import Source  # noqa: E402
from segc.verify import network  # noqa: E402

SPECS = Path(__file__).resolve().parents[1] / "specs"
Shapes = dict[str, tuple[int, ...]]


def spec_of(name: str) -> str:
    return str(SPECS / f"{name}.yaml")


def shapes(state: Mapping[str, Any]) -> Shapes:
    return {name: tuple(value.shape) for name, value in state.items()}


def published(model: str) -> Shapes:
    """Names and shapes of a classifier of torchvision, without its values."""
    with torch.device("meta"):
        return shapes(getattr(torchvision.models, model)().state_dict())


def emitted(name: str, device: str = "meta", **params: Any) -> Any:
    return network(model_source(Maker(Source.open(spec_of(name)), params)), "net", device)


@contextmanager
def folder_on_path(folder: Path) -> Iterator[None]:
    names = {path.stem for path in folder.glob("*.py")}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names & sys.modules.keys():
            del sys.modules[name]


def checkpoints_of(spec: str, folder: Path) -> ModuleType:
    """The emitted checkpoints.py of a spec, imported."""
    files = harness_files(Maker(Source.open(spec_of(spec)), {})({}))
    for name in ("checkpoints.py", "runtime.py"):
        (folder / name).write_text(files[name], encoding="utf-8")
    with folder_on_path(folder):
        return importlib.import_module("checkpoints")


# --- what fits ------------------------------------------------------------------------------

FITTING = [
    # spec, torchvision's classifier, layout, tensors taken by name, moved, reshaped, wrong, unused
    ("fcn32s", "vgg16", "torchvision_vgg16", 0, 28, 2, 0, 2),
    ("fcn8s_atonce", "vgg16", "torchvision_vgg16", 0, 28, 2, 0, 2),
    ("deeplab_largefov", "vgg16", "torchvision_vgg16", 0, 26, 0, 0, 6),
    ("deeplabv2_vgg16", "vgg16", "torchvision_vgg16", 0, 26, 0, 0, 6),
    ("dilation8_voc", "vgg16", "torchvision_vgg16", 0, 28, 2, 0, 2),
    ("lrr_4x", "vgg16", "torchvision_vgg16", 26, 2, 2, 0, 2),
    ("hypercolumn_pixel", "vgg16", "torchvision_vgg16", 26, 2, 2, 0, 2),
    ("deconvnet", "vgg16", "torchvision_vgg16", 0, 28, 2, 0, 2),
    ("deconvnet", "vgg16_bn", "torchvision_vgg16_bn", 0, 93, 2, 0, 2),
    ("segnet", "vgg16_bn", "torchvision_vgg16_bn", 0, 91, 0, 0, 6),
    ("segnet", "vgg16", "torchvision_vgg16", 0, 26, 0, 0, 6),
    ("ddff", "vgg16_bn", "torchvision_vgg16_bn", 0, 78, 0, 0, 19),
    ("fcn_resnet50", "resnet50", "torchvision_resnet", 0, 318, 0, 0, 2),
    ("fcn_resnet101", "resnet101", "torchvision_resnet", 0, 624, 0, 0, 2),
    ("deeplabv3_resnet50", "resnet50", "torchvision_resnet", 0, 318, 0, 0, 2),
    ("deeplabv2_resnet101", "resnet101", "torchvision_resnet", 0, 624, 0, 0, 2),
    ("deeplab", "resnet50", "torchvision_resnet", 0, 318, 0, 0, 2),
    ("lraspp_mobilenet_v3_large", "mobilenet_v3_large", "torchvision_mobilenet_v3_large",
     0, 308, 0, 0, 4),
    ("pspnet50", "resnet50", None, 310, 0, 0, 2, 8),  # the stem is another one
    ("fcn_alexnet", "alexnet", None, 0, 0, 0, 0, 16),  # another network altogether
]  # fmt: skip


@pytest.mark.parametrize("case", FITTING, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_fits_of_torchvision(case: tuple[Any, ...], tmp_path: Path) -> None:
    """Counted by hand from torchvision's models; the emitted code finds the same names."""
    spec, model, layout, *expected = case
    checked = Maker(Source.open(spec_of(spec)), {})({})
    own, given = shapes(emitted(spec).state_dict()), published(model)
    chosen = choose(own, given, checked.graph.layouts.values())
    assert (chosen.name if chosen else None) == layout
    lines = plan(own, given, chosen)
    found = counts(lines)
    keys = ("fits", "moved", "reshaped", "wrong shape", "unused")
    assert [found[key] for key in keys] == expected
    if "checkpoints.py" not in harness_files(checked) or not checked.graph.layouts:
        return
    module = checkpoints_of(spec, tmp_path)
    with torch.device("meta"):
        weights = {n: torch.empty(s) for n, s in given.items()}
        mine = {n: torch.empty(s) for n, s in own.items()}
    names = module.names_there(weights, mine, layout or "")
    assert names == {line.here: line.there for line in lines if line.here and line.there}
    best = max(("", *module.LAYOUTS), key=lambda n: module.fitting_values(weights, mine, n))
    assert best == (layout or "")


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ((4096, 25088), (4096, 512, 7, 7), True),
        ((4096, 512, 7, 7), (4096, 25088), True),
        ((21, 4096), (21, 4096, 1, 1), True),
        ((25088, 4096), (4096, 512, 7, 7), False),  # transposed
        ((64, 3, 7, 7), (64, 7, 7, 3), False),  # axes swapped
        ((8,), (8, 1), False),
        ((4, 9), (6, 6), False),
        ((4, 8), (4, 3, 3), False),
    ],
)
def test_views(
    there: tuple[int, ...], here: tuple[int, ...], expected: bool, tmp_path: Path
) -> None:
    assert is_view(there, here) == expected
    module = checkpoints_of("fcn32s", tmp_path)
    assert (module.as_view(torch.zeros(there), torch.zeros(here)) is not None) == expected


# --- VGG16 into FCN-32s ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(3)
    model = torchvision.models.vgg16(init_weights=False).eval()
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(model.state_dict(), path)
    return model, path


CONVOLUTIONS = {
    0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2",
    14: "conv3_3", 17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2",
    28: "conv5_3",
}  # fmt: skip


def test_vgg16_becomes_fcn32s(
    vgg: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal tensors, and the classifier as convolutions gives the classifier's own logits."""
    model, path = vgg
    out = tmp_path / "ported.pt"
    words = ["weights", "port", spec_of("fcn32s"), str(path), "-o", str(out)]
    assert main(words) == 1 and not out.exists()
    said = capsys.readouterr().err
    assert "SEG511" in said and "score_fr.weight" in said and "upscore.weight" in said
    assert main([*words, "--partial", "-v"]) == 0
    said = capsys.readouterr().err
    assert "fc6.weight [4096, 512, 7, 7]" in said and "<- classifier.0.weight [4096, 25088]" in said
    ported = torch.load(out, weights_only=True)
    assert len(ported) == 30
    for number, name in CONVOLUTIONS.items():
        assert torch.equal(ported[f"{name}.weight"], model.features[number].weight)
        assert torch.equal(ported[f"{name}.bias"], model.features[number].bias)
    net = emitted("fcn32s", "cpu").eval()
    net.load_state_dict(ported, strict=False)
    net.conv1_1.padding = (1, 1)  # the classifier's, so that 224 pixels give one place
    seen: list[Any] = []
    net.fc7.register_forward_hook(lambda module, args, value: seen.append(value.relu()))
    image = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        with pytest.raises(ValueError, match="crop"):  # a single place is too small a score map
            net.double()(image)
        last = model.classifier[6].double()
        mine = last(seen[0].flatten(1))
        logits = model.double()(image)
    model.float()
    assert seen[0].shape == (1, 4096, 1, 1)
    assert float((mine - logits).abs().max()) < 1e-9 * float(logits.abs().max())


def test_init_from_loads_the_same(vgg: tuple[Any, Path], tmp_path: Path) -> None:
    model, path = vgg
    module = checkpoints_of("fcn32s", tmp_path)
    net = emitted("fcn32s", "cpu")
    before = net.score_fr.weight.clone()
    said = module.load_fitting(net, path)
    assert "30 of the network's 33 tensors taken, named as in torchvision_vgg16" in said
    assert "28 under another name, 2 reshaped, 3 missing, 2 unused" in said
    assert "upscore.weight: not there; keeps its initial values" in said
    assert torch.equal(net.conv5_3.weight, model.features[28].weight)
    assert torch.equal(net.fc6.weight.flatten(1), model.classifier[0].weight)
    assert torch.equal(net.fc7.weight.flatten(1), model.classifier[3].weight)
    assert torch.equal(net.score_fr.weight, before)


def test_vgg16_bn_into_segnet(tmp_path: Path) -> None:
    """Every convolution with its bias, every batch norm with its statistics."""
    model = torchvision.models.vgg16_bn(init_weights=False)
    for module in model.features:
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    state = {k: v for k, v in model.state_dict().items() if k.startswith("features")}
    path, out = tmp_path / "vgg16_bn.pth", tmp_path / "ported.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    words = ["weights", "port", spec_of("segnet"), str(path), "-o", str(out), "--partial", "-q"]
    assert main(words) == 0
    ported = torch.load(out, weights_only=True)
    convs = [m for m in model.features if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in model.features if isinstance(m, torch.nn.BatchNorm2d)]
    for name, conv, norm in zip(CONVOLUTIONS.values(), convs, norms, strict=True):
        assert torch.equal(ported[f"{name}.conv.weight"], conv.weight)
        assert torch.equal(ported[f"{name}.conv.bias"], conv.bias)
        for key, value in norm.state_dict().items():
            assert torch.equal(ported[f"{name}.bn.{key}"], value)
    net = emitted("segnet", "cpu")
    assert not net.load_state_dict(ported, strict=False).unexpected_keys


# --- the verb -------------------------------------------------------------------------------

TINY = """\
segc: 1
model: Tiny
inputs: {image: [N, 3, H, W]}
layers:
  first: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  logits: {op: conv2d, out_channels: 2, kernel_size: 1}
outputs: {logits: logits}
losses: {seg: {cross_entropy: logits}}
weights:
  other:
    source: somewhere
    rename: {features.0: first, head: {to: logits, shape: [2, 4]}}
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return tmp_path


def other() -> dict[str, Any]:
    return {
        "features.0.weight": torch.randn(4, 3, 3, 3),
        "features.0.bias": torch.randn(4),
        "head.weight": torch.randn(2, 4),
        "head.bias": torch.randn(2),
    }


def test_a_complete_port_loads_strict(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = other()
    torch.save(given, "a.pth")
    assert main(["weights", "port", "tiny.yaml", "a.pth", "-o", "b.pt", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["layout"] == "other" and report["totals"] == {"moved": 3, "reshaped": 1}
    ported = torch.load("b.pt", weights_only=True)
    net = network(build(Source.open("tiny.yaml")).files["model.py"], "tiny", "cpu")
    net.load_state_dict(ported)
    assert torch.equal(net.logits.weight.flatten(1), given["head.weight"])
    assert main(["weights", "map", "tiny.yaml", "b.pt"]) == 0  # its own names now
    assert "same names: 4 fits" in capsys.readouterr().out


def test_map_tells_every_tensor(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**other(), "features.0.bias": torch.zeros(5), "extra": torch.zeros(2)}
    del given["head.bias"]
    torch.save(given, "a.pth")
    assert main(["weights", "map", "tiny.yaml", "a.pth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "moved", "wrong", "reshaped", "missing", "unused",
    ]  # fmt: skip
    assert "first.bias [4]" in lines[1] and "<- features.0.bias [5]" in lines[1]
    assert main(["weights", "port", "tiny.yaml", "a.pth", "-o", "b.pt"]) == 1
    assert "first.bias [5] instead of [4]" in capsys.readouterr().err


def test_map_of_two_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """What FCN-8s takes from FCN-16s; the last upsampling of FCN-16s has no place."""
    assert main(["weights", "map", spec_of("fcn8s"), spec_of("fcn16s"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    by_state: dict[str, list[str]] = {}
    for tensor in report["tensors"]:
        by_state.setdefault(tensor["state"], []).append(tensor["here"] or tensor["there"])
    assert by_state["unused"] == ["upscore16.weight"]
    assert by_state["missing"] == [
        "upscore_pool4.weight", "score_pool3.weight", "score_pool3.bias", "upscore8.weight",
    ]  # fmt: skip
    assert len(by_state["fits"]) == 35 and report["layout"] is None


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("map", "tiny.yaml", "gone.pth"), 1, "no such file"),
        (("map", "tiny.yaml", "junk.pth"), 1, "SEG510"),
        (("map", "tiny.yaml", "bomb.pth"), 1, "compressed"),
        (("map", "tiny.yaml", "evil.pth"), 1, "SEG510"),
        (("map", "tiny.yaml", "number.pth"), 1, "holds no state dict"),
        (("map", "tiny.yaml", "a.pth", "--layout", "othr"), 2, "did you mean `other`?"),
        (("port", "tiny.yaml", "a.pth"), 2, "needs -o FILE"),
        (("port", "tiny.yaml", "tiny.yaml", "-o", "b.pt"), 2, "converts a file of weights"),
        (("port", "tiny.yaml", "nan.pth", "-o", "b.pt"), 1, "not finite"),
        (("port", "tiny.yaml", "a.pth", "-o", "nowhere/b.pt"), 3, "cannot write"),
        (("port", "tiny.yaml", "strange.pth", "-o", "b.pt", "--partial"), 1, "lacks 4 of 4"),
    ],
)
def test_faults_end_in_words(
    tiny: Path, words: tuple[str, ...], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tiny / "canary",))

    torch.save(other(), "a.pth")
    torch.save({**other(), "head.bias": torch.tensor([1.0, float("nan")])}, "nan.pth")
    torch.save({"strange": torch.zeros(2)}, "strange.pth")
    torch.save(3, "number.pth")
    torch.save({"weights": Evil()}, "evil.pth")
    Path("junk.pth").write_bytes(b"PK\x03\x04 no")
    with zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    assert main(["weights", *words]) == status
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not (tiny / "canary").exists() and not (tiny / "b.pt").exists()


def test_safetensors(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = other()
    try:
        from safetensors.torch import save_file
    except ImportError:
        Path("a.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
        assert main(["weights", "map", "tiny.yaml", "a.safetensors"]) == 3
        assert "pip install safetensors" in capsys.readouterr().err
        return
    save_file(given, "a.safetensors")
    assert main(["weights", "map", "tiny.yaml", "a.safetensors"]) == 0
    assert "3 moved, 1 reshaped" in capsys.readouterr().out


# --- layouts in specs -----------------------------------------------------------------------


def with_rename(text: str) -> str:
    return TINY[: TINY.index("    rename:")] + f"    rename: {text}\n"


@pytest.mark.parametrize(
    ("rename", "code", "said"),
    [
        ("{features.0: frist}", "SEG501", "did you mean `first`?"),
        ("{features.0: frist.*}", "SEG501", "no layer or group"),
        ("{a: {to: logits, shape: [2, 5]}}", "SEG502", "[2, 4, 1, 1]"),
        ("{a: {to: logits, shape: [4, 2]}}", "SEG502", "no view"),
        ("{a: logits, b: logits}", "SEG503", "two lines"),
        ("{a: {shape: [2, 4]}}", "SEG104", "no `to`"),
        ("{a: {to: logits, shap: [2, 4]}}", "SEG107", "did you mean `shape`?"),
        ("{a: {to: logits, shape: [2, x]}}", "SEG103", "list of sizes"),
        ("{a b: logits}", "SEG103", "name of a layer"),
        ("{a: '*.conv'}", "SEG103", "name of a layer"),
        ("3", "SEG103", "must be a mapping"),
    ],
)
def test_wrong_layouts_are_told(rename: str, code: str, said: str) -> None:
    found = faults(with_rename(rename))
    assert [d.code for d in found] == [code]
    assert said in f"{found[0].message} {found[0].hint}" and found[0].loc is not None


@pytest.mark.parametrize(
    ("rename", "name", "expected"),
    [
        ("{'*': logits.*}", "weight", "logits.weight"),
        ("{features.0: first}", "features.0.weight", "first.weight"),
        ("{features.0: first}", "features.01.weight", None),
        ("{a: first, a.b: logits}", "a.b.bias", "logits.bias"),
        ("{a.weight: first.weight}", "a.weight", "first.weight"),
        ("{'model.*': '*'}", "model.first.bias", "first.bias"),
    ],
)
def test_names_of_a_layout(rename: str, name: str, expected: str | None) -> None:
    checked, found = check(with_rename(rename))
    assert checked is not None and not found
    assert checked.graph.layouts["other"].name_here(name) == expected
