"""What passes back: rows without a gradient, gradients cut off, boxes that cross a border."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rows_kit import boxes, made, match, pick, rows, run, tensor

from segc.op import Problem
from segc.ops import REGISTRY

assert REGISTRY


def fault(name: str, types: list[Any], **attrs: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(name, types, **attrs)
    return caught.value


@pytest.mark.parametrize("shape", [(5, 3, 2), (5,), (0, 4)])
def test_detach_rows_stops_gradients_of_rows(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    kept = torch.tensor([1, 0, 3, -1, 0])[: shape[0]]
    y = run(
        "detach_rows", [kept, x], [tensor(rows("R"), dtype="int"), tensor(rows("R"), *shape[1:])]
    )
    assert torch.equal(y, x)
    y.sum().backward()
    wanted = (kept > 0).reshape(-1, *[1] * (len(shape) - 1)).expand(shape).float()
    assert x.grad is not None and torch.equal(x.grad, wanted)


def test_detach_rows_takes_boxes() -> None:
    types = [tensor(rows("R"), dtype="int"), boxes("R", legacy=True)]
    assert made("detach_rows", types) == [boxes("R", legacy=True)]


@pytest.mark.parametrize(("types", "code"), [
    ([tensor(rows("R")), tensor(rows("R"), 4)], "SEG201"),
    ([tensor(rows("R"), 2, dtype="int"), tensor(rows("R"), 4)], "SEG201"),
    ([tensor(rows("R"), dtype="int"), tensor(rows("R"), dtype="int")], "SEG201"),
    ([tensor(rows("R"), dtype="int"), pick("R", "S")], "SEG201"),
    ([tensor(rows("R"), dtype="int"), match("R")], "SEG201"),
    ([tensor(rows("S"), dtype="int"), tensor(rows("R"), 4)], "SEG214"),
])  # fmt: skip
def test_detach_rows_faults(types: list[Any], code: str) -> None:
    assert fault("detach_rows", types).code == code


def test_limit_gradient() -> None:
    x = torch.randn(4, requires_grad=True)
    y = run("limit_gradient", [x], [tensor(4)], limit=0.5)
    assert torch.equal(y, x)
    (y * torch.tensor([2.0, -3.0, 0.25, 0.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.5, -0.5, 0.25, 0]
    with torch.no_grad():
        assert torch.equal(run("limit_gradient", [x], [tensor(4)], limit=0.5), x)
    assert fault("limit_gradient", [tensor(4, dtype="int")], limit=1.0).code == "SEG201"


def test_inside() -> None:
    """The last pixel of 20 x 30 is 29, 19 where corners are pixels, 30, 20 where not."""
    given = torch.tensor([
        [0.0, 0, 0, 29, 19], [0, 0, 0, 30, 20], [0, 0, 0, 30.5, 20], [1, -0.1, 0, 5, 5],
        [1, 0, 0, 5, 5], [1, 0, 0, 5, 10.5],
    ])  # fmt: skip
    sizes = torch.tensor([[20.0, 30.0], [10.0, 40.0]])
    types = [boxes("R"), tensor(2, 2)]
    assert run("inside", [given, sizes], types).tolist() == [1, 1, 0, 0, 1, 0]
    types[0] = boxes("R", legacy=True)
    assert run("inside", [given, sizes], types).tolist() == [1, 0, 0, 0, 1, 0]
    assert run("inside", [given[:0], sizes], types).shape == (0,)
    assert fault("inside", [boxes("R", frame="normalised"), tensor(2, 2)]).code == "SEG206"
    assert fault("inside", [boxes("R"), tensor(2, 3)]).code == "SEG201"


def test_best_classes_without_the_background() -> None:
    scores = torch.tensor([[5.0, 1, 2], [0, 4, 3]])
    types = [tensor(rows("R"), 3)]
    _, best, columns, labels = run("best_classes", [scores], types, skip=1, first=0)
    assert best.tolist() == [2, 4] and columns.tolist() == labels.tolist() == [2, 1]
    assert run("best_classes", [scores], types)[2].tolist() == [0, 1]
    assert fault("best_classes", types, skip=3).attr == "k"


def test_labels_and_columns_may_count_from_elsewhere() -> None:
    """Background last: labels from 1 go with columns from 0."""
    x = torch.arange(6.0).view(2, 3)
    types = [tensor(rows("R"), 3), tensor(rows("R"), dtype="int")]
    assert run("by_class", [x, torch.tensor([1, 3])], types, first=1).tolist() == [0, 5]
    base, scores = torch.tensor([[0.0, 1, 2, 3, 4]]), torch.rand(1, 3)
    kinds = [boxes("R"), tensor(rows("R"), 8), tensor(rows("R"), 3)]
    given = [base, torch.zeros(1, 8), scores]
    _, found, labels = run("class_boxes", given, kinds, background="last", first=1)
    assert labels.tolist() == [1, 2] and torch.equal(found, scores[0, :2])
