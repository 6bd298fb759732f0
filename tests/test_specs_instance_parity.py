"""SSD against torchvision: state dicts, detections, losses, gradients."""

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
from segc.verify import import_source


@cache
def ours(spec: str, model: str, **params: Any) -> Any:
    source = model_source(Maker(Source.open(f"specs/{spec}.yaml"), params))
    return getattr(import_source(source, spec), model)


def numbered(boxes: list[Tensor]) -> Tensor:
    """Boxes of each image as rows of all, their image's number in front."""
    rows = [torch.cat([torch.full((len(b), 1), float(n)), b], 1) for n, b in enumerate(boxes)]
    return torch.cat(rows)


def same_gradients(theirs: Any, network: Any, most: float = 1e-3) -> None:
    mine = dict(network.named_parameters())
    for key, p in dict(theirs.named_parameters()).items():
        if p.grad is None:
            assert mine[key].grad is None or not mine[key].grad.any(), key
            continue
        worst = (mine[key].grad - p.grad).abs().max() / p.grad.abs().max().clamp(min=1e-6)
        assert worst < most, (key, float(worst))


# --- SSD300 ---------------------------------------------------------------------------------


def test_ssd_totals() -> None:
    with torch.device("meta"):
        for classes, total in ((91, 35_641_826), (81, 34_305_206), (21, 26_285_486)):
            network = ours("ssd300_vgg16", "SSD300")(classes=classes)
            assert sum(p.numel() for p in network.parameters()) == total


@cache
def ssd() -> tuple[Any, Any]:
    torch.manual_seed(0)
    make = torchvision.models.detection.ssd300_vgg16
    theirs = make(weights=None, weights_backbone=None, num_classes=21, trainable_backbone_layers=5)
    with torch.no_grad():
        factors = (1.6, 0.27, 0.57, 1.2, 3.5, 17)  # scores to be told apart, none of them 1
        heads = theirs.head.classification_head.module_list
        for head, factor in zip(heads, factors, strict=True):
            for p in head.parameters():
                p *= factor
    network = ours("ssd300_vgg16", "SSD300")(classes=21)
    network.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, network


def ssd_images() -> tuple[list[Tensor], Tensor]:
    """Images before and after what torchvision does to them."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 300, 300, generator=generator) for _ in range(2)]
    mean = torch.tensor([0.48235, 0.45882, 0.40784])[:, None, None]
    return images, torch.stack([(x - mean) / (1 / 255) for x in images])


SSD_SIZES = torch.tensor([[300.0, 300.0], [300.0, 300.0]])
SSD_TRUTH = (
    [[[20.0, 30, 150, 140], [100, 100, 110, 104], [0, 0, 300, 300]], [[200.0, 40, 290, 260]]],
    [[1, 20, 7], [3]],
)


def test_ssd_has_torchvisions_priors() -> None:
    theirs, network = ssd()
    images, batch = ssd_images()
    with torch.no_grad():
        features = list(theirs.backbone(batch).values())
        wanted = theirs.anchor_generator(ImageList(batch, [(300, 300)] * 2), features)
        got = import_source_names(network)["prior_boxes"](
            batch,
            features,
            (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
            ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            strides=(8, 16, 32, 64, 100, 300),
        )[0]
    assert len(wanted[0]) == 8732 and len(got) == 2 * 8732
    torch.testing.assert_close(got[:8732, 1:], wanted[0])
    first = torch.tensor([[-6.5, -6.5, 14.5, 14.5], [-11.37, -11.37, 19.37, 19.37]])
    torch.testing.assert_close(got[:2, 1:], first, rtol=0, atol=2e-3)


def import_source_names(network: Any) -> Any:
    """The functions beside an emitted network."""
    return type(network).forward.__globals__


def test_ssd_detections_are_torchvisions() -> None:
    theirs, network = ssd()
    images, batch = ssd_images()
    with torch.no_grad():
        wanted = theirs.eval()(images)
        got = network.eval()(batch, SSD_SIZES)
    assert all(len(w["boxes"]) > 20 for w in wanted)
    for n, own in enumerate(wanted):
        rows = got["boxes"][:, 0] == n
        torch.testing.assert_close(got["boxes"][rows, 1:], own["boxes"], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(got["scores"][rows], own["scores"], rtol=1e-4, atol=1e-6)
        assert torch.equal(got["labels"][rows], own["labels"])


@pytest.mark.parametrize("empty", [False, True], ids=["boxes", "an image without boxes"])
def test_ssd_losses_and_gradients_are_torchvisions(empty: bool) -> None:
    theirs, network = ssd()
    images, batch = ssd_images()
    boxes = [torch.tensor(b) for b in SSD_TRUTH[0]]
    labels = [torch.tensor(k) for k in SSD_TRUTH[1]]
    if empty:
        boxes[1], labels[1] = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    theirs.zero_grad()
    network.zero_grad()
    targets = [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]
    wanted = theirs.train()(images, targets)
    got = network.train()(batch, SSD_SIZES, numbered(boxes), torch.cat(labels))
    assert list(got) == ["loss_classification", "loss_box"]
    torch.testing.assert_close(
        got["loss_classification"], wanted["classification"], rtol=1e-5, atol=0
    )
    torch.testing.assert_close(got["loss_box"], wanted["bbox_regression"], rtol=1e-5, atol=0)
    sum(wanted.values()).backward()
    sum(got.values()).backward()
    same_gradients(theirs, network)


def test_ssd_without_any_object_learns_nothing_and_goes_through() -> None:
    _, network = ssd()
    _, batch = ssd_images()
    none = torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)
    got = network.train()(batch, SSD_SIZES, *none)
    assert all(float(v) == 0 for v in got.values())
    sum(got.values()).backward()


def test_ssd_has_hardest_negatives_by_image() -> None:
    """Three of the background for each matched prior, of that prior's image."""
    _, network = ssd()
    names = import_source_names(network)
    boxes = torch.zeros(12, 5)
    boxes[6:, 0] = 1
    match = torch.full((12,), -1)
    match[3] = 0
    losses = torch.arange(12.0)
    rows, found = names["hardest_negatives"](boxes, match, losses, 3)
    assert rows.tolist() == [2, 3, 4, 5] and found.tolist() == [1]
