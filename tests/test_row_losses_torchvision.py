"""Losses of torchvision's detectors, from matching to the number and its gradients."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from assign_kit import alike, drawn, matched, per_image, values
from rows_kit import NAMESPACE, boxes, match, rows, run, tensor
from torch import Tensor
from torchvision.models.detection import _utils as coding
from torchvision.models.detection import retinanet, roi_heads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.ssd import SSD

NAMESPACE.setdefault("math", math)
R, S, P, G = (rows(name) for name in "RSPG")
INT = tensor(R, dtype="int")


@pytest.fixture(autouse=True)
def fixed() -> None:
    torch.manual_seed(0)


# --- torchvision's losses, from matching to the number ---------------------------------------
class Case:
    """Anchors of three images, as many in each, with objects in two or in all."""

    def __init__(self, seed: int, everywhere: bool = True, classes: int = 5) -> None:
        self.a = torch.cat([drawn(40, 1, seed + k) for k in range(3)])
        self.a[:, 0] = torch.arange(3).repeat_interleave(40)
        self.gt = drawn(8, 3, seed + 50)
        self.gt[:3, 0] = torch.tensor([0, 1, 2]) if everywhere else torch.tensor([0, 0, 2])
        self.gt = self.gt[self.gt[:, 0].argsort(stable=True)]
        if not everywhere:
            self.gt = self.gt[self.gt[:, 0] != 1]
        g = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(1, classes, (len(self.gt),), generator=g)

    def match(self, **attrs: Any) -> Tensor:
        self.m = matched(self.a, self.gt, **attrs)
        return self.m

    def targets(self) -> list[dict[str, Tensor]]:
        mine = [self.gt[:, 0] == i for i in range(3)]
        return [{"boxes": self.gt[k, 1:], "labels": self.labels[k]} for k in mine]

    def local(self) -> list[Tensor]:
        """The match of each image, counted from its own first object."""
        first = [int((self.gt[:, 0] < i).sum()) for i in range(3)]
        parts = per_image(self.m, self.a[:, 0], 3)
        return [torch.where(p >= 0, p - f, p) for p, f in zip(parts, first, strict=True)]

    def goals(self, found: Tensor, weights: tuple[float, ...]) -> Tensor:
        """Deltas of these rows, all of which match an object."""
        m = self.m[found]
        own = run("matched_boxes", [m, self.gt], [match("P"), boxes("G")])
        types = [boxes("P"), boxes("P")]
        y = run("encode_boxes", [self.a[found], own], types, delta_weights=weights)
        assert isinstance(y, Tensor)
        return y

    def all_labels(self) -> Tensor:
        y = run("matched_labels", [self.m, self.labels], [match("R"), tensor(G, dtype="int")])
        assert isinstance(y, Tensor)
        return y


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_region_proposals_of_torchvision(seed: int, everywhere: bool) -> None:
    case = Case(seed, everywhere)
    m = case.match(high=0.7, low=0.3, low_quality=True)
    x, deltas = values(120, seed=1), values(120, 4, seed=2)
    labels = [torch.where(p == -2, -1.0, (p >= 0).double()) for p in per_image(m, case.a[:, 0], 3)]
    own = case.gt[m.clamp(min=0), 1:]
    goals = coding.BoxCoder((1, 1, 1, 1)).encode([own], [case.a[:, 1:]])
    net = SimpleNamespace(fg_bg_sampler=coding.BalancedPositiveNegativeSampler(16, 0.5))
    torch.manual_seed(seed)
    objectness, box = RegionProposalNetwork.compute_loss(net, x, deltas, labels, goals)
    torch.manual_seed(seed)
    out, found = run("sample", [case.a, m], [boxes("R"), match("R")], count=16, positive=0.5)
    is_object = run("positives", [m[out]], [match("S")])
    got = run("bce_loss", [x[out], is_object], [tensor(S), tensor(S)])
    alike(got, objectness, x)
    args = [deltas[out][found], case.goals(out[found], (1, 1, 1, 1)), is_object]
    types = [tensor(P, 4), tensor(P, 4), tensor(S)]
    got = run("smooth_l1_loss", args, types, beta=1 / 9, reduction="sum", per="is_object")
    alike(got, box, deltas)


@pytest.mark.parametrize("seed", range(3))
def test_region_heads_of_torchvision(seed: int) -> None:
    case = Case(seed)
    m = case.match(high=0.5, low=0.5)
    scores, deltas = values(120, 5, seed=1), values(120, 20, seed=2)
    out, found = run("sample", [case.a, m], [boxes("R"), match("R")], count=32, positive=0.25)
    labels = case.all_labels()[out]
    goals = torch.zeros(len(out), 4, dtype=torch.float64)
    goals[found] = case.goals(out[found], (10, 10, 5, 5))
    want = roi_heads.fastrcnn_loss(scores[out], deltas[out], [labels], [goals])
    got = run("ce_loss", [scores[out], labels], [tensor(S, 5), tensor(S, dtype="int")])
    alike(got, want[0], scores)
    by_class = [deltas[out].reshape(-1, 5, 4)[found], labels[found]]
    own = run("by_class", by_class, [tensor(P, 5, 4), tensor(P, dtype="int")])
    types = [tensor(P, 4), tensor(P, 4), tensor(S, dtype="int")]
    attrs: dict[str, Any] = {"beta": 1 / 9, "reduction": "sum", "per": "labels"}
    got = run("smooth_l1_loss", [own, goals[found], labels], types, **attrs)
    alike(got, want[1], deltas)


@pytest.mark.parametrize("seed", range(3))
def test_ssd_of_torchvision(seed: int) -> None:
    case = Case(seed)
    m = case.match(high=0.5, best_always=True)
    scores, deltas = values(120, 5, seed=1), values(120, 4, seed=2)
    net = SimpleNamespace(box_coder=coding.BoxCoder((10, 10, 5, 5)), neg_to_pos_ratio=3)
    heads = {"bbox_regression": deltas.reshape(3, 40, 4), "cls_logits": scores.reshape(3, 40, 5)}
    anchors = per_image(case.a[:, 1:], case.a[:, 0], 3)
    want = SSD.compute_loss(net, case.targets(), heads, anchors, case.local())
    labels = case.all_labels()
    each = run("ce_loss", [scores, labels], [tensor(R, 5), INT], reduction="none")
    args = [case.a, m, each]
    out, found = run("hard_negatives", args, [boxes("R"), match("R"), tensor(R)], ratio=3.0)
    own = deltas[out][found]
    attrs: dict[str, Any] = {"reduction": "sum", "per": "found"}
    types = [tensor(S, 5), tensor(S, dtype="int"), tensor(P, 4)]
    got = run("ce_loss", [scores[out], labels[out], own], types, **attrs)
    alike(got, want["classification"], scores)
    goals = case.goals(out[found], (10, 10, 5, 5))
    types = [tensor(P, 4), tensor(P, 4), tensor(P, 4)]
    got = run("smooth_l1_loss", [own, goals, own], types, **attrs)
    alike(got, want["bbox_regression"], deltas)


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("box", ["l1", "giou"])
def test_retinanet_of_torchvision(box: str, everywhere: bool) -> None:
    """Each image's sum over its objects, at least one; the mean over images."""
    case = Case(7, everywhere)
    m = case.match(high=0.5, low=0.4, low_quality=True)
    image = torch.zeros(3, 3, 8, 8, dtype=torch.float64)
    scores, deltas = values(120, 5, seed=1), values(120, 4, seed=2)
    coder = coding.BoxCoder((1, 1, 1, 1))
    net = SimpleNamespace(box_coder=coder, _loss_type=box, BETWEEN_THRESHOLDS=-2)
    heads = {"bbox_regression": deltas.reshape(3, 40, 4), "cls_logits": scores.reshape(3, 40, 5)}
    given = case.targets(), heads, case.local()
    share = run("positive_shares", [case.a, m], [boxes("R"), match("R")])
    want = retinanet.RetinaNetClassificationHead.compute_loss(net, *given)
    attrs: dict[str, Any] = {"reduction": "sum", "per": "image", "row_weights": "share"}
    args = [scores, case.all_labels(), image, share]
    types: list[Any] = [tensor(R, 5), INT, tensor(3, 3, 8, 8), tensor(R)]
    alike(run("focal_loss", args, types, **attrs), want, scores)
    anchors = per_image(case.a[:, 1:], case.a[:, 0], 3)
    given = case.targets(), heads, anchors, case.local()
    want = retinanet.RetinaNetRegressionHead.compute_loss(net, *given)
    out, positive = run("assigned", [m], [match("R")])
    found = out[positive]
    if box == "l1":
        args = [deltas[found], case.goals(found, (1, 1, 1, 1)), image, share[found]]
        got = run("l1_loss", args, [tensor(P, 4), tensor(P, 4), types[2], tensor(P)], **attrs)
    else:
        here = run("decode_boxes", [case.a[found], deltas[found]], [boxes("P"), tensor(P, 4)])
        own = run("matched_boxes", [m[found], case.gt], [match("P"), boxes("G")])
        args = [here, own, image, share[found]]
        got = run("giou_loss", args, [boxes("P"), boxes("P"), types[2], tensor(P)], **attrs)
    alike(got, want, deltas)


def test_focal_loss_without_logits_of_background() -> None:
    x, labels = values(30, 5), torch.randint(-1, 6, (30,))
    wide = torch.cat([torch.full((30, 1), -60.0, dtype=torch.float64), x], 1)
    attrs: dict[str, Any] = {"reduction": "sum", "alpha": 0.3, "gamma": 1.5}
    got = run("focal_loss", [x, labels], [tensor(R, 5), INT], background="none", **attrs)
    alike(got, run("focal_loss", [wide, labels], [tensor(R, 6), INT], **attrs), x)
    mean = run("focal_loss", [x, labels], [tensor(R, 5), INT], background="none", gamma=0.0)
    kept = labels >= 0
    t = F.one_hot(labels.clamp(min=0), 6)[:, 1:].double()
    each = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    each = each * torch.where(t > 0, 0.25, 0.75)
    alike(mean, each[kept].mean(), x)


def test_keypoints_of_torchvision() -> None:
    """One softmax over the cells for each joint that is visible and inside."""
    x, cells = values(6, 3, 8, 8), torch.randint(0, 64, (6, 3))
    cells[torch.rand(6, 3) < 0.4] = -1
    cells[0, 0] = 5
    want = F.cross_entropy(x.reshape(18, 64)[cells.flatten() >= 0], cells[cells >= 0])
    got = run("ce_loss", [x.flatten(2), cells], [tensor(R, 3, 64), tensor(R, 3, dtype="int")])
    alike(got, want, x)
    flat = [x.reshape(18, 64), cells.flatten()]
    alike(run("ce_loss", flat, [tensor(R, 64), INT]), want, x)
