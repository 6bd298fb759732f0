"""PSPNet and the dilated residual networks: the published totals, the papers' shapes, and numbers
equal to networks put together here from torchvision's ResNets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from emit_kit import builder, network

from segc.analyse import shapes, table
from segc.diag import Fail
from segc.emit.module import model_source
from segc.read.expr import evaluate

SPECS = Path(__file__).resolve().parent.parent / "specs"
SEGMENT = {"task": "segmentation", "classes": 19}
TOLERANCE = 1e-5  # of the largest output, float32


def checked(name: str, **params: Any) -> Any:
    return builder(str(SPECS / f"{name}.yaml"), params)({})


def model(name: str, **params: Any) -> Any:
    torch.manual_seed(0)
    return network(model_source(builder(str(SPECS / f"{name}.yaml"), params)))().eval()


def totals(name: str, **params: Any) -> tuple[int, int]:
    """Parameters with and without what exists in training only."""
    rows = table(checked(name, **params)).rows
    return sum(r.params for r in rows), sum(r.params for r in rows if r.node.only != "train")


def sizes(name: str, height: int, width: int, **params: Any) -> dict[str, tuple[int, ...]]:
    found = shapes(checked(name, **params), {"N": 1, "H": height, "W": width})
    return {ref.node: shape for ref, shape in found.items()}


def randomised(net: Any) -> Any:
    """The network with running statistics as after some training."""
    for key, value in net.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.2)
    return net.eval()


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def dilate(stage: Any, first: int, rest: int) -> None:
    """Turn the stride of a torchvision stage into a dilation: of its first block, of the others."""
    for n, block in enumerate(stage):
        rate = rest if n else first
        for name, conv in block.named_modules():
            if isinstance(conv, torch.nn.Conv2d):
                conv.stride = (1, 1)
                if conv.kernel_size == (3, 3):
                    assert "conv" in name
                    conv.dilation = conv.padding = (rate, rate)


# --- PSPNet ---------------------------------------------------------------------------------

PSPNET = [
    ("pspnet50", 21, 49_081_578, 46_716_373),
    ("pspnet50", 19, 49_080_038, 46_715_347),
    ("pspnet50", 150, 49_180_908, 46_782_550),
    ("pspnet101", 21, 68_073_706, 65_708_501),
    ("pspnet101", 19, 68_072_166, 65_707_475),
    ("pspnet101", 150, 68_173_036, 65_774_678),
]


@pytest.mark.parametrize(("name", "classes", "trained", "used"), PSPNET)
def test_pspnet_totals_with_and_without_the_auxiliary_head(
    name: str, classes: int, trained: int, used: int
) -> None:
    assert totals(name, classes=classes) == (trained, used)


@pytest.mark.parametrize(("size", "map_size"), [(473, 60), (713, 90)])
def test_pspnet_shapes_at_the_authors_crops(size: int, map_size: int) -> None:
    found = sizes("pspnet50", size, size)
    assert found["layer0.8"][1:] == (128, (size + 1) // 2, (size + 1) // 2)
    assert found["layer1.2.relu"] == (1, 256, (size + 3) // 4, (size + 3) // 4)
    for stage, width in [("layer2.3", 512), ("layer3.5", 1024), ("layer4.2", 2048)]:
        assert found[f"{stage}.relu"] == (1, width, map_size, map_size)
    bins = [found[f"ppm.features.{n}.3"] for n in range(4)]
    assert bins == [(1, 512, b, b) for b in (1, 2, 3, 6)]
    assert found["ppm.concat"] == (1, 4096, map_size, map_size)
    assert found["logits"] == found["aux_logits"] == (1, 21, size, size)


def test_pspnet_takes_multiples_of_8_plus_1() -> None:
    assert checked("pspnet50").domain.constraints() == ("(H - 1) % 8 == 0", "(W - 1) % 8 == 0")
    with pytest.raises(ValueError, match="it must be"):
        model("pspnet50")(torch.zeros(1, 3, 64, 65))


def test_pspnet_dilates_the_first_block_of_a_stage_as_well() -> None:
    nodes = checked("pspnet101").graph.by_name
    for stage, count, rate in [("layer3", 23, 2), ("layer4", 3, 4)]:
        convs = [nodes[f"{stage}.{n}.conv2"].op for n in range(count)]
        assert {(c.stride, c.dilation) for c in convs} == {((1, 1), (rate, rate))}


def pspnet_by_hand(ours: Any) -> Any:
    """PSPNet-50 from torchvision's stages, functions of torch, and the weights of `ours`."""
    resnet = torchvision.models.resnet50(weights=None)
    resnet.layer1[0].conv1 = torch.nn.Conv2d(128, 64, 1, bias=False)
    resnet.layer1[0].downsample[0] = torch.nn.Conv2d(128, 256, 1, bias=False)
    dilate(resnet.layer3, 2, 2)
    dilate(resnet.layer4, 4, 4)
    state = ours.state_dict()
    stages = [resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4]
    for n, stage in enumerate(stages, 1):
        prefix = f"layer{n}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        stage.eval().load_state_dict(own)

    def unit(x: torch.Tensor, conv: str, norm: str, stride: int = 1, pad: int = 1) -> torch.Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=pad)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{norm}.{k}"] for k in names)).relu()

    def forward(image: torch.Tensor) -> torch.Tensor:
        x = unit(image, "layer0.0", "layer0.1", stride=2)
        x = unit(unit(x, "layer0.3", "layer0.4"), "layer0.6", "layer0.7")
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in stages:
            x = stage(x)
        maps = [x]
        for n, bins in enumerate((1, 2, 3, 6)):
            path = f"ppm.features.{n}"
            y = unit(F.adaptive_avg_pool2d(x, bins), f"{path}.1", f"{path}.2", pad=0)
            maps.append(F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True))
        x = unit(torch.cat(maps, 1), "cls.0", "cls.1")
        x = F.conv2d(x, state["cls.4.weight"], state["cls.4.bias"])
        return F.interpolate(x, image.shape[-2:], mode="bilinear", align_corners=True)

    return forward


def test_pspnet_equals_one_put_together_by_hand() -> None:
    ours = randomised(model("pspnet50"))
    by_hand = pspnet_by_hand(ours)
    image = torch.randn(1, 3, 73, 57)
    with torch.no_grad():
        assert difference(ours(image)["logits"], by_hand(image)) < TOLERANCE


# --- dilated residual networks --------------------------------------------------------------

DRN = [
    ("drn_a_18", 11_689_512),
    ("drn_a_34", 21_797_672),
    ("drn_a_50", 25_557_032),
    ("drn_b_26", 21_126_584),
    ("drn_c_26", 21_126_584),
    ("drn_c_42", 31_234_744),
    ("drn_c_58", 41_591_608),
    ("drn_d_22", 16_393_752),
    ("drn_d_38", 26_501_912),
    ("drn_d_54", 35_809_176),
    ("drn_d_105", 54_801_304),
]
NAMES = [name for name, _ in DRN]
UP = 19 * 16 * 16  # the frozen deconvolution


@pytest.mark.parametrize(("name", "total"), DRN)
def test_drn_totals_for_classification(name: str, total: int) -> None:
    assert totals(name) == (total, total)


@pytest.mark.parametrize(("name", "total"), DRN)
def test_drn_totals_for_segmentation(name: str, total: int) -> None:
    """A 1x1 convolution to 19 classes takes the place of 1000 scores."""
    width = 2048 if name == "drn_a_50" else 512
    trunk = total - (1000 * width + 1000)
    assert totals(name, **SEGMENT)[0] == trunk + (19 * width + 19) + UP


def test_drnseg_totals_as_published() -> None:
    for name, total in [
        ("drn_d_22", 15_890_499),
        ("drn_d_105", 54_298_051),
        ("drn_a_50", 23_546_963),
    ]:
        found = table(checked(name, **SEGMENT)).totals
        assert (found.trainable, found.params) == (total, total + UP)


def test_the_projection_of_drn_c_58_that_nothing_reads_is_kept() -> None:
    dead = [r for r in table(checked("drn_c_58")).rows if r.node.only == "checkpoint"]
    assert {r.node.name for r in dead} == {"layer7.0.downsample.0", "layer7.0.downsample.1"}
    assert sum(r.params for r in dead) == 1_049_600
    assert all(r.node.only is None for r in table(checked("drn_c_42")).rows)


@pytest.mark.parametrize("name", NAMES)
def test_drn_keeps_28_pixels_of_224(name: str) -> None:
    found = sizes(name, 224, 224)
    last = [shape for node, shape in found.items() if node.startswith("layer")][-1]
    assert last[2:] == (28, 28)
    assert found["fc"][:2] == (1, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_drn_segmentation_rounds_up_to_multiples_of_8(name: str) -> None:
    for height, width in [(1, 7), (8, 9), (897, 900)]:
        up = sizes(name, height, width, **SEGMENT)["up"]
        assert up == (1, 19, -(-height // 8) * 8, -(-width // 8) * 8)
    assert checked(name, **SEGMENT).domain.constraints() == ()


@pytest.mark.parametrize(("name", "last"), [("drn_a_18", 224), ("drn_c_26", 440)])
def test_drn_classifies_sizes_with_one_window_only(name: str, last: int) -> None:
    """Windows of 28 pixels follow each other at once, but in DRN-A, where they overlap."""
    domain = checked(name).domain
    accepted = [h for h in range(200, 500) if domain.contains({"H": h, "W": 224})]
    assert accepted == list(range(217, last + 1))


def rates(name: str, stage: str) -> list[int]:
    """The dilations of the 3x3 convolutions of a stage, in order."""
    nodes = checked(name).graph.nodes
    ops = [n.op for n in nodes if n.name.startswith(f"{stage}.") and n.op.name == "conv2d"]
    return [op.dilation[0] for op in ops if op.kernel_size == (3, 3)]


def test_dilations_of_the_families() -> None:
    assert rates("drn_a_18", "layer3") == [1, 1, 2, 2]  # the first block keeps dilation 1
    assert rates("drn_a_50", "layer4") == [1, 4, 4]
    for name in ("drn_c_26", "drn_d_22"):
        assert rates(name, "layer5") == [2, 2, 2, 2]
        assert rates(name, "layer6") == [4, 4, 4, 4]
    assert rates("drn_c_26", "layer7") == rates("drn_b_26", "layer7") == [2, 2]
    assert rates("drn_d_22", "layer7") == [2] and rates("drn_d_22", "layer8") == [1]
    assert rates("drn_d_105", "layer5") == [2] * 23


@pytest.mark.parametrize(("name", "theirs"), [("drn_a_18", "resnet18"), ("drn_a_50", "resnet50")])
def test_drn_a_is_torchvisions_resnet_with_dilations(name: str, theirs: str) -> None:
    resnet = randomised(getattr(torchvision.models, theirs)(weights=None))
    dilate(resnet.layer3, 1, 2)
    dilate(resnet.layer4, 1, 4)
    ours = model(name)
    ours.load_state_dict(resnet.state_dict(), strict=True)
    image = torch.randn(1, 3, 224, 218)
    with torch.no_grad():
        assert difference(ours(image), resnet(image)) < TOLERANCE


def test_the_shortcuts_are_all_that_tells_b_from_c() -> None:
    b, c = model("drn_b_26", **SEGMENT), model("drn_c_26", **SEGMENT)
    c.load_state_dict(b.state_dict(), strict=True)
    image = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        assert difference(b(image), c(image)) > 0.01
        for net, shortcut in ((b, 1), (c, 0)):
            x = torch.randn(1, 512, 5, 6)
            block = net.layer8[0]
            y = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
            torch.testing.assert_close(block(x), (y + shortcut * x).relu())


# --- what the specs needed of the language ---------------------------------------------------


def test_expressions_compare_words() -> None:
    assert evaluate("task == 'segmentation'", {"task": "segmentation"}) is True
    assert evaluate("1 if task != 'a b' else 2", {"task": "a b"}) == 2
    with pytest.raises(Fail):
        checked("drn_a_18", task="segmentations")


def test_a_variant_takes_another_schedule_than_its_base() -> None:
    assert list(checked("drn_d_54", **SEGMENT).graph.recipe["schedule"]) == ["step"]
    assert list(checked("drn_d_105", **SEGMENT).graph.recipe["schedule"]) == ["poly"]


@pytest.mark.parametrize("name", NAMES)
def test_drn_has_a_recipe_for_each_task(name: str) -> None:
    recipe = checked(name).graph.recipe
    assert (recipe["epochs"], recipe["batch_size"], recipe["crop"]) == (120, 256, [224, 224])
    assert recipe["optimizer"]["sgd"]["lr"] == 0.1 and recipe["schedule"]["step"]["size"] == 30
    assert "resized_crop" in recipe["augment"] and "inference" not in recipe
    other = checked(name, **SEGMENT).graph.recipe
    largest = name == "drn_d_105"
    assert (other["epochs"], other["batch_size"]) == ((500, 16) if largest else (250, 32))
    assert other["crop"] == ([840, 840] if largest else [896, 896])
    assert other["augment"]["flip"] and not other["augment"]["resized_crop"]
    assert other["inference"]["average"] == "log_probabilities"
