"""Rows drawn for training: each system's rule, against torchvision where it has the rule, else
against a loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from assign_kit import drawn, matched, per_image
from rows_kit import NAMESPACE, boxes, build, made, match, rows, run, tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from segc.emit.audit import audit
from segc.op import Problem
from segc.ops import REGISTRY

NAMESPACE.setdefault("math", math)
OPERATORS = ("sample", "hard_negatives", "assigned", "positive_shares")
BANDS: dict[str, Any] = {
    "count": 4,
    "positive": 0.5,
    "overlap": "o",
    "bands": [0.1, 0.0],
    "shares": [0.8, 0.2],
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("count", "share"), [(16, 0.5), (20, 0.25), (64, 0.3)])
def test_draws_what_torchvision_draws(seed: int, count: int, share: float) -> None:
    a, gt = drawn(150, 3, seed), drawn(12, 3, seed + 50)
    m = matched(a, gt, high=0.5, low=0.3, low_quality=True)
    labels = [torch.where(v == -2, -1, (v >= 0).long()) for v in per_image(m, a[:, 0], 3)]
    torch.manual_seed(seed)
    positive, negative = BalancedPositiveNegativeSampler(count, share)(labels)
    after = torch.rand(1)
    torch.manual_seed(seed)
    attrs: dict[str, Any] = {"count": count, "positive": share}
    out, found = run("sample", [a, m], [boxes("R"), match("R")], **attrs)
    assert torch.equal(torch.rand(1), after)  # the generator has moved as far
    both = torch.cat([p | n for p, n in zip(positive, negative, strict=True)])
    assert torch.equal(out, torch.where(both)[0])
    assert torch.equal(out[found], torch.where(torch.cat(positive))[0])


def test_background_is_drawn_again_where_there_is_too_little() -> None:
    a = drawn(40, 2, 1)
    m = torch.full((40,), 0)
    m[::8] = -1
    attrs: dict[str, Any] = {"count": 32, "positive": 0.5, "replacement": True}
    out, found = run("sample", [a, m], [boxes("R"), match("R")], **attrs)
    for image in (0, 1):
        mine = a[out, 0] == image
        few = int(min(16, (m[a[:, 0] == image] >= 0).sum()))
        assert mine.sum() == 32 and (m[out][mine] >= 0).sum() == few
    objects = out[m[out] >= 0]
    assert len(objects.unique()) == len(objects)
    assert torch.equal(out[found], objects) and torch.equal(out, out.sort().values)


@pytest.mark.parametrize("seed", range(4))
def test_background_of_mnc_comes_from_two_bands(seed: int) -> None:
    """64 regions, 30 % on objects; of the rest 85 % overlap one by .1 to .5 and 15 % by less."""
    a, gt = drawn(600, 2, seed, size=40), drawn(6, 2, seed + 50, size=40)
    kinds: list[Any] = [boxes("R", True), boxes("G", True)]
    m, near = matched(a, gt, True, high=0.5), run("max_overlaps", [a, gt], kinds)
    attrs: dict[str, Any] = {"count": 64, "positive": 0.3, "overlap": "near"}
    attrs |= {"bands": [0.1, 0], "shares": [0.85, 0.15]}
    types: list[Any] = [boxes("R", True), match("R"), tensor(rows("R"))]
    torch.manual_seed(seed)
    out, found = run("sample", [a, m, near], types, **attrs)
    torch.manual_seed(seed)
    want = []
    for image in (0, 1):
        mine = a[:, 0] == image
        foreground = torch.where(mine & (near >= 0.5))[0]
        chosen = foreground[torch.randperm(len(foreground))[:19]]
        left = 64 - len(chosen)
        for low, high, share in ((0.1, 0.5, 0.85), (0.0, 0.1, 0.15)):
            band = torch.where(mine & (near >= low) & (near < high))[0]
            chosen = torch.cat([chosen, band[torch.randperm(len(band))[: round(left * share)]]])
        want += sorted(chosen.tolist())
    assert out.tolist() == want
    assert torch.equal(out[found], out[m[out] >= 0])
    assert (near[out] < 0.1).any()


@pytest.mark.parametrize("ratio", [3.0, 2.5])
def test_hard_negatives_of_each_image(ratio: float) -> None:
    """torchvision's SSD ranks the losses of an image with those on objects last."""
    a, gt = drawn(200, 4, 3), drawn(10, 4, 53)
    gt = gt[gt[:, 0] != 2]
    m = matched(a, gt, high=0.5, best_always=True)
    losses = torch.rand(200, dtype=torch.float64, requires_grad=True)
    types: list[Any] = [boxes("R"), match("R"), tensor(rows("R"))]
    out, found = run("hard_negatives", [a, m, losses], types, ratio=ratio)
    want = []
    for image in range(4):
        mine = torch.where(a[:, 0] == image)[0]
        positive = m[mine] >= 0
        loss = losses.detach()[mine].masked_fill(positive, -torch.inf)
        rank = loss.sort(descending=True).indices.sort().indices
        hard = (rank < ratio * positive.sum()) & ~positive
        want += mine[positive | hard].tolist()
    assert out.tolist() == want
    assert torch.equal(out[found], torch.where(m >= 0)[0])


def test_all_rows_that_are_not_left_out() -> None:
    m = torch.tensor([-2, 3, -1, 0, -2, 1])
    out, found = run("assigned", [m], [match("R")])
    assert out.tolist() == [1, 2, 3, 5] and found.tolist() == [0, 2, 3]


def test_shares_of_the_objects_of_an_image() -> None:
    a = torch.zeros(6, 5, dtype=torch.float64)
    a[:, 0] = torch.tensor([0, 0, 0, 2, 2, 3])
    m = torch.tensor([0, 1, -1, -1, -2, 4])
    y = run("positive_shares", [a, m], [boxes("R"), match("R")])
    assert y.tolist() == [0.5, 0.5, 0.5, 1, 1, 1] and y.dtype == torch.float64


# --- nothing there ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_rows_and_without_objects(dtype: torch.dtype) -> None:
    none, some = torch.zeros(0, 5, dtype=dtype), drawn(5, 2, 0).to(dtype)
    empty = torch.zeros(0, dtype=torch.long)
    types: list[Any] = [boxes("R"), match("R")]
    assert [len(v) for v in run("sample", [none, empty], types, count=4, positive=0.5)] == [0, 0]
    assert [len(v) for v in run("assigned", [empty], [match("R")])] == [0, 0]
    losses = torch.zeros(0, dtype=dtype)
    typed: list[Any] = [*types, tensor(rows("R"))]
    assert [len(v) for v in run("hard_negatives", [none, empty, losses], typed)] == [0, 0]
    bands: dict[str, Any] = {
        "count": 4,
        "positive": 0.5,
        "overlap": "x",
        "bands": [0.0],
        "shares": [1.0],
    }
    assert [len(v) for v in run("sample", [none, empty, losses], typed, **bands)] == [0, 0]
    assert len(run("positive_shares", [none, empty], types)) == 0
    again: dict[str, Any] = {"count": 4, "positive": 0.5, "replacement": True}
    all_objects = run("sample", [some, torch.zeros(5).long()], types, **again)
    assert len(all_objects[0]) == len(all_objects[1]) <= 4


# --- faults ----------------------------------------------------------------------------------
FAULTS: list[tuple[str, list[Any], dict[str, Any], str, str]] = [
    ("sample", [boxes("R"), match("S")], {"count": 4, "positive": 0.5}, "SEG214", "rows `R`"),
    ("hard_negatives", [boxes("R"), match("R"), tensor(rows("S"))], {}, "SEG214", "`S`"),
    ("hard_negatives", [boxes("R"), match("R"), tensor(rows("R"), 4)], {}, "SEG201", "for each"),
    ("positive_shares", [boxes("R"), match("S")], {}, "SEG214", "`S`"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "code", "words"), FAULTS)
def test_faults(name: str, types: list[Any], attrs: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as fault:
        made(name, types, **attrs)
    assert fault.value.code == code


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": [1.0]}, "2 bands"),
        ({"bands": [0.0, 0.1]}, "falling"),
        ({"shares": [0.9, 0.2]}, "1.1 times"),
        ({"replacement": True}, "drawn again"),
        ({"bands": None}, "`overlap` is of use with `bands`"),
        ({"overlap": None}, "`bands` is of use with `overlap`"),
    ],
)
def test_faults_of_bands(changes: dict[str, Any], words: str) -> None:
    attrs = {k: v for k, v in {**BANDS, **changes}.items() if v is not None}
    with pytest.raises(Problem, match=words):
        build("sample", **attrs)
    build("sample", **BANDS)


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_emitted_passes_the_audit(name: str) -> None:
    source = "\n\n".join(h.source for h in REGISTRY[name].helpers)
    assert audit(f"import torch\n\n{source}") == []
    for line in source.splitlines():
        assert len(line) <= 100
