"""Detectors of the literature: published totals to the unit, sizes, and what goes through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from specs_kit import load, module, sizes

from segc.analyse import table

# (spec, parameters, total, trainable): the prototxt files' sums, torchvision's, or computed.
TOTALS: list[tuple[str, dict[str, Any], int, int | None]] = [
    ("localization_vgg16", {}, 138_373_932, 138_373_932),
    ("localization_vgg16", {"per_class": True}, 138_373_932 - 16_388 + 16_388_000, None),
    ("deeppose", {}, 3 * 58_363_284, None),
    ("deeppose", {"joints": 14}, 3 * 58_396_060, None),
    ("deeppose", {"groups": 2}, 3 * 56_950_164, None),
    ("deeppose", {"joints": 14, "groups": 2}, 3 * 56_982_940, None),
    ("rcnn", {}, 56_954_261, None),
    ("spp_net_classifier", {}, 77_037_672, None),
    ("spp_net", {}, 3_726_464 + 69_300_245, 69_300_245),
    ("fast_rcnn_vgg16", {}, 134_690_729, 134_690_729 - 260_160),
    ("fast_rcnn_vgg16", {"classes": 81}, 135_919_829, None),
    ("faster_rcnn_vgg16", {}, 137_078_239, 136_818_079),
    ("faster_rcnn_resnet50_fpn", {}, 41_808_406, None),
    ("faster_rcnn_resnet50_fpn", {"norm": "frozen"}, 41_755_286, None),
    ("faster_rcnn_resnet50_fpn", {"classes": 21}, 41_449_656, None),
    ("mask_rcnn_resnet50_fpn", {"classes": 21}, 44_077_773, None),
    ("mask_rcnn_resnet50_c4", {}, 35_909_612, None),
    ("yolov1", {}, 271_703_550, None),
    ("ssd300_vgg16", {"classes": 21}, 26_285_486, None),
    ("sds", {}, 113_908_501, None),
    ("hypercolumns", {}, 137_718_044, 3_457_500),
    ("densecap", {}, 150_437_263, 150_437_263 - 260_160),
]


@pytest.mark.parametrize(("name", "params", "total", "trainable"), TOTALS)
def test_totals(name: str, params: dict[str, Any], total: int, trainable: int | None) -> None:
    found = table(load(name, **params)).totals
    assert found.params == total
    assert trainable is None or found.trainable == trainable


def test_anchors_of_the_pyramid() -> None:
    """800 x 1344: five levels, the top one 13 x 21."""
    at = sizes("faster_rcnn_resnet50_fpn", 800, 1344)
    maps = [at[f"backbone.fpn.layer_blocks.{n}.0"][1:] for n in range(4)]
    assert maps == [(200, 336), (100, 168), (50, 84), (25, 42)]
    assert at["backbone.fpn.pool"][1:] == (13, 21)
    checked = load("faster_rcnn_resnet50_fpn")
    from segc.analyse import shapes

    found = shapes(checked, {"N": 1, "H": 800, "W": 1344})
    rows = {ref.node: shape[0] for ref, shape in found.items() if shape and ref.port == "out"}
    assert rows["rpn.anchors"] == rows["rpn.logits"] == rows["rpn.deltas"] == 268_569
    masks = {r.node: s for r, s in shapes(load("mask_rcnn_resnet50_fpn"), {
        "N": 1, "H": 800, "W": 1344}).items()}  # fmt: skip
    assert masks["roi_heads.mask_predictor.mask_fcn_logits"] == (100, 91, 28, 28)


def test_caffe_rounds_its_poolings_up() -> None:
    at = sizes("faster_rcnn_vgg16", 600, 1000)
    assert at["trunk.relu5_3"] == (512, 38, 63)
    from segc.analyse import shapes

    found = shapes(load("faster_rcnn_vgg16"), {"N": 1, "H": 600, "W": 1000})
    assert {s[0] for r, s in found.items() if s and r.node == "rpn.anchors"} == {21_546}
    assert sizes("spp_net_classifier", 224, 224)["trunk.relu5"] == (256, 13, 13)


NOTHING = {
    "gt_boxes": torch.zeros(0, 5),
    "gt_labels": torch.zeros(0, dtype=torch.int64),
    "gt_masks": torch.zeros(0, 64, 96),
    "gt_keypoints": torch.zeros(0, 17, 3),
}
ONE_PIXEL = {
    "gt_boxes": torch.tensor([[0.0, 3, 4, 4, 5], [1.0, 0, 0, 96, 64]]),
    "gt_labels": torch.tensor([1, 1]),
    "gt_masks": torch.ones(2, 64, 96),
    "gt_keypoints": torch.ones(2, 17, 3),
}


@pytest.mark.parametrize("name", ["mask_rcnn_nuclei", "keypoint_rcnn_resnet50_fpn"])
@pytest.mark.parametrize("truth", [NOTHING, ONE_PIXEL], ids=["no object", "one pixel"])
def test_images_without_objects_and_tiny_ones_go_through(name: str, truth: dict[str, Any]) -> None:
    network = module(name)()
    torch.manual_seed(0)
    image, extent = torch.randn(2, 3, 64, 96), torch.tensor([[64.0, 96.0], [60.0, 90.0]])
    read = [i for i in load(name).graph.inputs if i in truth]
    losses = network.train()(image, extent, **{k: truth[k] for k in read})
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    with torch.no_grad():
        for p in network.roi_heads.box_predictor.cls_score.parameters():
            p.zero_()
        network.roi_heads.box_predictor.cls_score.bias[0] = 20  # all background
        found = network.eval()(image, extent)
    assert len(found["boxes"]) == len(found["labels"]) == 0


def test_no_proposals_at_all() -> None:
    """Fast R-CNN's regions come from elsewhere: there may be none."""
    network = module("rcnn")().eval()
    with torch.no_grad():
        found = network(torch.randn(1, 3, 64, 96), torch.tensor([[64.0, 96.0]]), torch.zeros(0, 5))
    assert len(found["boxes"]) == 0 and found["features"].shape == (0, 4096)
