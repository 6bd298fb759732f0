"""MNC and Mask R-CNN C4: totals, weights that are there once, sizes, traps."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from specs_kit import layer, load, module, sizes
from torch import Tensor

from segc.analyse import shapes, table

C4, MNC = "mask_rcnn_resnet50_c4", "mnc"
EXTENT = torch.tensor([[64.0, 96.0], [60.0, 90.0]])
NONE = {
    "gt_boxes": torch.zeros(0, 5),
    "gt_labels": torch.zeros(0, dtype=torch.int64),
    "gt_masks": torch.zeros(0, 64, 96),
}
ONE_IMAGE = {  # the second image has no object; the second object is one pixel
    "gt_boxes": torch.tensor([[0.0, 10, 10, 50, 40], [0, 3, 4, 4, 5]]),
    "gt_labels": torch.tensor([3, 1]),
    "gt_masks": torch.zeros(2, 64, 96),
}
ONE_IMAGE["gt_masks"][0, 12:38, 12:45] = 1
ONE_IMAGE["gt_masks"][1, 4, 3] = 1


@cache
def network(name: str) -> Any:
    torch.manual_seed(0)
    return module(name)()


def images() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def rows_of(name: str, height: int, width: int) -> dict[str, Any]:
    found = shapes(load(name), {"N": 1, "H": height, "W": width})
    return {ref.node: shape for ref, shape in found.items() if ref.port == "out"}


# --- Mask R-CNN C4 ----------------------------------------------------------------------------


def test_c4_totals() -> None:
    found = table(load(C4)).totals
    assert found.params == 35_909_612
    assert found.params - found.trainable == 222_400  # first convolution and stage
    assert found.params - 2_048 * 256 * 4 - 256 - 256 * 80 - 80 == 33_791_644  # without masks


def test_c4_has_its_last_stage_once() -> None:
    keys = list(network(C4).state_dict())
    assert not [k for k in keys if "mask_res5" in k]
    assert sum(k.startswith("roi_heads.res5.") for k in keys) == 10 * 5
    assert sum(p.numel() for p in network(C4).parameters()) == 35_909_612
    again = layer(C4, "roi_heads.mask_res5.0.conv1")
    assert (again.only, again.shared) == ("test", "roi_heads.res5.0.conv1")


def test_c4_sizes() -> None:
    at = sizes(C4, 800, 1344)
    assert at["backbone.res4.5.relu"] == (1024, 50, 84)
    assert at["proposal_generator.rpn_head.conv"] == (1024, 50, 84)
    assert at["roi_heads.pooler"] == (1024, 14, 14) == at["roi_heads.mask_pooler"]
    assert at["roi_heads.res5.2.relu"] == (2048, 7, 7) == at["roi_heads.mask_res5.2.relu"]
    assert at["roi_heads.box_predictor.cls_score"] == (81,)
    assert at["roi_heads.box_predictor.bbox_pred"] == (320,)
    assert at["roi_heads.mask_head.predictor"] == (80, 14, 14)
    assert at["roi_heads.mask_losses.targets"] == (14, 14)
    assert rows_of(C4, 800, 1344)["proposal_generator.anchors"][0] == 50 * 84 * 15


def test_c4_anchors_are_detectron2s() -> None:
    """Size by size, at each the ratios; not rounded, around (0, 0) and every 16 pixels."""
    op = layer(C4, "proposal_generator.anchors").op
    wanted = []
    for size in (32, 64, 128, 256, 512):
        for ratio in (0.5, 1.0, 2.0):
            w = math.sqrt(size**2 / ratio)
            wanted += [w, ratio * w]
    assert list(op.shapes) == pytest.approx(wanted)
    assert (op.rounded, op.offset, op.strides, op.legacy) == (False, 0.0, (16,), False)


def test_c4_pools_at_pixel_centres_with_as_many_samples_as_pixels() -> None:
    for at in ("roi_heads.pooler", "roi_heads.mask_pooler"):
        op = layer(C4, at).op
        assert (op.aligned, op.sampling_ratio) == (True, 0)


def test_c4_stride_is_in_the_first_convolution() -> None:
    assert layer(C4, "roi_heads.res5.0.conv1").op.stride == (2, 2)
    assert layer(C4, "roi_heads.res5.0.conv2").op.stride == (1, 1)
    names = ("backbone.stem.conv1", "backbone.res2.2.conv3", "backbone.res3.0.conv1")
    assert [layer(C4, n).freeze for n in names] == [True, True, False]


def test_c4_losses_of_proposals_are_over_256_an_image() -> None:
    """With logits of 0 each of the 60 anchors costs log 2; drawn or not, 256 divide it."""
    net = network(C4).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        for p in net.proposal_generator.rpn_head.objectness_logits.parameters():
            p.zero_()
        for p in net.roi_heads.box_predictor.cls_score.parameters():
            p.zero_()
        image, extent = torch.randn(1, 3, 32, 32), torch.tensor([[32.0, 32.0]])
        none = NONE | {"gt_masks": torch.zeros(0, 32, 32)}
        found = net(image, extent, **none)
        assert float(found["loss_objectness"]) == pytest.approx(60 * math.log(2) / 256)
        assert float(found["loss_classifier"]) == pytest.approx(math.log(81))
        net.roi_heads.box_predictor.cls_score.bias[80] = 30  # background is the last
        assert float(net(image, extent, **none)["loss_classifier"]) < 1e-6
        assert len(net.eval()(image, extent)["boxes"]) == 0
    net.load_state_dict(before)


def test_c4_masks_are_of_features_computed_again() -> None:
    net = network(C4).eval()
    with torch.no_grad():
        found = net(images(), EXTENT)
        assert len(found["boxes"]) > 10
        assert int(found["labels"].min()) >= 1 and int(found["labels"].max()) <= 80
        maps = net.backbone(images())
        x = torchvision.ops.roi_align(maps, found["boxes"], 14, 1 / 16, 0, aligned=True)
        x = net.roi_heads.mask_head(net.roi_heads.res5(x)).sigmoid()
        own = x[torch.arange(len(x)), found["labels"] - 1][:, None]
    torch.testing.assert_close(found["masks"], own, rtol=1e-4, atol=1e-5)


# --- MNC --------------------------------------------------------------------------------------


def test_mnc_has_its_weights_once() -> None:
    found = table(load(MNC)).totals
    assert (found.params, found.params - found.trainable) == (283_029_933, 260_160)
    keys = [k for k, _ in network(MNC).named_parameters()]
    assert len(keys) == 2 * (13 + 3 + 2 + 7)
    assert not [k for k in keys if "stage4" in k or "stage5" in k or "ext" in k]
    again = sum(p.numel() for k, p in network(MNC).named_parameters() if k.startswith("stage"))
    assert 283_029_933 + again == 548_957_668  # what copies would come to


def test_mnc_sizes() -> None:
    at = sizes(MNC, 600, 1000)
    assert at["trunk.relu5_3"] == (512, 38, 63)
    assert at["roi_warp"] == (512, 28, 28) and at["roi_pool"] == (512, 14, 14)
    for stage in ("stage2", "stage4"):
        assert at[f"{stage}.fc6_maskest"] == (256,) and at[f"{stage}.mask_pred"] == (441,)
        assert at[f"{stage}.logits"] == (21, 21)
    for stage in ("stage3", "stage5"):
        assert at[f"{stage}.mask_resize"] == (1, 14, 14)
        assert at[f"{stage}.box_pool"] == at[f"{stage}.mask_pool"] == (512, 7, 7)
        assert at[f"{stage}.join_box_mask"] == (8192,)
        assert at[f"{stage}.cls_score"] == at[f"{stage}.seg_cls_score"] == (21,)
        assert at[f"{stage}.bbox_pred"] == (84,)
    at_rows = rows_of(MNC, 600, 1000)
    assert at_rows["rpn.anchors"][0] == 21_546
    assert at_rows["rpn.proposals.best"][0] == 300
    assert at_rows["voted.instances"][0] == 600 and at_rows["voted.voted"] == (100, 1, 600, 1000)
    assert at_rows["sampled.sample"][0] == 64


def test_mnc_losses_and_their_weights() -> None:
    weights = {k: v.get("weight", 1) for k, v in load(MNC).graph.losses.items()}
    assert len(weights) == 10
    assert {k for k, w in weights.items() if w == 2} == {"mask", "mask_ext"}
    assert set(weights.values()) == {1, 2}


def test_mnc_differs_between_phases_as_released() -> None:
    for at, warp, skip, delta in (
        ({}, (14, 14), 0, (1, 1, 1, 1)),
        ({"released": False}, (28, 28), 1, (10, 10, 5, 5)),
    ):
        assert layer(MNC, "pooled_ext.warp", **at).op.output_size == (28, 28)
        assert layer(MNC, "pooled_ext.test_warp", **at).op.output_size == warp
        assert layer(MNC, "bridge.moved.best", **at).op.skip == 1
        assert layer(MNC, "bridge.test.best", **at).op.skip == skip
        assert layer(MNC, "bridge.moved.moved", **at).op.delta_weights == delta
        assert layer(MNC, "bridge.test.moved", **at).op.delta_weights == (10, 10, 5, 5)
        assert sizes(MNC, 64, 96, **at)["stage4.logits"] == (21, 21)


def test_mnc_gradients_pass_through_boxes() -> None:
    """The box loss of stage 5 reaches the deltas of stages 1 and 3, and the map."""
    net = network(MNC).train()
    net.zero_grad()
    torch.manual_seed(3)
    image = torch.randn(1, 3, 240, 320)  # large enough for anchors that lie inside
    truth = {k: v[:1] for k, v in ONE_IMAGE.items()} | {"gt_masks": torch.zeros(1, 240, 320)}
    truth["gt_boxes"] = torch.tensor([[0.0, 40, 30, 250, 200]])
    truth["gt_masks"][:, 50:180, 60:220] = 1
    net(image, torch.tensor([[240.0, 320.0]]), **truth)["loss_box_ext"].backward()
    grads = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    assert grads["trunk.conv5_3.weight"].any()
    assert grads["stage3.bbox_pred.weight"].any() and grads["rpn.maps.bbox_pred.weight"].any()
    assert "rpn.maps.cls_score.weight" not in grads  # scores only choose
    assert all(torch.isfinite(g).all() for g in grads.values())
    net.zero_grad()


# --- both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [C4, MNC])
@pytest.mark.parametrize("truth", [NONE, ONE_IMAGE], ids=["no object", "one image without"])
def test_goes_through(name: str, truth: dict[str, Tensor]) -> None:
    net = network(name).train()
    net.zero_grad()
    torch.manual_seed(2)
    losses = net(images(), EXTENT, **truth)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)
    if not len(truth["gt_boxes"]):
        assert all(v.item() == 0 for k, v in losses.items() if "box" in k or "mask" in k)
    net.zero_grad()
    with torch.no_grad():
        found = net.eval()(images(), EXTENT)
    assert {len(v) for v in found.values()} == {len(found["boxes"])}
    assert found["masks"].shape[1:] == ((1, 14, 14) if name == C4 else (1, 64, 96))


@pytest.mark.parametrize("name", [C4, MNC])
def test_without_proposals(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no box is large enough, ground truth alone is looked at; there may be none of it."""
    net = network(name)
    extent = torch.zeros(2, 2) if name == C4 else EXTENT  # a box in an image of 0 x 0 has no side
    if name == MNC:
        monkeypatch.setattr(net.rpn.proposals, "min_side", 1e4)
    with torch.no_grad():
        for truth in (NONE, ONE_IMAGE):
            losses = net.train()(images(), extent, **truth)
            assert all(torch.isfinite(v) for v in losses.values())
        found = net.eval()(images(), extent)
    assert all(len(v) == 0 for v in found.values())
