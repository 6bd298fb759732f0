"""Fail closed at every level: whatever one key or one value of a spec is turned into that it may
not be is refused, on the line where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from spec_kit import check

from segc.diag import Report
from segc.op import REGISTRY
from segc.read.params import PARAM_KEYS
from segc.read.spec import BLOCK_KEYS, LAYER_KEYS, TOP_LEVEL
from segc.read.tree import Mapping_, Scalar, YNode
from segc.read.yaml import parse
from segc.source import Source

SPECS = Path(__file__).parent.parent / "specs"
NAMES = ("unet", "segnet_basic", "fcn32s")
WORDS = {*TOP_LEVEL, *LAYER_KEYS, *BLOCK_KEYS, *PARAM_KEYS} | {
    name for cls in REGISTRY.values() for name in cls.attrs
} - {"image"}  # what the networks here call their input
RECIPE = {"cross_entropy", "target", "ignore_index", "max_steps", "batch_size", "crop", "optimizer",
          "schedule", "sgd", "lr", "momentum", "weight_decay", "flip", "scale"}  # fmt: skip


def tree(text: str) -> Mapping_:
    found = parse(Source.from_text(text, "net.yaml"), Report())
    assert found is not None
    return found


def scalars(node: YNode) -> Iterator[tuple[Scalar, bool]]:
    """Every key (True) and every single value (False) of a document."""
    if isinstance(node, Scalar):
        yield node, False
    elif isinstance(node, Mapping_):
        for key, value in node.entries:
            yield key, True
            yield from scalars(value)
    else:
        for item in node.items:
            yield from scalars(item)


def with_words(text: str, scalar: Scalar, words: str) -> str:
    """The text with other words in the place of a scalar."""
    lines = text.splitlines(keepends=True)
    line = lines[scalar.loc.line - 1]
    before, after = line[: scalar.loc.column - 1], line[scalar.loc.end_column - 1 :]
    lines[scalar.loc.line - 1] = before + words + after
    return "".join(lines)


def assert_refused_there(text: str, line: int, what: str) -> None:
    _, found = check(text)
    assert found, f"{what} on line {line} is accepted"
    first = next((d for d in found if d.loc is not None), None)
    assert first is not None and first.loc is not None
    assert first.loc.line == line, f"{what} on line {line} is shown at {first.loc}: {first.message}"


@pytest.fixture(params=NAMES)
def text(request: pytest.FixtureRequest) -> str:
    found = (SPECS / f"{request.param}.yaml").read_text(encoding="utf-8")
    found = re.sub(r"^use: \[weights/.*\]\n", "", found, flags=re.MULTILINE)
    assert check(found)[1] == []
    return found


@pytest.mark.parametrize("words", ["{a: 1}", "[[1]]", "{op: relu}", "~"])
def test_every_value_of_another_kind(text: str, words: str) -> None:
    """Mappings, lists of lists and nothing, in the place of each value."""
    count = 0
    for scalar, is_key in scalars(tree(text)):
        if is_key:
            continue
        if words == "~" and "\n" in scalar.text:
            continue
        mutant = with_words(text, scalar, words)
        if words == "{op: relu}" and _is_layer(scalar, text):
            continue  # `relu1: {op: relu}` is what `relu1: relu` means
        count += 1
        assert_refused_there(mutant, scalar.loc.line, f"{words} for `{scalar.text[:30]}`")
    assert count > 40


def _is_layer(scalar: Scalar, text: str) -> bool:
    return scalar.text in REGISTRY and "op:" not in text.splitlines()[scalar.loc.line - 1]


def test_every_number_in_quotes(text: str) -> None:
    """ "3" is not 3."""
    count = 0
    for scalar, is_key in scalars(tree(text)):
        if is_key or isinstance(scalar.value, str) or scalar.value is None:
            continue
        count += 1
        mutant = with_words(text, scalar, f'"{scalar.text}"')
        assert_refused_there(mutant, scalar.loc.line, f'"{scalar.text}" in quotes')
    assert count > 10


@pytest.mark.parametrize("words", ["true", "1.5", "-7", '"x y"', "nobody"])
def test_every_integer_of_a_layer_replaced(text: str, words: str) -> None:
    count = 0
    for layers in (v for k, v in tree(text).entries if k.text in ("layers", "blocks")):
        for scalar, is_key in scalars(layers):
            if is_key or type(scalar.value) is not int:
                continue
            count += 1
            mutant = with_words(text, scalar, words)
            assert_refused_there(mutant, scalar.loc.line, f"{words} for {scalar.text}")
    assert count > 5


@pytest.mark.parametrize("change", ["misspell", "double"])
def test_every_key_of_the_language(text: str, change: str) -> None:
    """A key with a letter too many, and a key given twice."""
    count = 0
    for scalar, is_key in scalars(tree(text)):
        if not is_key or scalar.text not in WORDS | RECIPE:
            continue
        count += 1
        if change == "misspell":
            mutant, line = with_words(text, scalar, scalar.text + "q"), scalar.loc.line
        else:
            lines = text.splitlines(keepends=True)
            written, start = lines[scalar.loc.line - 1], scalar.loc.column - 1
            if "{" not in written[:start]:
                continue
            mutant, line = (
                with_words(text, scalar, f"{scalar.text}: 1, {scalar.text}"),
                scalar.loc.line,
            )
        _, found = check(mutant)
        assert found, f"`{scalar.text}` on line {line} {change}d is accepted"
        places = {d.loc.line for d in found if d.loc is not None}
        elsewhere = {d.code for d in found} & {"SEG102", "SEG104", "SEG109", "SEG301"}  # readers
        assert line in places or elsewhere, f"`{scalar.text}` on line {line}: {found[0].message}"
    assert count > 30


def test_every_layer_dropped(text: str) -> None:
    """A network without one of its layers is refused, or is another sound network of fewer
    parameters or layers: never the same."""
    document = tree(text)
    whole, _ = check(text)
    assert whole is not None
    layers = next(v for k, v in document.entries if k.text == "layers")
    assert isinstance(layers, Mapping_)
    starts = [key.loc.line for key, _ in layers.entries]
    lines = text.splitlines(keepends=True)
    for number, start in enumerate(starts[:-1]):
        mutant = "".join(lines[: start - 1] + lines[starts[number + 1] - 1 :])
        checked, found = check(mutant)
        if not found:
            assert checked is not None
            assert len(checked.graph.nodes) < len(whole.graph.nodes)
