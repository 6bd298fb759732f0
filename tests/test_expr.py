"""Expressions mean what they mean in Python, and nothing in them runs away."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.read.expr import MAX_INT, ExprError, evaluate

SCOPE: dict[str, Any] = {
    "width": 64, "classes": 21, "ratio": 0.25, "on": True, "off": False, "i": 3, "zero": 0,
    "word": "kaiming",
    "rates": (6, 12, 18), "pair": (2, 0.5),
}  # fmt: skip

# --- against Python ----------------------------------------------------------------------------
NUMBERS = st.one_of(
    st.integers(0, 40).map(str),
    st.sampled_from(["0.5", "1.25", "2.0", "3.0e+1", "1e3", "007"[2:]]),
    st.sampled_from(["width", "classes", "ratio", "i", "zero", "rates[0]", "rates[i - 1]"]),
)
BOOLEANS = st.sampled_from(["True", "False", "on", "off", "word == 'kaiming'", "word != 'x y'"])


def numbers(inner: tuple[st.SearchStrategy[str], st.SearchStrategy[str]]) -> Any:
    n, b = inner
    return st.one_of(
        st.tuples(n, st.sampled_from(["+", "-", "*", "//", "%"]), n).map(" ".join),
        st.tuples(n, n).map(lambda t: f"{t[0]} ** {t[1]}"),
        n.map(lambda x: f"-{x}"),
        n.map(lambda x: f"- + {x}"),
        n.map(lambda x: f"({x})"),
        st.tuples(n, b, n).map(lambda t: f"{t[0]} if {t[1]} else {t[2]}"),
        st.tuples(n, b, n).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.lists(n, min_size=2, max_size=4).map(lambda xs: f"min({', '.join(xs)})"),
        st.lists(n, min_size=2, max_size=4).map(lambda xs: f"max({', '.join(xs)})"),
        st.tuples(st.lists(n, min_size=1, max_size=3), n).map(
            lambda t: f"[{', '.join(t[0])}][({t[1]}) % {len(t[0])}]"
        ),
        b.map(lambda x: f"({x}) + 1"),
    )


def booleans(inner: tuple[st.SearchStrategy[str], st.SearchStrategy[str]]) -> Any:
    n, b = inner
    compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return st.one_of(
        st.tuples(n, compare, n).map(" ".join),
        st.tuples(n, compare, n, compare, n).map(" ".join),
        st.tuples(b, st.sampled_from(["and", "or"]), b).map(" ".join),
        b.map(lambda x: f"not {x}"),
        b.map(lambda x: f"({x})"),
        st.tuples(b, b, b).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    )


def grown(levels: int) -> tuple[st.SearchStrategy[str], st.SearchStrategy[str]]:
    pair: tuple[Any, Any] = (NUMBERS, BOOLEANS)
    for _ in range(levels):
        pair = (st.one_of(NUMBERS, numbers(pair)), st.one_of(BOOLEANS, booleans(pair)))
    return pair


TEXTS = st.one_of(*grown(4))


class _TooBig(Exception):
    pass


def python(text: str) -> Any:
    """What Python makes of it; ArithmeticError and friends pass through."""
    builtins = {"__builtins__": {}, "min": min, "max": max}
    value = eval(compile(text, "<oracle>", "eval"), builtins, SCOPE)
    if isinstance(value, complex) or (not isinstance(value, bool) and abs(value) >= MAX_INT):
        raise _TooBig
    return value


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=3000, deadline=None, derandomize=True)
@given(TEXTS)
def test_same_value_and_type_as_python(text: str) -> None:
    """Where segc computes a value it is Python's; where it refuses, a bound or Python's error is
    the reason (segc also bounds what is computed on the way)."""
    if len(text) > 350:
        return
    try:
        ours = evaluate(text, SCOPE)
    except ExprError as error:
        if "range" in error.message or "exponent" in error.message:
            return
        # SyntaxError: a conditional without brackets inside a comparison is no Python either
        with pytest.raises((ArithmeticError, IndexError, TypeError, SyntaxError, _TooBig)):
            python(text)
        return
    theirs = python(text)
    assert type(ours) is type(theirs)
    assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3", "(1 + 2) * 3", "2 ** 3 ** 2", "-2 ** 2", "2 ** -1", "-2 ** -2", "7 // 2 * 2",
        "-7 // 2", "-7 % 3", "7 % -3", "7.5 // 2", "1 - 2 - 3", "- - 3", "not not 1", "not 1 == 2",
        "0 < i < 3", "0 < i <= 3", "3 > i > 1", "1 == 1 == 1", "1 < 2 != 3", "5 if i else 6",
        "1 if off else 2 if on else 3", "(1 if on else 2) + 1", "1 if on else 2 + 1",
        "max(1, min(5, 3))", "rates[1]", "rates[0] + rates[2]", "[1, [2, 3]][1][0]", "on + 1",
        "off or on and off", "(off or on) and off", "i == 3 and width >= 64", "min(ratio, 1)",
        "True", "false or true", "1e3", "2.50", "1.0e-4", "max(i, 2, 1)", "[][0] if off else 3",
    ],
)  # fmt: skip
def test_precedence_and_meaning(text: str) -> None:
    theirs = eval(text.replace("false", "False").replace("true", "True"), {}, SCOPE)
    ours = evaluate(text, SCOPE)
    assert ours == theirs and type(ours) is type(theirs)


def test_and_or_give_booleans() -> None:
    """Unlike Python's: a number of channels is never the accident of an `or`."""
    assert evaluate("3 and 4", {}) is True
    assert evaluate("0 or 7", {}) is True
    assert evaluate("0 and 7", {}) is False


def test_only_what_is_needed_is_computed() -> None:
    assert evaluate("1 if true else 1 // 0", {}) == 1
    assert evaluate("false and 1 // 0", {}) is False
    assert evaluate("true or nobody", {}) is True
    assert evaluate("2 < 1 < 1 // 0", {}) is False


# --- what is refused ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "words", "offset"),
    [
        ("", "a value is missing before `the end`", 0),
        ("1 +", "a value is missing before `the end`", 3),
        ("* 2", "a value is missing before `*`", 0),
        ("1 2", "`2` is not expected here", 2),
        ("(1", "`)` is missing before `the end`", 2),
        ("[1, 2", "`,` is missing before `the end`", 5),
        ("1 if 2", "`else` is missing", 6),
        ("width / 2", "`/` has no meaning", 6),
        ("a = 1", "`=` has no meaning", 2),
        ("x.y", "`.` has no meaning", 1),
        ("'a", "`'` has no meaning", 0),
        ("'a' + 1", "the text `a` is not a number", 4),
        ("min('a', 1)", "the text `a` is not a number", 0),
        ("'a' < 'b'", "the text `a` is not a number", 4),
        ("1; 2", "`;` has no meaning", 1),
        ("{1}", "`{` has no meaning", 0),
        ("1 and", "a value is missing", 5),
        ("3 + not 1", "a value is missing before `not`", 4),
        ("abs(1)", "`abs` is not a function; there are min and max", 0),
        ("__import__(1)", "`__import__` is not a function", 0),
        ("min()", "`min` needs values", 0),
        ("1 // 0", "division by zero", 2),
        ("1 % 0", "division by zero", 2),
        ("0 ** -1", "division by zero", 2),
        ("rates + 1", "`(6, 12, 18)` is not a number", 6),
        ("max(rates)", "is not a number", 0),
        ("rates[3]", "index 3 is outside a list of 3", 0),
        ("rates[-1]", "index -1 is outside a list of 3", 0),
        ("rates[0.0]", "index 0.0 is outside", 0),
        ("rates[on]", "index True is outside", 0),
        ("width[0]", "`64` is not a list", 0),
        ("9 ** 99", "exponent larger than 64", 2),
        ("2 ** 53", "out of range", 2),
        ("2 ** 52 + 2 ** 52", "out of range", 8),
        ("9007199254740992", "out of range", 0),
        ("99999999999999999999999", "out of range", 0),
        ("1e400", "out of range", 0),
        ("1048575.5 ** 63.5", "out of range", 10),
        ("(0 - 1) ** 0.5", "out of range", 8),
        ("1.0 // 1e-300", "out of range", 4),
        ("1 + ٣", "`٣` has no meaning", 4),
        ("mode + 1", "the text `bilinear` is not a number", 5),
    ],
)  # fmt: skip
def test_refused_with_the_place(text: str, words: str, offset: int) -> None:
    with pytest.raises(ExprError) as refused:
        evaluate(text, {**SCOPE, "mode": "bilinear"})
    assert words in refused.value.message
    assert refused.value.offset == offset


def test_unknown_name_is_told_apart() -> None:
    with pytest.raises(ExprError) as refused:
        evaluate("2 * widht", SCOPE)
    assert refused.value.name == "widht"
    assert refused.value.offset == 4


# --- bombs -------------------------------------------------------------------------------------
BOMBS = {
    "powers": "9**" * 132 + "9",
    "a tower of powers in parentheses": "(9**" * 31 + "9" + ")" * 31,
    "parentheses": "(" * 199 + "1" + ")" * 199,
    "lists": "[" * 199 + "1" + "]" * 199,
    "signs": "-" * 399 + "1",
    "negations": "not " * 99 + "1",
    "a long sum": "1+" * 199 + "1",
    "conditionals": "1 if 1 else " * 33 + "1",
    "comparisons inside each other": "(1<" * 31 + "1" + "<1)" * 31,
    "a chain of comparisons": "1<" * 199 + "1",
    "calls": "max(" * 60 + "1" + ")" * 60,
    "indices": "rates[" * 50 + "0" + "]" * 50,
    "too long": "1" * 401,
    "a long name": "a" * 400,
    "spaces": " " * 400,
    "products": "1048576*" * 44 + "1",
}  # fmt: skip


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_cost_nothing(text: str) -> None:
    start = time.process_time()
    try:
        value = evaluate(text, SCOPE)
    except ExprError as error:
        assert error.message and 0 <= error.offset <= len(text)
    else:
        assert isinstance(value, (int, float, bool, tuple))
    assert time.process_time() - start < 0.1


@settings(max_examples=4000, deadline=None, derandomize=True)
@given(st.text("0123456789.+-*/%<>=!()[], \t\nabciwminaxorntelsuf$'\"\\{}_é٣", max_size=60))
def test_any_text_is_a_value_or_a_fault(text: str) -> None:
    try:
        evaluate(text, SCOPE)
    except ExprError as error:
        assert 0 <= error.offset <= len(text)
