"""Shared by the tests of the pictures: networks, and views drawn at random."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from segc.check import Checked, verify
from segc.diag import Report
from segc.draw.model import Item, Link, View
from segc.read import read
from segc.source import Source

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ("unet", "fcn8s", "segnet", "segnet_basic", "deeplab")


@cache
def spec(name: str, **params: object) -> Checked:
    """A checked spec of the repository."""
    return _checked(Source.open(ROOT / "specs" / f"{name}.yaml"), params)


def network(text: str, **params: object) -> Checked:
    """A checked network from spec text."""
    return _checked(Source.from_text(text, "net.yaml"), params)


def _checked(source: Source, params: dict[str, object]) -> Checked:
    report = Report()
    graph = read(source, params, report)
    assert graph is not None, report.diagnostics
    checked = verify(graph, report)
    assert not report.failed, report.diagnostics
    return checked


PYRAMID = """
segc: 1
model: Pyramid
inputs: {image: [N, 3, H, W]}
blocks:
  unit:
    params: {out: int, stride: 1}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, stride: stride, padding: 1}
      bn: batch_norm2d
      relu: relu
  pyramid:
    params: {bin: int}
    inputs: [x]
    layers:
      pool: {op: adaptive_avg_pool2d, output_size: bin}
      conv: {op: conv2d, out_channels: 16, kernel_size: 1}
      up: {op: interpolate, like: x, mode: bilinear, align_corners: true}
layers:
  stem: {block: unit, out: 16, stride: 2}
  body: {repeat: 4, block: unit, out: 32, stride: 2 if i == 0 else 1}
  p1: {block: pyramid, from: body, bin: 1}
  p2: {block: pyramid, from: body, bin: 2}
  p3: {block: pyramid, from: body, bin: 3}
  concat: {op: concat, from: [body, p1, p2, p3]}
  classifier: {op: conv2d, out_channels: 5, kernel_size: 1}
  logits: {op: interpolate, like: image, mode: bilinear, align_corners: true}
  aux: {op: conv2d, from: body, out_channels: 5, kernel_size: 1, only: train}
outputs: {logits: logits, aux: aux}
"""

ATTENTION = """
segc: 1
model: Attention
inputs: {image: [N, 3, H, W]}
blocks:
  gate:
    params: {width: int}
    inputs: [x]
    layers:
      pool: {op: adaptive_avg_pool2d, output_size: 1}
      conv: {op: conv2d, out_channels: width, kernel_size: 1}
      sigmoid: sigmoid
      up: {op: interpolate, like: x, mode: nearest}
      multiply: {op: multiply, from: [x, up]}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
  gate1: {block: gate, width: 8}
  conv2: {op: conv2d, out_channels: 16, kernel_size: 3, stride: 2, padding: 1}
  gate2: {block: gate, width: 16}
  conv3: {op: conv2d, out_channels: 16, kernel_size: 3, stride: 2, padding: 1}
outputs: {y: conv3}
"""


@st.composite
def views(draw: st.DrawFn, most: int = 40) -> View:
    """Any view: a random acyclic graph of boxes, pills and circles on random strides."""
    count = draw(st.integers(1, most))
    names = st.text(st.characters(codec="utf-8"), min_size=0, max_size=40)
    items = [Item("n0", "box", "input", "image", "", "3 × 64²", Fraction(1), (64, 64))]
    links: list[Link] = []
    for i in range(1, count + 1):
        kind = draw(st.sampled_from(("box", "box", "pill", "circle")))
        sources = draw(
            st.lists(st.integers(max(0, i - 6), i - 1), min_size=1, max_size=3, unique=True)
        )
        before = items[sources[0]].stride or Fraction(1)
        factor = draw(st.sampled_from((Fraction(2), Fraction(1, 2)))) if kind == "pill" else 1
        stride = min(max(before * factor, Fraction(1)), Fraction(64))
        arrow = "" if stride == before else "down" if stride > before else "up"
        items.append(
            Item(
                f"n{i}", kind, "merge" if kind == "circle" else draw(st.sampled_from(_FAMILIES)),
                draw(names), draw(names), f"{i} × {64 // stride}²", stride,
                count=draw(st.sampled_from((1, 1, 1, 7))), symbol="C" if kind == "circle" else "",
                arrow=arrow if kind == "pill" else "", scope=draw(st.sampled_from(_SCOPES)),
            )
        )  # fmt: skip
        wires = sources if kind == "circle" else sources[:1]
        kinds = draw(st.sampled_from(("flow", "skip", "train", "index")))
        links += [
            Link(f"n{s}", f"n{i}", kinds if k else "flow", "note") for k, s in enumerate(wires)
        ]
    return View("Title", "subtitle", tuple(items), tuple(links))


_FAMILIES = ("conv", "dilated", "down", "up", "context", "predict", "plain")
_SCOPES = ("", "", "a", "a.b", "c")


def encoder_decoder(depth: int, boxes: int) -> View:
    """A view of an encoder-decoder with `boxes` boxes per level and a skip at each."""
    items = [Item("image", "box", "input", "image", "", "3 × 256²", Fraction(1), (256, 256))]
    links: list[Link] = []

    def add(name: str, kind: str, level: int, *sources: str, arrow: str = "") -> str:
        stride = Fraction(2**level)
        shape = f"{64 * 2**level} × {256 // 2**level}²"
        family = arrow or {"circle": "merge"}.get(kind, "conv")
        items.append(
            Item(name, kind, family, name, "2 × [conv 3×3 · ReLU]" if kind == "box" else "", shape,
                 stride, symbol="C" if kind == "circle" else "", arrow=arrow)
        )  # fmt: skip
        links.extend(Link(s, name, "flow" if i == 0 else "skip") for i, s in enumerate(sources))
        return name

    last, skips = "image", []
    for level in range(depth):
        for k in range(boxes):
            last = add(f"enc{level}_{k}", "box", level, last)
        skips.append(last)
        last = add(f"pool{level}", "pill", level + 1, last, arrow="down")
    last = add("bridge", "box", depth, last)
    for level in reversed(range(depth)):
        last = add(f"up{level}", "pill", level, last, arrow="up")
        last = add(f"cat{level}", "circle", level, last, skips[level])
        for k in range(boxes):
            last = add(f"dec{level}_{k}", "box", level, last)
    return View("Encoder-decoder", "subtitle", tuple(items), tuple(links))
