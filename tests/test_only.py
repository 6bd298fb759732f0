"""`only: checkpoint`: weights that a published checkpoint has and nothing computes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from emit_kit import builder, exercise, load, network

from segc.analyse import table
from segc.build import Maker
from segc.check import verify
from segc.diag import Report
from segc.draw import draw
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.read import read
from segc.source import Source

SPEC = """\
segc: 1
model: Net
inputs: {image: [N, 3, H, W]}
blocks:
  unit:
    params: {dead: false}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}
      projection:
        when: dead
        only: checkpoint
        from: x
        layers:
          0: {op: conv2d, out_channels: 7, kernel_size: 1}
          1: batch_norm2d
      relu: {op: relu, from: conv}
layers:
  trunk: {repeat: 3, block: unit, dead: i == 0}
  side: {op: conv2d, from: trunk.1, out_channels: 4, kernel_size: 1, only: checkpoint}
  out: {op: conv2d, from: trunk, out_channels: 4, kernel_size: 1}
outputs: {out: out}
"""
DEAD = (3 * 7 + 7) + 14 + (3 * 4 + 4)


@cache
def model() -> Any:
    torch.manual_seed(0)
    return network(model_source(builder(SPEC)))().eval()


def codes(spec: str) -> list[str]:
    report = Report()
    graph = read(Source.from_text(spec, "x.yaml"), {}, report)
    if graph is not None:
        verify(graph, report)
    return [d.code for d in report.diagnostics]


def test_the_weights_are_counted_and_in_the_state_dict() -> None:
    rows = table(builder(SPEC)({})).rows
    assert sum(r.params for r in rows if r.node.only == "checkpoint") == DEAD
    keys = model().state_dict().keys()
    assert {"trunk.0.projection.0.weight", "trunk.0.projection.1.running_mean"} <= keys
    assert "side.weight" in keys and "trunk.1.projection.0.weight" not in keys


def test_nothing_computes_them() -> None:
    image = torch.randn(1, 3, 5, 6)
    with torch.no_grad():
        before = model()(image)
        for name, value in model().named_parameters():
            if "projection" in name or name.startswith("side"):
                value.fill_(float("nan"))
        assert torch.equal(model()(image), before)


def test_nothing_trains_them() -> None:
    frozen = [n for n, p in model().named_parameters() if not p.requires_grad]
    assert sum(dict(model().named_parameters())[n].numel() for n in frozen) == DEAD


def test_the_emitted_module_agrees_with_the_graph() -> None:
    assert "kept for checkpoints, unused" in exercise(SPEC)


def test_the_deploy_module_drops_them() -> None:
    make = Maker(Source.from_text(SPEC, "x.yaml"), {})
    space = load(deploy_source(make.deploy, make.optimised({})))
    fast = space["from_model"](model())
    assert not [k for k in fast.state_dict() if "projection" in k or k.startswith("side")]
    image = torch.randn(1, 3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(fast(image), model()(image))


def test_a_picture_does_not_show_them() -> None:
    drawing = draw(builder(SPEC)({}), level="layer")
    assert "projection" not in drawing.svg() and "side" not in drawing.svg()
    total = sum(p.numel() for p in model().parameters())
    assert f"{total:,} parameters" in drawing.svg()


def test_a_layer_that_computes_may_not_read_them() -> None:
    also = SPEC.replace("outputs:", "  sum: {op: add, from: [out, side]}\noutputs:")
    also = also.replace("{out: out}", "{out: sum}")
    assert codes(also) == ["SEG311"]
    assert codes(also.replace("[out, side]}", "[out, side], only: train}")) == ["SEG311"]
    assert codes(SPEC.replace("{out: out}", "{out: out, side: side}")) == ["SEG311"]


def test_other_words_are_refused() -> None:
    other = SPEC.replace("kernel_size: 1, only: checkpoint", "kernel_size: 1, only: tests")
    assert codes(other)[0] == "SEG105"
