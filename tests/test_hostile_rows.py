"""Nonsense behind the keys of rows, levels and phases: diagnostics with a place, no exception."""

from __future__ import annotations

import time

import pytest
from spec_kit import HEAD, check

JUNK = (
    "", "true", "false", "null", "0", "-1", "1.5", "'x'", "''", "3", "999999999999", "9**9**9",
    "1e400", "[]", "[[]]", "[1]", "[a]", "[a, b]", "[train]", "{}", "{2: a}", "{p-2: a}",
    "{class: a}", "{input: a}", "{Ä: a}", "{self: a}", "{half: a}", "{out: a, input: b}", "{a: p}",
    "{p2: {}}", "{p2: a}", "{p2: [a]}", "{p2: null}", "{p2: p}", "{p2: nobody}", "{p2: 3}",
    "{p2: a.indices}", "{p2: a, p2: b}", "{p2: image}", "{p2: gt_boxes}", "level", "levels",
    "train", "test", "checkpoint", "{each: level}", "{train: 1}", "{train: 1, test: 2}",
    "{train: x, test: 2}", "{train: [1], test: 2}", "{train: null, test: null}",
    "{train: {train: 1}, test: 1}",
    "{train: 1, test: 2, eval: 3}", "{test: -1, train: 9**9}",
)  # fmt: skip
SPEC = (
    HEAD
    + """inputs:
  image: [N, 3, H, W]
  gt_boxes: GIVEN
layers:
  a: {op: conv2d, from: image, out_channels: 4, kernel_size: 1}
  b: {op: max_pool2d, kernel_size: 2}
  p: LEVELS
  q: {levels: {p2: a, p3: b}}
  c: {op: conv2d, from: p, out_channels: 4, kernel_size: 1, MODE}
  score: {op: anchor_rows, from: q}
  anchors: {op: anchors, from: [image, q], sizes: [8, 16], ratios: [0.5, 1.0, 2.0, 3.0]}
  m: {op: match, from: [anchors, gt_boxes], high: 0.5, only: train}
  f: {op: positives, from: m, only: train}
  o: {op: anchor_rows, from: c}
  t: {op: top_k, from: [anchors, score], k: COUNT}
  g: {op: gather, from: [t, anchors]}
outputs: {a: a, f: f, g: g, o: o}
"""
)
SOUND = {
    "GIVEN": "{shape: [G, 5], type: boxes, only: train}",
    "LEVELS": "{levels: {p2: a, p3: b}}",
    "MODE": "each: level",
    "COUNT": "5",
}
PLACES = {
    "levels": ("LEVELS", "{levels: JUNK}"),
    "levels with from": ("LEVELS", "{levels: {p2: a, p3: b}, from: JUNK}"),
    "levels with only": ("LEVELS", "{levels: {p2: a, p3: b}, only: JUNK}"),
    "levels with when": ("LEVELS", "{levels: {p2: a, p3: b}, when: JUNK}"),
    "levels with more": ("LEVELS", "{levels: {p2: a, p3: b}, repeat: JUNK, use: JUNK, init: JUNK}"),
    "each": ("MODE", "each: JUNK"),
    "share": ("MODE", "share: JUNK"),
    "share and each": ("MODE", "share: level, each: JUNK"),
    "share and repeat": ("MODE", "share: level, repeat: JUNK"),
    "each and when": ("MODE", "each: level, when: JUNK"),
    "each and only": ("MODE", "each: level, only: JUNK"),
    "a shape": ("GIVEN", "{shape: JUNK, type: boxes, only: train}"),
    "a type": ("GIVEN", "{shape: [G, 5], type: JUNK, only: train}"),
    "only of an input": ("GIVEN", "{shape: [G, 5], type: boxes, only: JUNK}"),
    "legacy": ("GIVEN", "{shape: [G, 5], type: boxes, only: train, legacy: JUNK}"),
    "dtype": ("GIVEN", "{shape: [G, 5], type: boxes, only: train, dtype: JUNK}"),
    "an input": ("GIVEN", "JUNK"),
    "a number by phase": ("COUNT", "JUNK"),
}


def written(**parts: str) -> str:
    text = SPEC
    for name, value in {**SOUND, **parts}.items():
        text = text.replace(name, value)
    return text


def test_the_spec_itself_is_sound() -> None:
    assert check(written())[1] == []


@pytest.mark.parametrize("what", PLACES)
def test_nonsense_has_a_place(what: str) -> None:
    key, form = PLACES[what]
    accepted = []
    for junk in JUNK:
        checked, found = check(written(**{key: form.replace("JUNK", junk)}))
        assert checked is not None or found, junk
        assert all(d.loc is not None for d in found), junk
        assert all(d.message and "\n" not in d.message for d in found), junk
        accepted += [] if found else [junk]
    assert len(accepted) < 8, accepted


@pytest.mark.parametrize("count", [64, 65, 9_000, 20_000])
@pytest.mark.parametrize("mode", ["each: level", "share: level", "bias: true"])
def test_many_levels(count: int, mode: str) -> None:
    levels = ", ".join(f"p{n}: a" for n in range(count))
    start = time.process_time()
    _, found = check(written(LEVELS=f"{{levels: {{{levels}}}}}", MODE=mode))
    assert time.process_time() - start < 2
    first = next((d.code for d in found), None)
    one_value = mode.startswith("bias")  # a convolution that says nothing of levels
    fits = "SEG316" if one_value else None
    assert first == ("SEG012" if count > 10_000 else "SEG313" if count > 64 else fits)
    assert all(len(d.message) < 300 for d in found)
