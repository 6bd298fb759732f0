"""DenseCap against what its authors' code computes, where that is known in closed form."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segc.build import Maker
from segc.emit.module import model_source
from segc.source import Source
from segc.verify import import_source

HEIGHT, WIDTH, WORDS = 128, 160, 20
CELLS = (HEIGHT // 16) * (WIDTH // 16)
ANCHOR = [0.0, 40, 24, 104, 88]  # 64 x 64 around 8 + 16 * (4, 3): no other has an IoU above 0.7


@cache
def network() -> Any:
    torch.manual_seed(0)
    source = model_source(Maker(Source.open("specs/densecap.yaml"), {"vocabulary": WORDS}))
    return import_source(source, "densecap").DenseCap()


def given(rows: list[list[float]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(1, WORDS + 1, (len(rows), 15), generator=generator)
    words[:, 6:] = 0
    return {
        "image": torch.randn(1, 3, HEIGHT, WIDTH, generator=generator) * 50,
        "sizes": torch.tensor([[float(HEIGHT), WIDTH]]),
        "gt_boxes": torch.tensor(rows).reshape(-1, 5),
        "gt_words": words,
    }


def losses(rows: list[list[float]], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model = network().train()
    model.zero_grad()
    found: dict[str, Tensor] = model(**given(rows))
    return found


def values(rows: list[list[float]]) -> dict[str, float]:
    return {name: float(v.detach()) for name, v in losses(rows).items()}


def test_an_object_where_an_anchor_is_has_no_goals() -> None:
    """Anchors and decoded boxes are where the authors' are, to the pixel."""
    found = values([ANCHOR])
    assert found["loss_rpn_box"] == found["loss_box"] == 0
    moved = values([[0.0, 42, 24, 106, 88]])
    expected = 0.5 * (2 / 64) ** 2 / 4  # dx alone; no bound of the loss is passed
    assert moved["loss_rpn_box"] == pytest.approx(expected, rel=1e-4)
    assert moved["loss_box"] == pytest.approx(expected, rel=1e-4)


def test_deltas_of_all_anchors_are_pulled_to_zero() -> None:
    model = network()
    with torch.no_grad():
        model.rpn.box.bias.fill_(0.01)
        found = values([ANCHOR])["loss_pull"]
        model.rpn.box.bias.zero_()
    assert found == pytest.approx(12 * CELLS * 4 * 0.01**2, rel=1e-4)


def test_means_of_objectness() -> None:
    """One for objects and one for background that are added; of regions one over all."""
    model = network()
    with torch.no_grad():
        for layer in (model.rpn.score, model.objectness):
            layer.weight.zero_()
        model.rpn.score.bias.copy_(torch.tensor([2.0, 1.0] * 12))  # an object first
        model.objectness.bias.fill_(0.5)
        found = losses([ANCHOR])
    one, half = torch.tensor(1.0), torch.tensor(0.5)
    both = F.softplus(-one) + F.softplus(one)
    torch.testing.assert_close(found["loss_rpn_objectness"].detach(), both)
    mean = (F.softplus(-half) + 255 * F.softplus(half)) / 256
    torch.testing.assert_close(found["loss_objectness"].detach(), mean)


def test_sentences_are_summed_over_time_and_averaged_over_regions() -> None:
    model = network()
    with torch.no_grad():
        kept = model.captions.word.weight.clone(), model.captions.word.bias.clone()
        model.captions.word.weight.zero_()
        model.captions.word.bias.zero_()
        found = values([ANCHOR])["loss_caption"]
        model.captions.word.weight.copy_(kept[0])
        model.captions.word.bias.copy_(kept[1])
    steps = 6 + 1  # its words and the end; neither the region's step nor what follows
    assert found == pytest.approx(steps * float(torch.tensor(WORDS + 1.0).log()), rel=1e-5)


def test_captions_teach_where_boxes_are() -> None:
    found = losses([ANCHOR])
    found["loss_caption"].backward()
    model = network()
    assert model.rpn.box.weight.grad.abs().sum() > 0
    assert model.trunk.conv1_1.weight.grad is None and model.trunk.conv3_1.weight.grad is not None


def test_an_image_without_objects_and_one_pixel() -> None:
    for rows in ([], [[0.0, 30, 30, 31, 31]]):
        found = losses(rows)
        assert all(bool(v.isfinite()) for v in found.values())
        sum(found.values()).backward()  # type: ignore[union-attr]
    assert values([])["loss_caption"] == 0


def test_regions_and_their_sentences() -> None:
    inputs = given([])
    with torch.no_grad():
        found = network().eval()(inputs["image"], inputs["sizes"])
    count = len(found["boxes"])
    assert count > 1
    assert found["words"].shape == (count, 15) and found["words"].dtype == torch.int64
    assert int(found["words"].min()) >= 1 and int(found["words"].max()) <= WORDS + 1
    assert found["scores"].shape == (count,)
    assert (found["boxes"][:, 1:] >= 0).all() and (found["boxes"][:, 3] <= WIDTH).all()
    assert (found["scores"][:-1] >= found["scores"][1:]).all()
