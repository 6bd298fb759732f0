"""What the tests of the difference share: a small network, and specs as checked graphs."""

from __future__ import annotations

from pathlib import Path

from segc.check import Checked, verify
from segc.diag import Report
from segc.diff import Diff, diff
from segc.diff_lines import sections
from segc.read import read
from segc.source import Source

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))

NET = """\
segc: 1
model: Net
title: A net
params: {width: 8, rate: 2}

inputs:
  image: [N, 3, H, W]

blocks:
  unit:
    params: {out: int, dilation: 1}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: dilation, dilation: dilation}
      bn: batch_norm2d
      relu: relu

layers:
  stem: {block: unit, out: width}
  pool: {op: max_pool2d, kernel_size: 2}
  body: {repeat: 3, block: unit, out: 2 * width, dilation: rate if i == 2 else 1}
  extra: {block: unit, out: 2 * width, when: width > 8}
  up: {op: interpolate, scale_factor: 2, mode: nearest}
  join: {op: concat, from: [stem, up]}
  logits: {op: conv2d, out_channels: 2, kernel_size: 1}

outputs: {logits: logits}

losses:
  seg: {cross_entropy: logits, target: mask, ignore_index: 255}

recipe:
  optimizer: {sgd: {lr: 0.01, momentum: 0.9}}
  epochs: 10
"""


def checked(text: str = NET, **params: object) -> Checked:
    report = Report()
    graph = read(Source.from_text(text, "net.yaml"), params, report)
    assert graph is not None
    found = verify(graph, report)
    assert not report.failed, [d.message for d in report.diagnostics]
    return found


def spec(path: Path) -> Checked:
    report = Report()
    graph = read(Source.open(path), {}, report)
    assert graph is not None
    return verify(graph, report)


def edited(*changes: tuple[str, str]) -> Diff:
    """The difference a change of the text makes."""
    text = NET
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return diff(checked(), checked(text))


def lines(found: Diff) -> list[str]:
    return [line for head, below in sections(found) for line in (head, *("  " + b for b in below))]
