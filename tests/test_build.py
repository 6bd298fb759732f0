"""The pipeline as a whole: determinism, the deploy module, the Python interface."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import segc
from segc.build import Maker, build
from segc.emit.audit import audit
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.source import Source
from segc.verify import import_source, trained_like

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted((ROOT / "specs").glob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_generated_is_what_the_spec_builds(path: Path) -> None:
    for name, text in build(Source.open(path)).files.items():
        assert (ROOT / "generated" / path.stem / name).read_text(encoding="utf-8") == text, name


def test_the_same_bytes_for_every_hash_seed_and_folder(tmp_path: Path) -> None:
    digests = set()
    for seed, folder in [("0", ROOT), ("1", tmp_path), ("77", ROOT / "specs")]:
        code = (
            "import sys, hashlib; from segc.build import build_files; "
            f"files = build_files({str(ROOT / 'specs' / 'unet.yaml')!r}, {{}}); "
            "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
        )
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


NETS = {
    "transposed": """
  up: {op: conv_transpose2d, out_channels: 6, kernel_size: 4, stride: 2, padding: 1, groups: 2}
  bn: batch_norm2d
  relu: relu
""",
    "dropout_between": """
  conv: {op: conv2d, out_channels: 5, kernel_size: 3, bias: false}
  drop: {op: dropout, p: 0.5}
  bn: {op: batch_norm2d, eps: 1.0e-3}
  relu: relu
""",
    "grouped_and_dilated": """
  conv: {op: conv2d, out_channels: 8, kernel_size: 3, groups: 4, dilation: 2, padding: 2}
  bn: {op: batch_norm2d, affine: false}
  sig: sigmoid
""",
    "read_elsewhere": """
  conv: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  bn: batch_norm2d
  join: {op: add, from: [conv, bn]}
""",
    "norm_first": """
  bn: batch_norm2d
  conv: {op: conv2d, out_channels: 4, kernel_size: 3}
""",
}


def spec(layers: str) -> Source:
    last = layers.strip().splitlines()[-1].split(":")[0].strip()
    text = "segc: 1\nmodel: Net\ninputs: {image: [N, 4, H, W]}\nlayers:" + layers
    return Source.from_text(text + f"outputs: {{y: {last}}}\n")


@pytest.mark.parametrize("name", NETS)
def test_the_deploy_module_computes_the_same(name: str) -> None:
    make = Maker(spec(NETS[name]), {})
    plain = import_source(model_source(make), "plain").Net().double()
    optimised = make.optimised({})
    source = deploy_source(make.deploy, optimised)
    assert audit(source) == []
    with torch.no_grad():
        trained_like(plain)
    plain.eval()
    fast = import_source(source, "deploy").from_model(plain)
    x = torch.randn(2, 4, 13, 10, dtype=torch.float64)
    torch.testing.assert_close(fast(x), plain(x), rtol=0, atol=1e-12)
    kinds = {type(m).__name__ for m in fast.modules()}
    assert "Dropout" not in kinds
    assert ("BatchNorm2d" in kinds) is (name == "read_elsewhere")


def test_a_refused_fold_says_why() -> None:
    skipped = Maker(spec(NETS["read_elsewhere"]), {}).optimised({}).skipped
    assert [(s.node, s.why) for _, s in skipped] == [
        ("bn", "the value of `conv` is read elsewhere too")
    ]


def test_training_parts_are_not_deployed() -> None:
    layers = """
  conv: {op: conv2d, out_channels: 4, kernel_size: 3}
  aux: {op: conv2d, from: conv, out_channels: 2, kernel_size: 1, only: train}
  head: {op: conv2d, from: conv, out_channels: 3, kernel_size: 1}
"""
    text = "segc: 1\nmodel: Net\ninputs: {image: [N, 4, H, W]}\nlayers:" + layers
    make = Maker(Source.from_text(text + "outputs: {y: head, aux: aux}\n"), {})
    plain = import_source(model_source(make), "plain").Net()
    fast = import_source(deploy_source(make.deploy, make.optimised({})), "deploy").from_model(plain)
    x = torch.randn(1, 4, 8, 8)
    assert set(plain.train()(x)) == {"y", "aux"}
    wanted = plain.eval()(x)
    got = fast(x)
    torch.testing.assert_close(
        got["y"] if isinstance(got, dict) else got, wanted["y"], rtol=0, atol=1e-6
    )
    assert not any(name.startswith("aux") for name in fast.state_dict())


# --- the Python interface --------------------------------------------------------------------


def test_load_check_diff_draw() -> None:
    a = segc.load(ROOT / "specs" / "segnet_basic.yaml")
    b = segc.load(ROOT / "specs" / "segnet_basic.yaml", classes=5)
    assert segc.check(a)["params"] == 1_416_587
    assert "conv_decode1" in repr(a) and a._repr_svg_().startswith("<")
    assert not segc.diff(a, b).identical and segc.diff(a, a).identical
    assert json.loads(json.dumps(segc.check(b)))["outputs"] == {"logits": ["N", "5", "H", "W"]}


def test_module_takes_parameters() -> None:
    model = segc.module(ROOT / "specs" / "segnet_basic.yaml", classes=5, width=8)
    assert model(torch.randn(1, 3, 45, 37)).shape == (1, 5, 45, 37)


def test_build_writes_and_faults_raise(tmp_path: Path) -> None:
    built = segc.build(ROOT / "specs" / "segnet_basic.yaml", tmp_path)
    written = (tmp_path / "segnet_basic" / "model.py").read_text()
    assert written == built.files["model.py"]
    with pytest.raises(segc.Fail) as raised:
        segc.load(ROOT / "specs" / "segnet_basic.yaml", clases=5)
    assert raised.value.diagnostics[0].code == "SEG114"


def test_torchvisions_resnet_loads_into_the_backbone() -> None:
    torchvision = pytest.importorskip("torchvision")
    model = segc.module(ROOT / "specs" / "deeplab.yaml", output_stride=8)
    resnet = torchvision.models.resnet50(
        weights=None, replace_stride_with_dilation=[False, True, True]
    )
    trunk = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    model.backbone.load_state_dict(trunk, strict=True)
    model.eval(), resnet.eval()
    x = torch.randn(1, 3, 65, 97)
    y = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
    low = resnet.layer1(y)
    deep = resnet.layer4(resnet.layer3(resnet.layer2(low)))
    with torch.no_grad():
        found = model.backbone(x)
    torch.testing.assert_close(found[0], deep, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], low, rtol=1e-4, atol=1e-4)


def test_sources_have_a_digest_of_all_their_files() -> None:
    checked = Maker(Source.open(ROOT / "specs" / "deeplab.yaml"), {})({})
    names = ["deeplab.yaml", "blocks/resnet.yaml", "blocks/aspp.yaml", "weights/resnet.yaml"]
    texts = [(ROOT / "specs" / n).read_text(encoding="utf-8") for n in names]
    assert checked.graph.digest == hashlib.sha256("".join(texts).encode()).hexdigest()
