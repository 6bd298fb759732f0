"""`only: train`, `only: test`, `phase` and numbers by phase, in one class and across classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from emit_kit import builder, load, network
from spec_kit import sound
from torch import Tensor

from segc.build import Maker
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.ir import Ref
from segc.phases import inference, without
from segc.source import Source
from segc.verify import verify

HEAD = """segc: 1
model: Net
inputs:
  image: [N, 3, H, W]
"""
CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1"
IMAGE = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@cache
def made(text: str) -> tuple[str, Any]:
    """The source and an instance in float64; every comparison that segc makes itself agrees."""
    assert [f for f in verify(Source.from_text(text, "net.yaml"), {}) if not f.ok] == []
    source = model_source(builder(text))
    torch.manual_seed(0)
    return source, network(source)().double()


def both(text: str, *inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What it answers in training and outside it."""
    model = made(text)[1]
    return model.train()(IMAGE, *inputs), model.eval()(IMAGE, *inputs)


def conv(model: Any, name: str, x: Tensor) -> Tensor:
    state = model.state_dict()
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def same(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def deployed(text: str) -> Any:
    """The deploy module with the weights of the model."""
    make = Maker(Source.from_text(text, "net.yaml"), {})
    model = made(text)[1]
    return load(deploy_source(make.deploy, make.optimised({})))["from_model"](model).eval()


# --- layers of one phase --------------------------------------------------------------------
ONE_CLASS = f"""{HEAD}layers:
  body: {CONV}}}
  aux: {CONV}, from: body, only: train}}
  late: {CONV}, from: body, only: test}}
  later: {{op: relu, only: test}}
  always: {{op: tanh, from: body}}
outputs: {{aux: aux, late: later, always: always}}
"""


def test_outputs_of_one_phase() -> None:
    trained, found = both(ONE_CLASS)
    assert (list(trained), list(found)) == (["always", "aux"], ["always", "late"])
    model = made(ONE_CLASS)[1]
    body = conv(model, "body", IMAGE)
    same(trained["aux"], conv(model, "aux", body))
    same(found["late"], F.relu(conv(model, "late", body)))
    same(trained["always"], body.tanh())
    same(found["always"], body.tanh())


def test_the_deploy_module_has_no_training() -> None:
    checked = sound(ONE_CLASS)
    lasting = inference(checked)
    assert list(lasting.graph.outputs) == ["late", "always"]
    assert "aux" not in lasting.graph.by_name
    assert {node.only for node in lasting.graph.nodes} == {None}
    network = deployed(ONE_CLASS)
    assert not any("aux" in key for key in network.state_dict())
    found, wanted = network(IMAGE), made(ONE_CLASS)[1].eval()(IMAGE)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        same(found[name], value)


def test_a_network_without_phases_stays_as_it_is() -> None:
    checked = sound(f"{HEAD}layers:\n  a: {CONV}}}\noutputs: {{y: a}}\n")
    assert inference(checked) is checked
    assert without(checked, ("train",)) is checked


# --- a value that is another one in each phase ----------------------------------------------
JOINED = f"""{HEAD}layers:
  body: {CONV}}}
  first: {CONV}, from: body, only: train}}
  second: {{op: relu, from: body, only: test}}
  either: {{op: phase, from: [first, second]}}
  out: {{op: conv2d, out_channels: 2, kernel_size: 1}}
outputs: {{y: out, z: either}}
"""


def test_phase_joins_two_values() -> None:
    trained, found = both(JOINED)
    model = made(JOINED)[1]
    body = conv(model, "body", IMAGE)
    for got, either in ((trained, conv(model, "first", body)), (found, F.relu(body))):
        same(got["z"], either)
        same(got["y"], conv(model, "out", either))
    for name, value in deployed(JOINED)(IMAGE).items():
        same(value, found[name])
    assert "first" not in "".join(deployed(JOINED).state_dict())


def test_phase_joins_values_of_both_phases_too() -> None:
    """An operand that is always there is read in its phase alone."""
    text = JOINED.replace("from: body, only: train", "from: body").replace(
        "outputs: {", "outputs: {first: first, "
    )
    trained, found = both(text)
    model = made(text)[1]
    body = conv(model, "body", IMAGE)
    same(trained["z"], trained["first"])
    same(found["z"], F.relu(body))
    same(found["first"], conv(model, "first", body))


# --- across classes -------------------------------------------------------------------------
INNER = f"""{HEAD}blocks:
  unit:
    inputs: [x]
    layers:
      body: {CONV}}}
      first: {CONV}, from: body, only: train}}
      second: {{op: relu, from: body, only: test}}
      either: {{op: phase, from: [first, second]}}
      out: {CONV}}}
layers:
  units: {{repeat: 2, block: unit}}
  side:
    only: train
    from: units.0.first
    layers:
      conv: {CONV}}}
      relu: relu
  best: {{op: sigmoid, from: units.1.second, only: test}}
outputs: {{y: units, side: side, best: best}}
"""


def unit(model: Any, path: str, x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    """first, second and out of a unit."""
    body = conv(model, f"{path}.body", x)
    first, second = conv(model, f"{path}.first", body), F.relu(body)
    return first, second, conv(model, f"{path}.out", first if training else second)


def test_values_of_one_phase_leave_a_class() -> None:
    trained, found = both(INNER)
    model = made(INNER)[1]
    first, _, x = unit(model, "units.0", IMAGE, True)
    same(trained["side"], F.relu(conv(model, "side.conv", first)))
    same(trained["y"], unit(model, "units.1", x, True)[2])
    x = unit(model, "units.0", IMAGE, False)[2]
    _, second, out = unit(model, "units.1", x, False)
    same(found["best"], second.sigmoid())
    same(found["y"], out)
    assert (set(trained), set(found)) == ({"y", "side"}, {"y", "best"})
    for name, value in deployed(INNER)(IMAGE).items():
        same(value, found[name])


GROUPS = f"""{HEAD}layers:
  body: {CONV}}}
  training_part:
    only: train
    layers:
      a: {CONV}}}
      b: {{op: add, from: [a, body]}}
  test_part:
    from: body
    only: test
    layers:
      c: {CONV}}}
      d: relu
      e: {{op: add, from: [d, body]}}
  either: {{op: phase, from: [training_part.a, test_part.d]}}
  both: {{op: add, from: [either, body]}}
outputs: {{b: training_part, e: test_part, y: both}}
"""


def test_groups_of_one_phase() -> None:
    trained, found = both(GROUPS)
    model = made(GROUPS)[1]
    body = conv(model, "body", IMAGE)
    a, d = conv(model, "training_part.a", body), F.relu(conv(model, "test_part.c", body))
    same(trained["b"], a + body)
    same(trained["y"], a + body)
    same(found["e"], d + body)
    same(found["y"], d + body)
    for name, value in deployed(GROUPS)(IMAGE).items():
        same(value, found[name])


# --- ground truth and numbers by phase ------------------------------------------------------
BOXES = """segc: 1
model: Net
inputs:
  image: [N, 3, H, W]
  sizes: {shape: [N, 2], type: sizes}
  gt_boxes: {shape: [G, 5], type: boxes, only: train}
BLOCKS
layers:
  map: {op: conv2d, from: image, out_channels: 5, kernel_size: 4, stride: 4}
  LIST
outputs: {OUTPUTS}
"""
CHOICE = """
      score: {op: anchor_rows, from: S}
      anchors: {op: anchors, from: [image, S], sizes: [4], ratios: [1.0]}
      top: {op: top_k, from: [anchors, score], k: {train: 3, test: 2}}
      boxes: {op: gather, from: [top, anchors]}
      best: {op: gather, from: [top, score]}
      kept: {op: nms, from: [boxes, best], iou: 1.0, keep: {train: 2, test: 1}}
      out: {op: gather, from: [kept, boxes]}"""


def numbers(inner: bool) -> str:
    text = BOXES.replace("BLOCKS\n", "").replace("OUTPUTS", "y: choice, G")
    layers = CHOICE.replace("from: S", "from: one").replace("image, S", "image, one")
    one = "\n      one: {op: conv2d, from: map, out_channels: 1, kernel_size: 1}"
    body = f"choice:\n    layers:{one}{layers}"
    if not inner:
        flat = (one + layers).replace("\n      ", "\n  ").lstrip()
        body = flat.replace("  out: {op: gather", "  choice: {op: gather")
    truth = """
  more: {op: append_rows, from: [choice, gt_boxes], only: train}
  clipped: {op: clip_boxes, from: [choice, sizes], only: test}
  found: {op: phase, from: [more, clipped]}
  large: {op: large_enough, from: found, min_side: 0.0}
  last: {op: gather, from: [large, found]}"""
    return text.replace("LIST", body + truth).replace("G}", "last: last}")


TRUTH = torch.tensor([[0.0, 1, 1, 5, 6], [1, 0, 0, 4, 4], [1, 2, 2, 8, 8]], dtype=torch.float64)
SIZES = torch.tensor([[9.0, 8.0], [8.0, 7.0]], dtype=torch.float64)


@pytest.mark.parametrize("inner", [False, True])
def test_numbers_by_phase(inner: bool) -> None:
    text = numbers(inner)
    source, model = made(text)
    model.train()
    trained = model(IMAGE, SIZES, TRUTH)
    model.eval()
    found = model(IMAGE, SIZES)
    assert (trained["y"].shape, found["y"].shape) == ((4, 5), (2, 5))  # 2 and 1 of each image
    assert (trained["last"].shape, found["last"].shape) == ((7, 5), (2, 5))
    assert "3 if self.training else 2" in source
    assert "2 if self.training else 1" in source
    assert "gt_boxes: Tensor | None = None" in source
    same(found["last"], deployed(text)(IMAGE, SIZES)["last"])


def test_rows_of_a_joined_value_are_another_set_in_each_phase() -> None:
    checked = sound(numbers(True))
    rows = checked.rows
    joined = checked.shape(Ref("found"))[0]
    assert rows.project(joined, "train") == checked.shape(Ref("more"))[0]
    assert rows.project(joined, "test") == checked.shape(Ref("clipped"))[0]
    assert rows.among(joined)


def test_the_deploy_module_takes_no_ground_truth() -> None:
    checked = inference(sound(numbers(True)))
    assert list(checked.graph.inputs) == ["image", "sizes"]
    assert checked.shape(Ref("last"))[1] == 5


def test_inputs_of_training_come_last() -> None:
    """Wherever they stand in the spec: outside training a call leaves them out."""
    text = numbers(True)
    lines = text.splitlines(keepends=True)
    lines.insert(4, lines.pop(next(n for n, line in enumerate(lines) if "gt_boxes: {" in line)))
    moved = "".join(lines)
    assert moved.index("gt_boxes:") < moved.index("sizes:") and sorted(moved) == sorted(text)
    assert list(sound(moved).graph.inputs) == ["image", "sizes", "gt_boxes"]
    same(made(moved)[1].eval()(IMAGE, SIZES)["last"], deployed(moved)(IMAGE, SIZES)["last"])


TRAINED_INPUT = BOXES.replace("BLOCKS\n", "").replace(
    "LIST", "truth: {op: large_enough, from: gt_boxes, min_side: 0.0, only: train}\n"
    "  rows: {op: gather, from: [truth, gt_boxes], only: train}\n"
    "  inside: {op: clip_boxes, from: [rows, sizes], only: train}"
).replace("OUTPUTS", "map: map, inside: inside, given: gt_boxes")  # fmt: skip


def test_an_output_may_be_an_input_of_training() -> None:
    model = made(TRAINED_INPUT)[1]
    trained = model.train()(IMAGE, SIZES, TRUTH)
    assert set(trained) == {"map", "inside", "given"}
    same(trained["given"], TRUTH)
    assert set(model.eval()(IMAGE, SIZES)) == {"map"}
