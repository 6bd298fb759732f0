"""`segc fmt`: one layout, nothing lost, or nothing done."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.diag import Fail
from segc.fmt import WIDTH, formatted
from segc.fmt_tree import comments_of
from segc.source import Source

SPECS = sorted((Path(__file__).parents[1] / "specs").rglob("*.yaml"))

UNTIDY = """\
# yaml-language-server: $schema=x.json
# about the file

# about the model
model:   UNet   # the name
segc: 1
params: {classes: 2,width:   64, rates: [1,2,
   3], a_long_name_of_a_parameter: 1, another_long_name_of_a_parameter: 2}
notes: |
    Some text
      indented # not a comment

    more
title: "A # not a comment"  # trailing
source: plain text
   that continues


   # deep comment
   # second
inputs:
    image: [N,3,  H, W]   # img


layers:
   # lead of conv

   conv: {kernel_size: 3,op: conv2d,   out_channels: 8}


   # lead of b
   b:
      from: conv   # x
      op: relu
      # foot of b
   g:
     layers:
        0: relu
        # foot inside
     from: b
     # last
   # foot of layers
# before outputs
outputs: {logits:   g}

transforms:
- stride_to_dilation: {layers: g,
     # comment inside
     output_stride: 8}  # after
-   a: 1
    b: 2
# end
"""

TIDY = """\
# yaml-language-server: $schema=x.json
# about the file

# about the model
segc: 1
model: UNet  # the name
title: "A # not a comment"  # trailing

source: plain text
  that continues

notes: |
  Some text
    indented # not a comment

  more

params: {classes: 2, width: 64, rates: [1, 2, 3], a_long_name_of_a_parameter: 1,
  another_long_name_of_a_parameter: 2}

# deep comment
# second
inputs:
  image: [N, 3, H, W]  # img

layers:
  # lead of conv

  conv: {op: conv2d, kernel_size: 3, out_channels: 8}

  # lead of b
  b:
    op: relu
    from: conv  # x
    # foot of b
  g:
    from: b
    layers:
      0: relu
      # foot inside
    # last
  # foot of layers

transforms:
  - stride_to_dilation: {layers: g,
      # comment inside
      output_stride: 8}  # after
  - a: 1
    b: 2

# before outputs
outputs: {logits: g}
# end
"""


def fmt(text: str) -> str:
    return formatted(Source.from_text(text, "spec.yaml"))


def test_everything_at_once() -> None:
    assert fmt(UNTIDY) == TIDY


def test_its_own_output_is_a_fixed_point() -> None:
    assert fmt(TIDY) == TIDY


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_specs_keep_their_values_and_comments(path: Path) -> None:
    text = path.read_text("utf-8")
    out = fmt(text)
    assert yaml.safe_load(out) == yaml.safe_load(text)
    assert sorted(comments_of(out)) == sorted(comments_of(text))
    assert fmt(out) == out


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("segc: 1\r\nmodel: M\r\n", "segc: 1\nmodel: M\n"),
        ("segc: 1\nmodel: M", "segc: 1\nmodel: M\n"),
        ("model: M\nsegc: 1\n", "segc: 1\nmodel: M\n"),
        ("segc: 1 # one\n\n\n\nmodel: M\n", "segc: 1  # one\n\nmodel: M\n"),
        ("a: [ ]\nb: { }\n", "a: []\nb: {}\n"),
        ("a: 'it''s: # fine'\n", "a: 'it''s: # fine'\n"),
        ("a: http://x#y\n", "a: http://x#y\n"),
        ("# only\n# comments before\nsegc: 1\n", "# only\n# comments before\nsegc: 1\n"),
        ("a:\n- 1\n-   [2,3]\n", "a:\n  - 1\n  - [2, 3]\n"),
    ],
)
def test_small_ones(text: str, wanted: str) -> None:
    assert fmt(text) == wanted


def test_keys_of_layers_are_ordered_and_of_others_are_not() -> None:
    text = """\
blocks:
  b:
    layers:
      c: {stride: 2, from: x, when: big, op: conv2d, init: {weight: ones}, bias: false}
      d: {out: 3, block: other, repeat: 2}
    inputs: [x]
    params: {z: 1, a: 2}
recipe: {op: 1, from: 2, batch_size: 3}
"""
    out = fmt(text)
    assert (
        "c: {when: big, op: conv2d, from: x, stride: 2, bias: false, init: {weight: ones}}" in out
    )
    assert "d: {repeat: 2, block: other, out: 3}" in out
    assert out.index("params:") < out.index("inputs:") < out.index("layers:")
    assert "params: {z: 1, a: 2}" in out, "the order of parameters means something"
    assert "recipe: {op: 1, from: 2, batch_size: 3}" in out


def test_long_flow_collections_are_filled_to_the_width() -> None:
    out = fmt("weights: [" + ", ".join(str(i) for i in range(1000, 1060)) + "]\n")
    lines = out.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= WIDTH for line in lines)
    assert all(len(line) > WIDTH - 8 for line in lines[:-1])


def test_a_block_scalar_keeps_its_inner_indentation() -> None:
    text = "notes: |\n      a\n        b\n\n      c\nsegc: 1\n"
    assert fmt(text) == "segc: 1\n\nnotes: |\n  a\n    b\n\n  c\n"


def test_what_is_not_yaml_is_refused_with_the_readers_words() -> None:
    with pytest.raises(Fail) as caught:
        fmt("a: [1, 2\nb: 3\n")
    assert caught.value.diagnostics[0].code == "SEG007"


@pytest.mark.parametrize("text", ['a: "x \\\n    y"\n', "a: |2\n     x\n", "? a\n: b\n"])
def test_hard_ones_are_kept_or_refused(text: str) -> None:
    try:
        out = fmt(text)
    except Fail as fault:
        assert all(d.code.startswith("SEG0") for d in fault.diagnostics)
    else:
        assert yaml.safe_load(out) == yaml.safe_load(text)


_WORD = st.sampled_from(["relu", "x", "4 * width", "'q # q'", '"a: b"', "12", "true", "1.5"])
_NAME = st.sampled_from(["op", "from", "out", "layers", "block", "a", "b", "when", "inputs"])
_COMMENT = st.sampled_from(["", "", "", "  # c", " # d: e", "   #f {"])
_BLANK = st.sampled_from(["", "", "", "\n", "\n\n\n", "# own\n", "    # deep\n", "\n# two\n\n"])


def _flow(value: object) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_flow(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + " ,".join(f"{k}:  {_flow(v)}" for k, v in value.items()) + "}"
    return str(value)


_FLOW = st.recursive(
    _WORD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAME, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _block(draw: st.DrawFn, indent: int = 0, depth: int = 3) -> str:
    """A block mapping with odd spacing, comments and blank lines."""
    pad = " " * indent
    lines = []
    for name in draw(st.lists(_NAME, min_size=1, max_size=4, unique=True)):
        lines.append(draw(_BLANK))
        if depth and draw(st.booleans()):
            step = draw(st.sampled_from([1, 2, 4]))
            lines.append(f"{pad}{name}:{draw(_COMMENT)}\n")
            lines.append(draw(_block(indent + step, depth - 1)))
        else:
            lines.append(f"{pad}{name}:   {_flow(draw(_FLOW))}{draw(_COMMENT)}\n")
    return "".join(lines)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(_block())
def test_any_document_keeps_values_and_comments(text: str) -> None:
    out = fmt(text)
    assert yaml.safe_load(out) == yaml.safe_load(text)
    assert sorted(comments_of(out)) == sorted(comments_of(text))
    assert fmt(out) == out
    assert "\n\n\n" not in out
    assert all(line == line.rstrip() for line in out.split("\n"))
