"""Detectors of the time of Caffe and darknet: parts of their totals, sizes of the papers, what the
authors' code does otherwise than one would think, and data without objects or regions."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from specs_kit import layer, load, module, run, sizes
from torch import Tensor

from segc.analyse import shapes, table
from segc.ir import Ref

VGG = 14_714_688
FROZEN = 260_160  # conv1_1 to conv2_2
COCO = {"classes": 81, "anchors": 12, "anchor_sizes": (64, 128, 256, 512)}

# --- totals -------------------------------------------------------------------------------------

TOTALS: list[tuple[str, dict[str, Any], int, int]] = [
    ("fast_rcnn_vgg16", {"classes": 81}, 135_919_829, FROZEN),
    ("faster_rcnn_vgg16", COCO, 138_316_573, FROZEN),
    ("yolov1", {"version": "head"}, 197_301_875, 0),
]


@pytest.mark.parametrize(("name", "params", "total", "frozen"), TOTALS)
def test_parameter_total_is_the_published_one(
    name: str, params: dict[str, Any], total: int, frozen: int
) -> None:
    totals = table(load(name, **params)).totals
    assert (totals.params, totals.params - totals.trainable) == (total, frozen)


PARTS = [
    ("fast_rcnn_vgg16", "trunk.", VGG),
    ("fast_rcnn_vgg16", "head.", 102_764_544 + 16_781_312),
    ("faster_rcnn_vgg16", "rpn.", 2_387_510),
    ("rcnn", "trunk.", 34_944 + 307_456 + 885_120 + 663_936 + 442_624),
    ("sds", "fc8_pascal", 21 * 8193),
    ("spp_net", "head.", 12_801 * 4096 + 16_781_312),
    ("deeppose", "stage1.fc6", 37_752_832),
    ("yolov1", "fc1", 50_177 * 4096),
]


@pytest.mark.parametrize(("name", "prefix", "total"), PARTS)
def test_parts_have_their_published_share(name: str, prefix: str, total: int) -> None:
    rows = table(load(name)).rows
    assert sum(r.params for r in rows if r.node.name.startswith(prefix)) == total


# --- sizes --------------------------------------------------------------------------------------

SHAPES: list[tuple[str, dict[str, Any], dict[str, tuple[int, ...]]]] = [
    ("faster_rcnn_vgg16", {}, {"trunk.pool1": (64, 300, 500), "trunk.relu5_3": (512, 38, 63),
        "rpn.maps.cls_score": (18, 38, 63), "rpn.maps.bbox_pred": (36, 38, 63),
        "roi_pool5": (512, 7, 7)}),
    ("fast_rcnn_vgg16", {}, {"trunk.relu5_3": (512, 38, 63), "head.flatten": (25_088,),
        "scores.cls_score": (21,), "scores.bbox_pred": (84,)}),
    ("rcnn", {}, {"crops": (3, 227, 227), "trunk.conv1": (96, 55, 55), "trunk.pool1": (96, 27, 27),
        "trunk.conv2": (256, 27, 27), "trunk.pool2": (256, 13, 13), "trunk.pool5": (256, 6, 6)}),
    ("sds", {}, {"crops": (3, 227, 227), "join": (8192,)}),
    ("deeppose", {}, {"crops": (3, 220, 220), "stage1.conv1": (96, 55, 55),
        "stage1.conv2": (256, 27, 27), "stage1.conv5": (256, 13, 13), "stage1.pool5": (256, 6, 6),
        "stage1.pose": (20,), "stage2.own": (1, 2), "stage3": (10, 2)}),
    ("hypercolumns", {}, {"conv_pool3": (500, 75, 125), "conv_pool4": (500, 38, 63),
        "ups_pool3": (25, 50, 50), "ups_pool4": (25, 50, 50), "mask": (1, 50, 50)}),
    ("spp_net", {}, {"pooled": (12_800,)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params", "wanted"), SHAPES)
def test_sizes_at_600_by_1000(
    name: str, params: dict[str, Any], wanted: dict[str, tuple[int, ...]]
) -> None:
    checked = load(name, **params)
    found = shapes(checked, {"N": 1, "H": 600, "W": 1000})
    for at, size in wanted.items():
        value = checked.graph.scopes[at].output if at in checked.graph.scopes else Ref(at)
        assert found[value][1:] == size, at


def test_anchors_at_600_by_1000() -> None:
    checked = load("faster_rcnn_vgg16")
    found = shapes(checked, {"N": 1, "H": 600, "W": 1000})
    assert found[Ref("rpn.anchors")] == (21_546, 5)
    assert found[Ref("rpn.logits")] == (21_546, 2)
    assert found[Ref("rpn.deltas")] == (21_546, 4)


def test_sizes_of_spp_nets_classifier() -> None:
    found = sizes("spp_net_classifier", 224, 224)
    sides = {"trunk.conv1": 110, "trunk.pool1": 55, "trunk.conv2": 26, "trunk.pool2": 13}
    assert {at: found[at][1:] for at in sides} == {at: (n, n) for at, n in sides.items()}
    assert found["trunk.relu5"] == (256, 13, 13) and found["spp"] == (12_800,)


@pytest.mark.parametrize(("version", "values"), [("paper", 1470), ("head", 1715)])
def test_sizes_of_yolo(version: str, values: int) -> None:
    found = shapes(load("yolov1", version=version), {"N": 1})
    assert found[Ref("conv11.leaky")] == (1, 1024, 7, 7)
    assert found[Ref("cells")] == (1, values)
    boxes = 49 * (3 if version == "head" else 2)
    assert found[Ref("detections.all", "scores")] == (boxes, 21)
    assert sum(n.op.name == "conv2d" for n in load("yolov1").graph.nodes) == 24


# --- what the authors' code does -----------------------------------------------------------------


def test_anchors_are_those_of_py_faster_rcnn() -> None:
    anchors = run("faster_rcnn_vgg16", "rpn.anchors", torch.zeros(1, 3, 16, 16),
                  torch.zeros(1, 512, 1, 1))[0]  # fmt: skip
    assert anchors[:, 1:].int().tolist() == [
        [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
        [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
        [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
    ]  # fmt: skip


def test_scores_of_anchors_stand_in_blocks_and_deltas_do_not() -> None:
    scores = torch.arange(18.0).view(1, 18, 1, 1)
    rows = run("faster_rcnn_vgg16", "rpn.logits", scores)
    assert rows.tolist() == [[a, a + 9] for a in range(9)]
    rows = run("faster_rcnn_vgg16", "rpn.deltas", torch.arange(36.0).view(1, 36, 1, 1))
    assert rows.tolist() == [[4 * a + v for v in range(4)] for a in range(9)]


@pytest.mark.parametrize("name", ["fast_rcnn_vgg16", "faster_rcnn_vgg16", "hypercolumns"])
def test_poolings_round_up(name: str) -> None:
    pools = [n.op for n in load(name).graph.nodes if n.op.name == "max_pool2d"]
    assert len(pools) == 4 and all(op.ceil_mode for op in pools)  # type: ignore[attr-defined]


def test_caffenet_pools_before_it_normalises() -> None:
    names = [n.name for n in load("rcnn").graph.nodes]
    assert names.index("trunk.pool1") < names.index("trunk.norm1")
    names = [n.name for n in load("deeppose").graph.nodes]  # AlexNet does not
    assert names.index("stage1.norm1") < names.index("stage1.pool1")


SAMPLING = [
    ("rcnn", "sampled", 64, 0.25, 0.5, 0.0),
    ("spp_net", "sampled", 64, 0.25, 0.5, 0.1),
    ("fast_rcnn_vgg16", "sampled", 64, 0.25, 0.5, 0.1),
    ("faster_rcnn_vgg16", "sampled", 128, 0.25, 0.5, 0.0),
]


@pytest.mark.parametrize(("name", "at", "count", "positive", "high", "floor"), SAMPLING)
def test_regions_are_drawn_as_published(
    name: str, at: str, count: int, positive: float, high: float, floor: float
) -> None:
    sample: Any = layer(name, f"{at}.sample").op
    match: Any = layer(name, f"{at}.match_all").op
    assert (sample.count, sample.positive) == (count, positive)
    assert (match.high, match.below, match.floor) == (high, high, floor)


def test_every_box_is_of_inclusive_pixels() -> None:
    for name in ("rcnn", "spp_net", "fast_rcnn_vgg16", "faster_rcnn_vgg16", "sds"):
        types = [t for t in load(name).types.values() if hasattr(t, "legacy")]
        assert types and all(t.legacy for t in types), name


def test_both_paths_of_sds_have_weights_of_their_own() -> None:
    rows = table(load("sds")).rows
    for path in ("box", "region"):
        own = sum(
            r.params for r in rows if r.node.name.startswith((f"{path}_path.", f"{path}_head."))
        )
        assert own == 113_736_448 // 2
    assert not any(r.node.shared for r in rows)


# --- with and without objects ---------------------------------------------------------------------

H, W = 96, 128
BOXES = torch.tensor([[0, 10.0, 8, 60, 70], [1, 20, 20, 100, 90], [1, 5, 40, 50, 80]])
LABELS = torch.tensor([3, 1, 7])
NETWORKS = ("localization_vgg16", "deeppose", "rcnn", "spp_net", "fast_rcnn_vgg16",
            "faster_rcnn_vgg16", "yolov1", "sds", "hypercolumns")  # fmt: skip


@cache
def network(name: str) -> Any:
    return module(name)()


def inputs(name: str, objects: int, regions: int, images: int = 2) -> dict[str, Tensor]:
    """Two images with three objects and six regions, or as many of them as are asked for."""
    declared = load(name).graph.inputs
    size = [d for d in declared["image"].shape if isinstance(d, int)]
    h, w = size[1:] if len(size) == 3 else (H, W)
    torch.manual_seed(0)
    shift = torch.tensor([0.0, 3, -2, 4, 3])
    masks = torch.zeros(3, h, w)
    masks[:, 20:60, 20:50] = 1
    given = {
        "image": torch.randn(images, 3, h, w),
        "sizes": torch.tensor([[h, w]] * images, dtype=torch.float32),
        "rois": torch.cat([BOXES[:1], BOXES[:1] + shift, BOXES[1:], BOXES[1:] + shift])[:regions],
        "roi_labels": torch.tensor([3, 3, 1, 7, 1, 7])[:regions],
        "region_masks": torch.ones(6, 227, 227)[:regions],
        "gt_boxes": BOXES[:objects],
        "gt_labels": LABELS[:objects],
        "gt_masks": masks[:objects],
        "gt_keypoints": torch.rand(3, 10, 3)[:objects] * 60,
    }
    return {n: v for n, v in given.items() if n in declared}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("objects", "regions"), [(3, 6), (0, 6), (1, 6), (3, 0), (0, 0)])
def test_data_without_objects_or_regions(name: str, objects: int, regions: int) -> None:
    net = network(name)
    given = inputs(name, objects, regions)
    with torch.no_grad():
        losses = net.train()(**given)
        found = net.eval()(**{n: v for n, v in given.items() if not n.startswith("gt_")})
    assert losses and all(n.startswith("loss_") for n in losses)
    assert all(v.shape == () and v.isfinite() for v in losses.values())
    assert found and not any(n.startswith("loss_") for n in found)
    if {"boxes", "labels", "scores"} <= set(found):
        assert found["boxes"].shape == (len(found["labels"]), 5)
        assert found["scores"].shape == found["labels"].shape


@pytest.mark.parametrize("name", ["rcnn", "spp_net", "hypercolumns"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_does(name: str) -> None:
    net = network(name).train()
    net.zero_grad()
    sum(net(**inputs(name, 3, 6)).values()).backward()
    for key, p in net.named_parameters():
        assert (p.grad is not None) == p.requires_grad, key
    net.zero_grad()


def test_what_lies_outside_the_image_is_the_mean_colour() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 31, 31]])
    crop = run("rcnn", "crops", boxes.double(), torch.ones(1, 3, 32, 32).double())
    assert crop.shape == (1, 3, 227, 227)
    inside = slice(17, 203)  # 16 and 211 but for the rounding to pixels of the image
    assert torch.allclose(crop[0, :, inside, inside], torch.ones(3, 186, 186).double())
    assert (crop > 0).sum() == 3 * 186**2


def test_cells_of_yolo_are_laid_out_as_in_darknet() -> None:
    """Cell 10 is in row 1, column 3; its second box lies there and has class 4's score."""
    x = torch.zeros(1, 1470).double()
    x[0, 10 * 20 + 4] = 0.5
    x[0, 49 * 20 + 10 * 2 + 1] = 0.8
    x[0, 49 * 22 + (10 * 2 + 1) * 4 :][:4] = torch.tensor([0.5, 0.25, 0.5, 0.3]).double()
    boxes, scores = run("yolov1", "detections.all", x, torch.zeros(1, 3, 448, 448).double())
    cx, cy, w, h = 3.5 * 64, 1.25 * 64, 0.25 * 448, 0.09 * 448
    wanted = torch.tensor([0, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).double()
    assert torch.allclose(boxes[21], wanted)
    assert scores[21, 5] == pytest.approx(0.4) and scores[:, 0].abs().max() == 0
    assert (scores > 0).sum() == 1


def test_an_image_is_a_box_that_localisation_is_relative_to() -> None:
    net = network("localization_vgg16").eval()
    with torch.no_grad():
        net.box.weight.zero_()
        net.box.bias.copy_(torch.tensor([-0.5, -0.5, 0.5, 0.25]))
        found = net(torch.zeros(1, 3, 224, 224))
    assert found["boxes"].tolist() == [[0, 0, 0, 224, 168]] * 5
    assert found["labels"].min() >= 1 and len(set(found["labels"].tolist())) == 5


def test_later_stages_of_deeppose_look_around_each_joint() -> None:
    """With a network that answers 0 every stage leaves the joints where they are."""
    net = network("deeppose").eval()
    points = torch.rand(10, 2) - 0.5
    with torch.no_grad():
        for stage in (net.stage1, net.stage2.net, net.stage3.net):
            stage.pose.weight.zero_()
            stage.pose.bias.zero_()
        net.stage1.pose.bias.copy_(points.flatten())
        pose = net(torch.zeros(1, 3, H, W))["pose"]
    wanted = (points + 0.5) * torch.tensor([W, H])
    assert torch.allclose(pose[0], wanted, atol=1e-3)
