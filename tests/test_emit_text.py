"""Literals, docstrings, names and line breaks, against Python and the formatter."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest
from emit_kit import reformatted
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.emit.fit import ANY, Variable, fit
from segc.emit.layout import Bracket, Doc, Parts, Tagged, call, statement
from segc.emit.text import NotALiteral, camel, docstring, free_name, literal, plain, wrap

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_literal_reads_back(value: Any) -> None:
    text = literal(value)
    again = ast.literal_eval(text)
    assert text.isascii() and "\n" not in text
    assert again == value and repr(again) == repr(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 2**70, object(), {1}, b"x", 1j])
def test_what_has_no_literal(value: Any) -> None:
    with pytest.raises(NotALiteral):
        literal(value)


@given(st.lists(st.text(max_size=200).map(plain), min_size=1, max_size=4), st.sampled_from([0, 4]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_docstring_is_one_string(texts: list[str], indent: int) -> None:
    lines = [line for t in texts for line in wrap("x " + t, 90)]
    source = "\n".join(docstring(lines, indent))
    tree = ast.parse("if 1:\n" + source if indent else source)
    body = tree.body[0].body if indent else tree.body  # type: ignore[attr-defined]
    assert len(body) == 1 and isinstance(body[0].value, ast.Constant)
    assert all(len(line) <= 100 + 90 for line in source.split("\n"))


@given(st.text(max_size=300), st.integers(30, 100))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_wrap_keeps_every_character(text: str, width: int) -> None:
    lines = wrap(plain(text), width, "    ")
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(plain(text).split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Cireşan", "Ciresan"),
        ("5×5 – “fast”", '5x5 - "fast"'),
        ("中", "U+4E2D"),
        ("a\x00b\x1b[0m", "a b [0m"),
        ("Müller\n\tet al.", "Muller et al."),
        ("\ud800", ""),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_names() -> None:
    assert [camel(n) for n in ("double_conv", "conv_bn_relu", "aspp", "resNet", "_x", "_")] == [
        "DoubleConv", "ConvBNReLU", "ASPP", "ResNet", "X", "Block",
    ]  # fmt: skip
    assert free_name("print", ()) == "print_" and free_name("x", ["x", "x_"]) == "x2"
    assert free_name("0", ()) == "x0" and free_name("lambda", ()) == "lambda_"


# --- line breaks ------------------------------------------------------------------------------
LONG = "self.a_rather_long_attribute_name"
WORD = st.sampled_from(["x", "width", "4 * width", "in_channels", LONG, "kernel_size", "2048"])
HEAD = st.sampled_from(["nn.Conv2d", "F.relu", "self.layer1", "some_function_of_some_length"])


def repeated(item: Doc) -> Doc:
    """`nn.Sequential(*[item for _ in range(3)], x)`, one entry a line."""
    loop = Tagged("*", Bracket("", (Parts((item, "for _ in range(3)")),), "[]"))
    return Bracket("nn.Sequential", (loop, "x"), tall=True)


def brackets(inner: st.SearchStrategy[Doc]) -> st.SearchStrategy[Doc]:
    items = st.lists(inner, min_size=1, max_size=5)
    keyword = st.tuples(st.sampled_from(["stride=", "padding="]), inner).map(lambda t: Tagged(*t))
    keywords = st.lists(keyword, max_size=2, unique_by=lambda k: k.tag)
    return st.one_of(
        st.tuples(HEAD, items, keywords).map(lambda t: call(t[0], [*t[1], *t[2]])),
        items.map(lambda i: Bracket("", tuple(i), "[]")),
        st.tuples(HEAD, items).map(lambda t: Bracket(t[0], tuple(t[1]), tall=len(t[1]) > 1)),
        inner.map(repeated),
    )


DOCS = st.recursive(WORD, brackets, max_leaves=14)


@given(st.lists(DOCS, min_size=40, max_size=60))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_layout_is_a_fixed_point_of_the_formatter(docs: list[Doc]) -> None:
    lines = ["class A:", "    def f(self):"]
    for n, doc in enumerate(docs):
        lines += statement("return " if n == len(docs) - 1 else "value = ", doc, 8)
    assert reformatted("\n".join(lines) + "\n") == ""


# --- fitting ----------------------------------------------------------------------------------
A = Variable("a", (64, 128, 256))
B = Variable("b", (3, 5, 11), channels=False)
FLAG = Variable("flag", (True, False, False))


@pytest.mark.parametrize(
    ("values", "channels", "text"),
    [
        ((7, 7, 7), True, "7"),
        ((64, 128, 256), True, "a"),
        ((256, 512, 1024), True, "4 * a"),
        ((16, 32, 64), True, "a // 4"),
        ((67, 131, 259), True, "a + 3"),
        ((61, 125, 253), True, "a - 3"),
        ((129, 257, 513), True, "2 * a + 1"),
        ((96, 192, 384), True, "3 * a // 2"),
        ((67, 133, 267), True, None),  # a + b, but b counts no channels
        ((1, 2, 5), False, "b // 2"),
        ((True, False, False), False, "flag"),
        ((False, True, True), False, "not flag"),
        ((256, ANY, 1024), True, "4 * a"),
        ((1.0, 2.0, 3.0), False, None),
        ((ANY, 9, ANY), True, "9"),
    ],
)
def test_fit(values: tuple[Any, ...], channels: bool, text: str | None) -> None:
    found = fit(values, [A, B, FLAG], channels)
    assert (found.text if found else None) == text


def test_bools_are_not_numbers() -> None:
    ones = Variable("n", (1, 0, 0))
    assert fit((True, False, False), [ones], False) != fit((1, 0, 0), [ones], False)
