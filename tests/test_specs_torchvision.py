"""Specs of torchvision's networks against torchvision: its state dicts load strict, with the same
keys, and the outputs are equal, at odd sizes too."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from emit_kit import builder, network
from torchvision.models import segmentation

from segc.analyse import shapes, table
from segc.emit.module import model_source

SPECS = Path(__file__).resolve().parent.parent / "specs"
TOLERANCE = 1e-5  # of the largest output, float32
AUX = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
NAMES = (*AUX, "lraspp_mobilenet_v3_large")


@cache
def checked(name: str) -> Any:
    return builder(str(SPECS / f"{name}.yaml"))({})


@cache
def pair(name: str) -> tuple[Any, Any]:
    """(ours, torchvision's) with the same random weights and running statistics."""
    torch.manual_seed(0)
    options = {"aux_loss": True} if name in AUX else {}
    theirs = getattr(segmentation, name)(weights=None, weights_backbone=None, **options)
    for key, value in theirs.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.2)
    ours = network(model_source(builder(str(SPECS / f"{name}.yaml"))))()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    with torch.no_grad():
        return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_is_torchvisions_key_by_key(name: str) -> None:
    ours, theirs = pair(name)
    wanted = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (65, 47), (33, 81)])
def test_evaluation_gives_torchvisions_output(name: str, size: tuple[int, int]) -> None:
    ours, theirs = pair(name)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got, wanted = ours.eval()(image), theirs.eval()(image)["out"]
    if name in AUX:
        assert list(got) == ["out"]  # the auxiliary head exists in training only
        got = got["out"]
    assert got.shape == wanted.shape
    assert largest_difference(got, wanted) < TOLERANCE


@pytest.mark.parametrize("name", AUX[::2])
def test_training_gives_both_outputs_and_the_same_gradients(name: str) -> None:
    ours, theirs = pair(name)
    before = {k: v.clone() for k, v in theirs.state_dict().items()}
    image = torch.randn(2, 3, 41, 57, generator=torch.Generator().manual_seed(2))
    results = []
    for model in (ours.train(), theirs.train()):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # the two would draw different masks
        outputs = model(image)
        assert list(outputs) == ["out", "aux"]
        (outputs["out"].square().mean() + 0.5 * outputs["aux"].square().mean()).backward()
        results.append((outputs, model.backbone.conv1.weight.grad))
    for key in ("out", "aux"):
        assert largest_difference(results[0][0][key], results[1][0][key]) < TOLERANCE
    assert largest_difference(results[0][1], results[1][1]) < 1e-3  # sums of many small terms
    for model in (ours, theirs):
        model.load_state_dict(before)


TOTALS = [
    ("fcn_resnet50", 35_322_218, 32_957_013),
    ("fcn_resnet101", 54_314_346, 51_949_141),
    ("deeplabv3_resnet50", 42_004_074, 39_638_869),
    ("deeplabv3_resnet101", 60_996_202, 58_630_997),
    ("lraspp_mobilenet_v3_large", 3_221_538, 3_221_538),
]


@pytest.mark.parametrize(("name", "trained", "used"), TOTALS)
def test_parameter_totals_with_and_without_the_auxiliary_head(
    name: str, trained: int, used: int
) -> None:
    rows = table(checked(name)).rows
    assert sum(r.params for r in rows) == trained
    assert sum(r.params for r in rows if r.node.only is None) == used


@pytest.mark.parametrize("name", NAMES)
def test_every_size_is_accepted(name: str) -> None:
    assert checked(name).domain.constraints() == ()


@pytest.mark.parametrize("name", AUX)
def test_the_trunk_keeps_stride_8(name: str) -> None:
    found = {r.node: s for r, s in shapes(checked(name), {"N": 1, "H": 520, "W": 520}).items()}
    assert found["backbone.layer3.0.relu"] == (1, 1024, 65, 65)
    assert found["backbone.layer4.2.relu"] == (1, 2048, 65, 65)
    assert found["out"] == found["aux"] == (1, 21, 520, 520)


@pytest.mark.parametrize("name", AUX)
def test_the_first_block_of_a_dilated_stage_keeps_the_dilation_before_it(name: str) -> None:
    nodes = checked(name).graph.by_name
    rates = {
        block: nodes[f"backbone.{block}.conv2"].op.dilation[0]
        for block in ("layer3.0", "layer3.1", "layer4.0", "layer4.1", "layer4.2")
    }
    assert list(rates.values()) == [1, 2, 2, 4, 4]


def test_lraspp_reads_strides_8_and_16() -> None:
    name = "lraspp_mobilenet_v3_large"
    found = {r.node: s for r, s in shapes(checked(name), {"N": 1, "H": 520, "W": 520}).items()}
    assert found["classifier.low_classifier"] == (1, 21, 65, 65)
    assert found["classifier.cbr.2"] == (1, 128, 33, 33)
    assert found["classifier.scale.2"] == (1, 128, 1, 1)
