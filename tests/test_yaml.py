"""The YAML reader: values and places, what is refused and why, and agreement with other readers."""

from __future__ import annotations

import random
import re
import sys
import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segc.catalogue.yaml import ENTRIES
from segc.diag import Diagnostic, Report
from segc.read.scalar import CONSTANTS, resolve, resolve_key
from segc.read.yaml import (
    Limits,
    Mapping_,
    Parser,
    PureParser,
    Scalar,
    Sequence_,
    YNode,
    parse,
)
from segc.source import Source

SPEC = """\
# A comment, then the usual sections.
segc: 1
model: UNet
title: "U-Net: padded"       # quoted, as it holds ': '
source: 'Ronneberger et al.''s paper'
params: {classes: 2, width: 64, padding: 1}
inputs:
  image: [N, 3, H, W]
blocks:
  double_conv:
    params: {out: int, padding: int}
    inputs: [x]
    layers:
      conv1: {op: conv2d, out_channels: 4 * out, kernel_size: [3, 3], bias: false}
      relu1: relu
      downsample:
        when: stride != 1
        from: x
        layers:
          0: {op: conv2d, out_channels: out, momentum: 1.0e-4, eps: .5}
          1: batch_norm2d
layers:
  enc: {block: double_conv, out: width, padding: padding}
transforms:
  - stride_to_dilation: {layers: enc, output_stride: 8}
  - freeze:
    - enc
notes: |
  Two lines,
  kept as they are.
outputs: {logits: enc}
"""


def read(text: str, limits: Limits | None = None, parser: Any = Parser) -> tuple[Any, Report]:
    report = Report()
    tree = parse(Source.from_text(text, "a.yaml"), report, limits or Limits(), parser)
    return tree, report


def plain(node: YNode) -> Any:
    """The tree as dict, list and values."""
    if isinstance(node, Mapping_):
        return {key.value: plain(value) for key, value in node.entries}
    if isinstance(node, Sequence_):
        return [plain(item) for item in node.items]
    return node.value


def text_keys(value: Any) -> Any:
    """What a loader gives, with the numbers that are keys as text."""
    if isinstance(value, dict):
        return {str(key): text_keys(v) for key, v in value.items()}
    return [text_keys(v) for v in value] if isinstance(value, list) else value


def same(a: Any, b: Any) -> bool:
    """Equal with equal types: 1 is not True, 1.0 is not 1, 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def scalars(node: YNode) -> list[Scalar]:
    """All keys and values, in the order of the file."""
    if isinstance(node, Mapping_):
        return [s for key, value in node.entries for s in (key, *scalars(value))]
    if isinstance(node, Sequence_):
        return [s for item in node.items for s in scalars(item)]
    return [node]


def first(text: str) -> Diagnostic:
    _, report = read(text)
    return report.diagnostics[0]


@pytest.mark.parametrize("parser", [Parser, PureParser])
def test_values(parser: Any) -> None:
    tree, report = read(SPEC, parser=parser)
    assert report.diagnostics == []
    assert same(plain(tree), text_keys(yaml.safe_load(SPEC)))


def test_libyaml_is_used_where_pyyaml_has_it() -> None:
    assert (Parser is not PureParser) == yaml.__with_libyaml__


@pytest.mark.parametrize("parser", [Parser, PureParser])
def test_places_point_at_the_text(parser: Any) -> None:
    """Every plain scalar stands where its place says, to the last character."""
    tree, _ = read(SPEC, parser=parser)
    lines = SPEC.split("\n")
    found = scalars(tree)
    assert len(found) > 80
    for scalar in found:
        loc = scalar.loc
        there = lines[loc.line - 1][loc.column - 1 : loc.end_column - 1]
        if not scalar.quoted:
            assert there == scalar.text
        elif not there.startswith("|"):
            assert yaml.safe_load(there) == scalar.value


def test_places_of_collections() -> None:
    tree, _ = read("a: {b: [1]}\nc:\n  d:\n  - 1\n")
    (_, flow), (c, block) = tree.entries
    (_, items), (_, dashes) = flow.entries[0], block.entries[0]
    assert (tree.loc.line, tree.loc.column, tree.loc.end_column) == (1, 1, 2)
    assert (flow.loc.line, flow.loc.column, flow.loc.end_column) == (1, 4, 5)
    assert (items.loc.line, items.loc.column) == (1, 8)
    assert block.loc == block.entries[0][0].loc
    assert (dashes.loc.line, dashes.loc.column) == (4, 3)
    assert c.text == "c"


def test_columns_count_characters_not_bytes() -> None:
    tree, _ = read("\u65e5\U0001f642: {k: v}\n")
    assert tree.entries[0][1].entries[0][1].loc.column == 9


def test_crlf_and_lf_give_the_same_tree() -> None:
    assert read(SPEC)[0] == read(SPEC.replace("\n", "\r\n"))[0]


def test_quoting_is_remembered_and_keys_are_text() -> None:
    tree, _ = read("0: '3'\n\"b\": 3\nc: |\n  3\n")
    keys = [(key.value, key.quoted) for key, _ in tree.entries]
    assert keys == [("0", False), ("b", True), ("c", False)]
    assert [(v.value, v.quoted) for _, v in tree.entries] == [
        ("3", True),
        (3, False),
        ("3\n", True),
    ]


def test_faulty_values_keep_the_tree_and_the_rest_is_reported_too() -> None:
    tree, report = read("a: no\nb: 010\nc: 1e-4\na: 5\nd: 0x1F\n")
    assert [(d.code, d.loc.line) for d in report.diagnostics if d.loc] == [
        ("SEG013", 1),
        ("SEG014", 2),
        ("SEG014", 3),
        ("SEG008", 4),
        ("SEG014", 5),
    ]
    assert same(plain(tree), {"a": False, "b": 10, "c": 1.0e-4, "d": 31})


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("a: 1e-4", "`1.0e-4`"),
        ("a: 1e3", "`1.0e+3`"),
        ("a: 2.5e4", "`2.5e+4`"),
        ("a: -.5", "`-0.5`"),
        ("a: 1_000", "`1000`"),
        ("a: 010", "`10`"),
        ("a: 0x1F", "`31`"),
        ("a: 0o17", "`15`"),
        ("a: 1:30", '"1:30"'),
        ("a: 2024-01-02", '"2024-01-02"'),
        ("a: no", "`false`"),
        ("a: On", "`true`"),
        ("no: 1", '"no"'),
        ("1.5: 1", '"1.5"'),
    ],
)
def test_the_way_out_works(text: str, way_out: str) -> None:
    """The hint names a spelling, and that spelling is accepted in its place."""
    hint = first(text).hint or ""
    assert way_out in hint
    wrong = text.removeprefix("a: ").removesuffix(": 1")
    _, report = read(text.replace(wrong, way_out.strip("`")))
    assert report.diagnostics == []


def test_duplicate_names_the_earlier_line() -> None:
    found = first("layers:\n  a: relu\n  b: relu\n  'a': relu\n")
    assert found.code == "SEG008"
    assert "line 2" in found.message
    assert found.notes[0].loc is not None and found.notes[0].loc.line == 2


def test_unclosed_bracket_is_placed_at_its_opening() -> None:
    found = first("a:\n  b: {c: d\n  e: f\n")
    assert found.loc is not None and (found.loc.line, found.loc.column) == (2, 6)
    assert found.notes[0].loc is not None and found.notes[0].loc.line == 3


def test_unclosed_quote_is_placed_where_it_opens_not_where_the_text_stops_making_sense() -> None:
    text = 'a: "one\nb: "two\nlines"  # fine \nc: 3\nd: "*.bias"\ne: "x # y"\n'
    found = first(text)
    assert (found.code, found.message) == ("SEG007", "a quote is not closed")
    assert found.loc is not None and (found.loc.line, found.loc.column) == (1, 4)
    assert found.notes[0].loc is not None and found.notes[0].loc.line > 1


def test_text_over_several_lines_is_not_taken_for_an_unclosed_quote() -> None:
    found = first('a: "one\n  two \\" three"\nb: [1\nc: 2\n')
    assert found.loc is not None and (found.loc.line, found.loc.column) == (3, 4)


def test_limits_can_be_raised_and_lowered() -> None:
    text = "a: [[[1, 2, 3]]]\n"
    assert first_code(text, Limits(depth=3)) == "SEG011"
    assert first_code(text, Limits(depth=4)) is None
    assert first_code(text, Limits(values=6)) == "SEG012"
    assert first_code(text, Limits(values=7)) is None
    assert first_code(text, Limits(size=10)) == "SEG003"
    assert first_code("a: 1\nb: 1\n", Limits(keys=1)) == "SEG012"
    assert first_code("a: abc\n", Limits(text=2)) == "SEG012"
    assert len(read("a: [" + "no, " * 50 + "1]", Limits(errors=7))[1].diagnostics) == 7


def first_code(text: str, limits: Limits) -> str | None:
    found = read(text, limits)[1].diagnostics
    return found[0].code if found else None


@pytest.mark.parametrize("code", sorted(code for code, entry in ENTRIES.items() if entry.bad))
def test_catalogue_examples(code: str) -> None:
    """The bad example gives its code (only that one), the good one nothing."""
    entry = ENTRIES[code]
    assert {d.code for d in read(entry.bad)[1].diagnostics} == {code}
    assert read(entry.good)[1].diagnostics == []


def test_every_code_of_the_reader_is_in_the_catalogue_and_back() -> None:
    import segc

    root = segc.__path__[0]
    used = set()
    for name in ("source", "read/yaml", "read/scalar", "read/syntax", "read/characters"):
        with open(f"{root}/{name}.py", encoding="utf-8") as file:
            used |= set(re.findall(r'"(SEG0\d\d)"', file.read()))
    assert used == set(ENTRIES)


# --- agreement with YAML 1.1 (PyYAML) and 1.2 (the core schema, written from its specification)


def read_by_yaml_1_2(text: str) -> Any:
    """YAML 1.2.2, section 10.3.2: the core schema's tag resolution."""
    if re.fullmatch("null|Null|NULL|~|", text):
        return None
    if re.fullmatch("true|True|TRUE|false|False|FALSE", text):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", text):
        return float(text.lower().replace(".", ""))
    return text


def read_by_yaml_1_1(text: str) -> Any:
    """PyYAML's resolution of a plain scalar; an exception stands for itself."""
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except Exception as error:  # whatever PyYAML raises: ValueError, KeyError, …
        return error


NUMBERLIKE = st.text(alphabet="0123456789+-._:eExobBinfaNT ~<=yns", max_size=9)


@settings(derandomize=True, max_examples=8_000, deadline=None, database=None)
@given(NUMBERLIKE)
@example("0b_")
@example("1:30")
@example("1.")
@example(".5")
@example("+.5")
@example("08")
@example("0o8")
@example("1e3")
@example("-0")
@example("2024-13-45")
def test_what_is_accepted_means_the_same_in_yaml_1_1_and_1_2(text: str) -> None:
    text = text.strip()
    value, trouble = resolve(text)
    if trouble is None:
        assert same(value, read_by_yaml_1_1(text)), "YAML 1.1"
        assert same(value, read_by_yaml_1_2(text)), "YAML 1.2"


@pytest.mark.parametrize("word", ["yes", "No", "ON", "oFF", "Off", "yEs", "y", "N", "true", "tRue"])
def test_words(word: str) -> None:
    """A word has trouble exactly if 1.1 and 1.2 differ on it."""
    agree = same(read_by_yaml_1_1(word), read_by_yaml_1_2(word))
    assert (resolve(word).trouble is None) == agree
    assert (resolve_key(word) is None) == (agree and word not in CONSTANTS)


PIECES = [
    "\n", " ", "  ", ":", ": ", "- ", "? ", ",", "{", "}", "[", "]", "&a ", "*a", "!!int ", "! ",
    "|", ">", '"', "'", "#", "%", "@", "`", "\t", "\r", "\0", "\x85", "\u2028", "\ufeff", "\\",
    "---\n", "...\n", "<<: ", "no", "on", "1e3", "010", "1:30", ".inf", "~", "0x1F", "1_0",
    "\u202e", "\\u202e", "\\x", "\U0001f642", "é", "=", "null", "1.0e+999", "9" * 30, "{" * 40, "y",
    "? [",
]  # fmt: skip


def mutant(rng: random.Random) -> str:
    """The spec after one to six edits: delete, insert, replace, move, cut."""
    text = SPEC
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((1, 1, 2, 5, 40)))
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif kind == 2:
            text = text[:at] + rng.choice(PIECES) + text[end:]
        elif kind == 3:
            text = text[:at] + text[at:end] * 2 + text[end:]
        else:
            text = (
                text[:at]
                if rng.random() < 0.1
                else text[:at] + chr(rng.randrange(32, 127)) + text[end:]
            )
    return text


def test_mutants_are_reported_or_read_as_pyyaml_reads_them() -> None:
    """Never an exception; where it says ok, the values are those of the usual loader."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rng = random.Random(20150518)
    accepted = 0
    for _ in range(4_000):
        text = mutant(rng)
        tree, report = read(text)
        assert tree is not None or report.failed
        if not report.failed:
            accepted += 1
            assert same(plain(tree), text_keys(yaml.load(text, loader))), text
    assert 400 < accepted < 3_600  # both outcomes are exercised


def test_mutants_without_libyaml() -> None:
    rng = random.Random(7)
    for _ in range(300):
        text = mutant(rng)
        tree, report = read(text, parser=PureParser)
        fast, fast_report = read(text)
        assert tree is not None or report.failed
        if not report.failed and not fast_report.failed:
            assert same(plain(tree), plain(fast)), text


@settings(derandomize=True, max_examples=2_000, deadline=None, database=None)
@given(st.text(max_size=60), st.sampled_from([Parser, PureParser]))
def test_any_text_is_reported_or_read(text: str, parser: Any) -> None:
    tree, report = read(text, parser=parser)
    assert (tree is None) <= report.failed
    for found in report.diagnostics:
        assert found.code in ENTRIES and found.loc is not None and found.hint


def test_reading_runs_no_code_and_opens_nothing() -> None:
    """An audit hook sees every import, open, exec and process; parsing causes none."""
    seen: list[str] = []
    watching = True
    watched = ("import", "open", "exec", "compile", "os.", "subprocess.", "socket.")
    text = (
        'a: !!python/object/apply:os.system ["touch x"]\nb: !!python/name:os.system\nc: ${HOME}\n'
    )
    read(text)  # anything loaded lazily is loaded now

    def hook(event: str, _: object) -> None:
        if watching and event.startswith(watched):
            seen.append(event)

    sys.addaudithook(hook)  # cannot be removed: `watching` turns it off
    read(text)
    read(SPEC)
    watching = False
    assert seen == []


def test_time_is_linear_in_the_number_of_layers() -> None:
    """100,000 layers are read, and ten times the layers take about ten times as long."""
    limits = Limits(size=1 << 30, values=1 << 30, keys=1 << 30)
    line = "  c{}: {{op: conv2d, out_channels: 64, kernel_size: 3, padding: 1}}\n"

    def seconds(layers: int) -> float:
        text = "layers:\n" + "".join(line.format(i) for i in range(layers))
        start = time.process_time()
        tree, report = read(text, limits)
        spent = time.process_time() - start
        assert not report.failed and len(tree.entries[0][1].entries) == layers
        return spent

    small = min(seconds(10_000) for _ in range(3))
    assert seconds(100_000) < 20 * small
    assert small / 10_000 < 200e-6  # measured 20 µs; a busy machine is allowed ten times that
