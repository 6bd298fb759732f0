"""Faster, Mask and Keypoint R-CNN against torchvision: weights, detections, losses, gradients."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from segc.build import Maker
from segc.emit.module import model_source
from segc.source import Source
from segc.verify import import_source, trained_like

SPECS = {
    "fasterrcnn_resnet50_fpn": ("specs/faster_rcnn_resnet50_fpn.yaml", "FasterRCNN"),
    "maskrcnn_resnet50_fpn": ("specs/mask_rcnn_resnet50_fpn.yaml", "MaskRCNN"),
    "keypointrcnn_resnet50_fpn": ("specs/keypoint_rcnn_resnet50_fpn.yaml", "KeypointRCNN"),
}
SIZES = [(192, 250), (180, 256)]  # of the images, padded to 192 x 256


@cache
def ours(name: str, **params: Any) -> Any:
    path, model = SPECS[name]
    paste = {"paste": True} if name.startswith("mask") else {}
    source = model_source(Maker(Source.open(path), {**paste, **params}))
    return getattr(import_source(source, name), model)


@cache
def pair(name: str) -> tuple[Any, Any]:
    """torchvision's network with weights as training leaves them, and ours with the same ones."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
    with torch.no_grad():
        trained_like(theirs)
        for block in theirs.backbone.fpn.layer_blocks:  # maps of unit size, as trained ones have
            for p in block.parameters():
                p /= 1400
        for head in (theirs.rpn.head, theirs.roi_heads.box_predictor):
            head.bbox_pred.weight *= 0.1  # boxes of a size to be seen
    network = ours(name)()
    network.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, network


def images() -> tuple[ImageList, Tensor]:
    generator = torch.Generator().manual_seed(1)
    batch = torch.zeros(2, 3, 192, 256)
    for x, (h, w) in zip(batch, SIZES, strict=True):
        x[:, :h, :w] = torch.randn(3, h, w, generator=generator)
    return ImageList(batch, SIZES), torch.tensor(SIZES, dtype=torch.float32)


def truth(classes: int = 91) -> list[dict[str, Tensor]]:
    boxes = [[[10, 20, 110, 90], [30.5, 40, 200, 180], [5, 5, 25, 30]], [[60, 60, 130, 160.0]]]
    labels = [[3, 17, 1], [90]] if classes > 2 else [[1, 1, 1], [1]]
    masks = []
    for own, (h, w) in zip(boxes, SIZES, strict=True):
        found = torch.zeros(len(own), h, w, dtype=torch.uint8)
        for m, (x1, y1, x2, y2) in zip(found, own, strict=True):
            m[int(y1) : int(y2), int(x1) : int(x2) - 7] = 1
        masks.append(found)
    return [
        {
            "boxes": torch.tensor(b),
            "labels": torch.tensor(k),
            "masks": m,
            "keypoints": keypoints(torch.tensor(b)),
        }
        for b, k, m in zip(boxes, labels, masks, strict=True)
    ]


def keypoints(boxes: Tensor) -> Tensor:
    """17 points in and around each box, some of them not labelled."""
    generator = torch.Generator().manual_seed(3)
    place = torch.rand(len(boxes), 17, 2, generator=generator) * 1.2 - 0.1
    points = boxes[:, None, :2] + place * (boxes[:, None, 2:] - boxes[:, None, :2])
    points[:, 0] = boxes[:, 2:]  # on the far corner
    seen = torch.randint(0, 3, (len(boxes), 17, 1), generator=generator).float()
    return torch.cat([points, seen], -1)


def flat(targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Ground truth as our networks read it: rows of all images."""
    numbered = [
        torch.cat([torch.full((len(t["boxes"]), 1), float(n)), t["boxes"]], 1)
        for n, t in enumerate(targets)
    ]
    masks = torch.zeros(sum(len(t["masks"]) for t in targets), 192, 256)
    row = 0
    for t in targets:
        for m in t["masks"]:
            masks[row, : m.shape[0], : m.shape[1]] = m
            row += 1
    labels = torch.cat([t["labels"] for t in targets])
    points = torch.cat([t["keypoints"] for t in targets])
    given = {"gt_boxes": torch.cat(numbered), "gt_labels": labels}
    return given | {"gt_masks": masks, "gt_keypoints": points}


def detections(model: Any, found: ImageList) -> list[dict[str, Tensor]]:
    """torchvision's detections in the frame of the padded batch."""
    features = model.backbone(found.tensors)
    proposals, _ = model.rpn(found, features)
    result, _ = model.roi_heads(features, proposals, found.image_sizes)
    return result


@pytest.mark.parametrize("name", SPECS)
def test_detections_are_torchvisions(name: str) -> None:
    theirs, network = pair(name)
    found, sizes = images()
    with torch.no_grad():
        wanted = detections(theirs.eval(), found)
        got = network.eval()(found.tensors, sizes)
    assert sum(len(w["boxes"]) for w in wanted) > 20
    for n, own in enumerate(wanted):
        rows = got["boxes"][:, 0] == n
        torch.testing.assert_close(got["boxes"][rows, 1:], own["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(got["scores"][rows], own["scores"], rtol=1e-5, atol=1e-6)
        assert torch.equal(got["labels"][rows], own["labels"])
        if "keypoints" in own:
            torch.testing.assert_close(got["keypoints"][rows], own["keypoints"], atol=1e-3, rtol=0)
            scores = own["keypoints_scores"]
            torch.testing.assert_close(got["keypoint_scores"][rows], scores, rtol=1e-4, atol=1e-5)
        if "masks" in own:
            pasted = torchvision.models.detection.roi_heads.paste_masks_in_image(
                own["masks"], own["boxes"], (192, 256)
            )
            torch.testing.assert_close(got["masks"][rows], pasted, rtol=1e-4, atol=1e-5)


def losses(model: Any, found: ImageList, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    features = model.backbone(found.tensors)
    proposals, first = model.rpn(found, features, targets)
    _, second = model.roi_heads(features, proposals, found.image_sizes, targets)
    return {**first, **second}


NAMES = {
    "loss_objectness": "loss_objectness",
    "loss_rpn_box": "loss_rpn_box_reg",
    "loss_classifier": "loss_classifier",
    "loss_box": "loss_box_reg",
    "loss_mask": "loss_mask",
    "loss_keypoint": "loss_keypoint",
}
READ = {"mask": ("gt_masks",), "keyp": ("gt_keypoints",), "fast": ()}


def arguments(name: str, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    read = ("gt_boxes", "gt_labels", *READ[name[:4]])
    return {k: v for k, v in flat(targets).items() if k in read}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("empty", [False, True], ids=["boxes", "an image without boxes"])
def test_losses_and_gradients_are_torchvisions(name: str, empty: bool) -> None:
    theirs, network = pair(name)
    found, sizes = images()
    targets = truth(2 if name.startswith("key") else 91)
    if empty:
        targets[1] = {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, *SIZES[1], dtype=torch.uint8),
            "keypoints": torch.zeros(0, 17, 3),
        }
    results = []
    for model in (theirs, network):
        model.eval()  # batch norms as trained
        model.train() if model is network else model.rpn.train() and model.roi_heads.train()
        for m in network.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.eval()
        model.zero_grad()
        torch.manual_seed(7)
        if model is theirs:
            value = losses(model, found, targets)
        else:
            value = model(found.tensors, sizes, **arguments(name, targets))
        sum(value.values()).backward()
        results.append(value)
    wanted, got = results
    assert set(got) == {k for k, v in NAMES.items() if v in wanted}
    for key, value in got.items():
        torch.testing.assert_close(value, wanted[NAMES[key]], rtol=1e-5, atol=1e-6)
    mine = dict(network.named_parameters())
    for key, p in theirs.named_parameters():
        if p.grad is None:
            assert mine[key].grad is None or not mine[key].grad.any(), key
            continue
        worst = (mine[key].grad - p.grad).abs().max() / p.grad.abs().max().clamp(min=1e-3)
        assert worst < 1e-3, (key, float(worst))


def test_totals() -> None:
    for name, plain, frozen in (
        ("fasterrcnn_resnet50_fpn", 41_808_406, 41_755_286),
        ("maskrcnn_resnet50_fpn", 44_454_513, 44_401_393),
        ("keypointrcnn_resnet50_fpn", 59_190_378, 59_137_258),
    ):
        with torch.device("meta"):
            assert sum(p.numel() for p in ours(name)().parameters()) == plain
            fixed = ours(name, norm="frozen")()
            assert sum(p.numel() for p in fixed.parameters()) == frozen
