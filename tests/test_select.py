"""Choices of rows: torchvision's proposals and detections, step by step and as a whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from emit_kit import ruff
from rows_kit import Rows, boxes, build, made, rows, run, tensor
from torch import Tensor
from torchvision import ops
from torchvision.models.detection import _utils as coding
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.ssd import SSD

from segc.dim import evaluate, symbol, symbols
from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY
from segc.types import Boxes

MAX_LOG = math.log(1000.0 / 16)
R = rows("R")
PLAIN = [boxes("R"), tensor(R)]
GROUPED = [*PLAIN, tensor(R, dtype="int")]


def drawn(n: int, images: int = 2, seed: int = 0, extent: float = 60) -> Tensor:
    """Boxes of n rows that overlap, image by image."""
    torch.manual_seed(seed)
    corner = torch.rand(n, 2) * extent
    far = corner + 1 + torch.rand(n, 2) * extent / 2
    number = torch.arange(n) * images // max(n, 1)
    return torch.cat([number[:, None].float(), corner, far], dim=1)


# --- top_k ------------------------------------------------------------------------------------
@pytest.mark.parametrize("per", [False, True])
@pytest.mark.parametrize("k", [1, 7, 1000])
def test_top_k_of_each_image_and_group(k: int, per: bool) -> None:
    """As a loop of torch.topk over images and the groups in them."""
    base, scores, group = drawn(300, images=3), torch.rand(300), torch.randint(0, 4, (300,))
    base[base[:, 0] == 1, 0] = 2  # the second image has none
    given = [base, scores, group] if per else [base, scores]
    found = run("top_k", given, GROUPED if per else PLAIN, k=k, **({"per": "level"} if per else {}))
    wanted = []
    for image in (0, 2):
        for g in range(4) if per else [None]:
            here = torch.where((base[:, 0] == image) & ((group == g) if per else True))[0]
            wanted.append(here[scores[here].topk(min(k, len(here)))[1]])
    assert torch.equal(found, torch.cat(wanted))


def test_top_k_by_phase_and_among_equals() -> None:
    base, scores = drawn(10, images=1), torch.tensor([1.0, 3, 3, 2, 3, 0, 0, 0, 0, 0])
    assert run("top_k", [base, scores], PLAIN, k=2).tolist() == [1, 2]
    assert run("top_k", [base, scores], PLAIN, k=[4, 2]).tolist() == [1, 2, 4, 3]
    assert build("top_k", k=[4, 2]).at_test() is not None


# --- nms --------------------------------------------------------------------------------------
@pytest.mark.parametrize("keep", [None, 5])
@pytest.mark.parametrize("per", [False, True])
@pytest.mark.parametrize("n", [90, 4000])
def test_nms_is_torchvisions_for_each_image(n: int, per: bool, keep: int | None) -> None:
    base, scores, group = drawn(n), torch.rand(n), torch.randint(0, 3, (n,))
    attrs = {"iou": 0.4} | ({"per": "level"} if per else {}) | ({"keep": keep} if keep else {})
    given = [base, scores, group] if per else [base, scores]
    found = run("nms", given, GROUPED if per else PLAIN, **attrs)
    wanted = []
    for image in range(2):
        here = torch.where(base[:, 0] == image)[0]
        every = group[here] if per else torch.zeros_like(here)
        best = ops.batched_nms(base[here, 1:], scores[here], every, 0.4)
        wanted.append(here[best][:keep])
    assert torch.equal(found, torch.cat(wanted))


def test_nms_of_inclusive_pixels() -> None:
    """Overlap counts the last pixel: 2 x 2 of boxes of 3 x 3 pixels is 4 / 14, not 1 / 7."""
    base = torch.tensor([[0.0, 0, 0, 2, 2], [0, 1, 1, 3, 3]])
    scores = torch.tensor([0.5, 0.9])
    for legacy, iou, kept in (
        (True, 0.28, [1]), (True, 0.29, [1, 0]), (False, 0.14, [1]), (False, 0.15, [1, 0]),
    ):  # fmt: skip
        assert run("nms", [base, scores], [boxes("R", legacy), tensor(R)], iou=iou).tolist() == kept


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_choose_from(n: int) -> None:
    base, scores, group = drawn(n), torch.rand(n), torch.zeros(n, dtype=torch.int64)
    every = list(range(n))
    assert run("top_k", [base, scores], PLAIN, k=3).tolist() == every
    assert run("top_k", [base, scores, group], GROUPED, k=3, per="p").tolist() == every
    assert run("nms", [base, scores], PLAIN, iou=0.5, keep=3).tolist() == every
    assert run("nms", [base, scores, group], GROUPED, iou=0.5, per="p").tolist() == every
    assert run("above", [scores], [tensor(R)], threshold=-1).tolist() == every
    assert run("large_enough", [base], [boxes("R")], min_side=0).tolist() == every
    found = run("candidates", [torch.rand(n, 3)], [tensor(R, 3)], threshold=-1)
    assert [len(x) for x in found] == [2 * n] * 3


# --- thresholds -------------------------------------------------------------------------------
def test_above_is_strict() -> None:
    scores = torch.tensor([0.05, 0.06, 0.04, 0.9])
    assert run("above", [scores], [tensor(R)], threshold=0.05).tolist() == [1, 3]


def test_large_enough_is_torchvisions() -> None:
    base = drawn(100)
    base[::3, 3] = base[::3, 1] + 4
    base[1::5, 4] = base[1::5, 2] + 3.5
    for side in (3.5, 4, 9):
        found = run("large_enough", [base], [boxes("R")], min_side=side)
        assert torch.equal(found, ops.remove_small_boxes(base[:, 1:], side))
    inclusive = torch.tensor([[0.0, 3, 3, 7, 7], [0, 3, 3, 7, 6]])
    assert run("large_enough", [inclusive], [boxes("R", True)], min_side=5).tolist() == [0]


@pytest.mark.parametrize("background", ["first", "last", "none"])
def test_candidates_are_class_boxes_above(background: str) -> None:
    base, scores, deltas = drawn(20), torch.rand(20, 5), torch.randn(20, 4)
    types = [boxes("R"), tensor(R, 4), tensor(R, 5)]
    every, score, label = run("class_boxes", [base, deltas, scores], types, background=background)
    above = run("above", [score], [tensor(R)], threshold=0.6)
    row, scored, labelled = run(
        "candidates", [scores], [tensor(R, 5)], threshold=0.6, background=background
    )
    decoded = run("decode_boxes", [base, deltas], types[:2])
    assert torch.equal(decoded[row], every[above])
    assert torch.equal(scored, score[above]) and torch.equal(labelled, label[above])


def test_candidates_leave_the_scores_as_they_are() -> None:
    scores = torch.rand(4, 3, requires_grad=True)
    before = scores.detach().clone()
    _, found, _ = run("candidates", [scores], [tensor(R, 3)], threshold=0.2)
    found.sum().backward()
    assert torch.equal(scores, before) and scores.grad is not None
    assert not scores.grad[:, 0].any()


# --- whole stages of torchvision --------------------------------------------------------------
def follow(pick: Tensor, *values: Tensor) -> list[Tensor]:
    return [x[pick] for x in values]


@pytest.mark.parametrize("extent", [1.0, 30.0])
def test_proposals_are_torchvisions(extent: float) -> None:
    """filter_proposals: with logits up to 30 many probabilities are 1, so that order counts."""
    torch.manual_seed(0)
    cells, sizes = [3 * 40 * 50, 3 * 20 * 25, 3 * 2 * 3], [(300, 400), (320, 333)]
    total = sum(cells)
    base = drawn(2 * total, extent=300)
    logits = torch.randn(2 * total) * extent
    level = torch.arange(3).repeat_interleave(torch.tensor(cells)).repeat(2)
    network = RegionProposalNetwork(
        None, None, 0.7, 0.3, 256, 0.5, {"training": 200, "testing": 100},
        {"training": 150, "testing": 80}, 0.7,
    ).eval()  # fmt: skip
    wanted, probabilities = network.filter_proposals(
        base[:, 1:].view(2, total, 4), logits.view(2, total), sizes, cells
    )
    best = run("top_k", [base, logits, level], GROUPED, k=100, per="level")
    found, score, of = follow(best, base, logits, level)
    found = run("clip_boxes", [found, torch.tensor(sizes)], [boxes("R"), tensor(2, 2)])
    score = score.sigmoid()
    large = run("large_enough", [found], [boxes("R")], min_side=1e-3)
    found, score, of = follow(large, found, score, of)
    kept = run("nms", [found, score, of], GROUPED, iou=0.7, per="level", keep=80)
    found, score = follow(kept, found, score)
    assert torch.equal(found[:, 1:], torch.cat(wanted))
    assert torch.equal(score, torch.cat(probabilities))
    assert found[:, 0].tolist() == [float(i) for i, x in enumerate(wanted) for _ in x]


@pytest.mark.parametrize("counts", [(60, 40), (0, 50), (3, 0)])
def test_detections_are_torchvisions(counts: tuple[int, int]) -> None:
    """postprocess_detections; images may have no proposals."""
    n, sizes, classes = sum(counts), [(90, 80), (70, 100)], 6
    base = drawn(n)
    base[:, 0] = torch.arange(2).repeat_interleave(torch.tensor(counts)).float()
    logits, deltas = torch.randn(n, classes) * 2, torch.randn(n, 4 * classes)
    heads = RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, (10.0, 10.0, 5.0, 5.0), 0.05, 0.5, 20)
    proposals = [base[base[:, 0] == i, 1:] for i in range(2)]
    wanted = heads.postprocess_detections(logits, deltas, proposals, sizes)
    types = [boxes("R"), tensor(R, 4 * classes), tensor(R, classes)]
    found, score, label = run(
        "class_boxes", [base, deltas, logits.softmax(-1)], types,
        delta_weights=[10, 10, 5, 5], max_log=MAX_LOG,
    )  # fmt: skip
    found = run("clip_boxes", [found, torch.tensor(sizes)], [boxes("R"), tensor(2, 2)])
    likely = run("above", [score], [tensor(R)], threshold=0.05)
    found, score, label = follow(likely, found, score, label)
    large = run("large_enough", [found], [boxes("R")], min_side=1e-2)
    found, score, label = follow(large, found, score, label)
    kept = run("nms", [found, score, label], GROUPED, iou=0.5, per="label", keep=20)
    found, score, label = follow(kept, found, score, label)
    assert torch.equal(found[:, 1:], torch.cat(wanted[0])) and len(found)
    assert torch.equal(score, torch.cat(wanted[1])) and torch.equal(label, torch.cat(wanted[2]))


def single(network: Any, **attrs: Any) -> Any:
    """A torchvision network without its layers: what comes after them."""
    found = network.__new__(network)
    torch.nn.Module.__init__(found)
    for name, value in attrs.items():
        setattr(found, name, value)
    return found


def test_detections_of_ssd() -> None:
    torch.manual_seed(0)
    base, logits, deltas = drawn(400), torch.randn(400, 5) * 2, torch.randn(400, 4)
    coder = coding.BoxCoder((10.0, 10.0, 5.0, 5.0))
    network = single(
        SSD, box_coder=coder, score_thresh=0.1, topk_candidates=30, nms_thresh=0.45,
        detections_per_img=50,
    )  # fmt: skip
    outputs = {"bbox_regression": deltas.view(2, 200, 4), "cls_logits": logits.view(2, 200, 5)}
    wanted = network.postprocess_detections(
        outputs, list(base[:, 1:].view(2, 200, 4)), [(80, 80), (60, 90)]
    )
    types = [boxes("R"), tensor(R, 4)]
    every = run(
        "decode_boxes", [base, deltas], types, delta_weights=[10, 10, 5, 5], max_log=MAX_LOG
    )
    sizes = torch.tensor([(80, 80), (60, 90)])
    every = run("clip_boxes", [every, sizes], [boxes("R"), tensor(2, 2)])
    row, score, label = run("candidates", [logits.softmax(-1)], [tensor(R, 5)], threshold=0.1)
    found = every[row]
    best = run("top_k", [found, score, label], GROUPED, k=30, per="label")
    found, score, label = follow(best, found, score, label)
    kept = run("nms", [found, score, label], GROUPED, iou=0.45, per="label", keep=50)
    found, score, label = follow(kept, found, score, label)
    for image, here in enumerate(wanted):
        mine = found[:, 0] == image
        assert torch.equal(found[mine, 1:], here["boxes"])
        assert torch.equal(score[mine], here["scores"])
        assert torch.equal(label[mine], here["labels"])


def test_detections_of_retinanet() -> None:
    torch.manual_seed(0)
    levels, classes = (150, 40, 10), 4
    base = drawn(400)
    logits, deltas = torch.randn(400, classes), torch.randn(400, 4)
    level = torch.arange(3).repeat_interleave(torch.tensor(levels)).repeat(2)
    network = single(
        RetinaNet, box_coder=coding.BoxCoder((1.0,) * 4), score_thresh=0.4, topk_candidates=60,
        nms_thresh=0.5, detections_per_img=50,
    )  # fmt: skip
    outputs = {
        "bbox_regression": list(deltas.view(2, 200, 4).split(levels, 1)),
        "cls_logits": list(logits.view(2, 200, classes).split(levels, 1)),
    }
    anchors = [list(x.split(levels)) for x in base[:, 1:].view(2, 200, 4)]
    wanted = network.postprocess_detections(outputs, anchors, [(80, 80), (60, 90)])
    row, score, label = run(
        "candidates", [logits.sigmoid()], [tensor(R, classes)], threshold=0.4, background="none"
    )
    best = run("top_k", [base[row], score, level[row]], GROUPED, k=60, per="level")
    row, score, label = follow(best, row, score, label)
    types = [boxes("R"), tensor(R, 4)]
    found = run("decode_boxes", [base[row], deltas[row]], types, max_log=MAX_LOG)
    sizes = torch.tensor([(80, 80), (60, 90)])
    found = run("clip_boxes", [found, sizes], [boxes("R"), tensor(2, 2)])
    kept = run("nms", [found, score, label], GROUPED, iou=0.5, per="label", keep=50)
    found, score, label = follow(kept, found, score, label)
    for image, here in enumerate(wanted):
        mine = found[:, 0] == image
        assert torch.equal(found[mine, 1:], here["boxes"])
        assert torch.equal(score[mine], here["scores"])
        assert torch.equal(label[mine], here["labels"])


# --- bounds, faults ---------------------------------------------------------------------------
def bound(name: str, types: Any, **attrs: Any) -> Any:
    """The most rows a choice can have, and the set it is of."""
    need = Rows()
    pick = made(name, types, need, **attrs)[0]
    found = need.sets.sets[next(iter(symbols(pick.shape[0])))]  # type: ignore[arg-type]
    return found.bound, found.of


def test_bounds_of_choices() -> None:
    n = symbol("N")
    known = Boxes((R, 5), images=n)
    assert bound("top_k", [known, tensor(R)], k=[2000, 1000]) == (2000 * n, R)
    assert bound("top_k", PLAIN, k=2000) == (R, R)
    assert bound("top_k", [known, *GROUPED[1:]], k=2000, per="level") == (R, R)
    assert bound("nms", [known, tensor(R)], iou=0.7, keep=[2000, 1000]) == (2000 * n, R)
    assert bound("nms", [known, tensor(R)], iou=0.7) == (R, R)
    few = Boxes((12, 5), images=2)
    assert bound("nms", [few, tensor(12)], iou=0.7, keep=100) == (12, 12)
    assert bound("nms", [few, tensor(12)], iou=0.7, keep=5) == (10, 12)
    assert bound("above", [tensor(R)], threshold=0) == (R, R)
    assert bound("large_enough", [known], min_side=1) == (R, R)
    most, _ = bound("candidates", [tensor(R, 91)], threshold=0.1)
    assert evaluate(most, {"R": 3}) == 270


FAULTS = [
    ("top_k", [boxes("R"), tensor(rows("Q"))], {"k": 3}, "SEG214", "`R`, the other of `Q`"),
    ("top_k", [boxes("R"), tensor(R, 4)], {"k": 3}, "SEG201", "a score of each box"),
    ("top_k", [boxes("R"), tensor(R, dtype="int")], {"k": 3}, "SEG201", "a score of each box"),
    ("top_k", [*PLAIN, tensor(R)], {"k": 3, "per": "x"}, "SEG201", "level or class of each row"),
    ("nms", [*PLAIN, tensor(rows("Q"), dtype="int")], {"iou": 0.5, "per": "x"}, "SEG214",
     "the rows `Q`, the boxes are of `R`"),
    ("nms", [boxes("R"), tensor(rows("Q"))], {"iou": 0.5}, "SEG214", "nms pairs boxes"),
    ("above", [tensor(R, 21)], {"threshold": 0.1}, "SEG201", "a score of each row"),
    ("candidates", [tensor(R)], {"threshold": 0.1}, "SEG201", "scores of all classes"),
    ("candidates", [tensor(R, 1)], {"threshold": 0.1}, "SEG210", "leaves no class"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "types", "attrs", "code", "words"), FAULTS)
def test_faults(op: str, types: Any, attrs: Any, code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as found:
        made(op, types, **attrs)
    assert found.value.code == code and found.value.hint


def test_emitted_functions_are_formatted_and_allowed() -> None:
    helpers = {h.name: h for op in REGISTRY.values() if op.family == "select" for h in op.helpers}
    head = "import torch\nfrom torch import Tensor\nfrom torchvision import ops"
    source = "\n\n\n".join([head, *(h.source.rstrip() for h in helpers.values())]) + "\n"
    assert helpers and audit(source) == [] and ruff(source) == ""
