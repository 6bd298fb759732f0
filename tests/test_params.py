"""Parameters of specs and blocks, and the values of arguments."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from spec_kit import IMAGE, fault, faults, node, pointed, shape, sound, spec

from segc.ir import Ref


# --- parameters --------------------------------------------------------------------------------
def width_spec(params: str, value: str = "width") -> str:
    before = f"params: {params}\n"
    return spec(f"a: {{op: conv2d, out_channels: {value}, kernel_size: 1}}", before=before)


def channels(text: str, **params: Any) -> int:
    return int(sound(text, **params).shape(Ref("a"))[1])


def test_default_short_and_long() -> None:
    assert channels(width_spec("{width: 12}")) == 12
    assert channels(width_spec("{width: {type: int, default: 12, min: 1, doc: channels}}")) == 12
    assert channels(width_spec("{width: {default: 12}}")) == 12


@pytest.mark.parametrize("given", [5, "5", " 5 ", "2 + 3", "10 // 2"])
def test_value_from_the_caller(given: Any) -> None:
    assert channels(width_spec("{width: 12}"), width=given) == 5
    assert channels(width_spec("{width: int}"), width=given) == 5


def test_graph_keeps_values_and_defaults() -> None:
    graph = sound(width_spec("{width: 12}"), width="5").graph
    assert (graph.params, graph.defaults) == ({"width": 5}, {"width": 12})


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ("x", "SEG103", "parameter `width` needs an integer, got `x`"),
        ("1.0", "SEG103", "needs an integer, got `1.0`"),
        ("true", "SEG103", "needs an integer, got `true`"),
        (True, "SEG103", "needs an integer, got `true`"),
        ("0", "SEG105", "parameter `width` must be at least 1, got `0`"),
        ("65", "SEG105", "parameter `width` must be at most 64, got `65`"),
        ([1], "SEG103", "needs an integer, got `[1]`"),
    ],
)
def test_value_that_does_not_fit(given: Any, code: str, words: str) -> None:
    text = width_spec("{width: {type: int, default: 12, min: 1, max: 64}}")
    fault(text, code, words, width=given)


def test_choices() -> None:
    text = width_spec("{width: {type: int, default: 8, choices: [8, 16]}}")
    assert channels(text, width="16") == 16
    fault(text, "SEG105", "parameter `width` is one of 8, 16, got `12`", width="12")


def test_parameter_without_value() -> None:
    fault(width_spec("{width: int}"), "SEG114", "parameter `width` has no value", "--set width=")


def test_value_for_a_parameter_that_is_not_there() -> None:
    d = fault(width_spec("{width: 8}"), "SEG114", "no parameter `witdh`", witdh=3)
    assert d.hint == "did you mean `width`?"
    d = fault(width_spec("{width: 8}"), "SEG114", classes=3)
    assert d.hint == "its parameters: width"


@pytest.mark.parametrize(
    ("declared", "code", "at"),
    [
        ("{width: }", "SEG103", ""),
        ("{width: {type: integer, default: 1}}", "SEG103", "integer"),
        ("{width: {doc: x}}", "SEG103", "width"),
        ("{width: {type: int, default: x}}", "SEG103", "x"),
        ("{width: {type: int, default: 3.0}}", "SEG103", "3.0"),
        ("{width: {type: int, default: 0, min: 1}}", "SEG105", "0"),
        ("{width: {type: int, default: 1, min: x}}", "SEG103", "x"),
        ("{width: {type: int, default: 1, min: [1]}}", "SEG103", "["),
        ("{width: {type: int, default: 1, choices: 1}}", "SEG103", "1"),
        ("{width: {type: int, default: 1, choices: [1, b]}}", "SEG103", "["),
        ("{width: {type: int, default: 1, choices: {a: 1}}}", "SEG103", "{"),
        ("{width: {type: int, default: {a: 1}}}", "SEG103", "{"),
        ("{width: {type: int, default: 1, step: 2}}", "SEG107", "step"),
        ("{width: {type: int, default: 1, doc: [x]}}", "SEG103", "["),
        ("{i: 3, width: 1}", "SEG306", "i"),
        ("{self: 3, width: 1}", "SEG306", "self"),
        ("{wid th: 3, width: 1}", "SEG305", "wid th"),
        ("{lambda: 3, width: 1}", "SEG306", "lambda"),
        ("[width]", "SEG103", "["),
    ],
)
def test_declaration_at_fault(declared: str, code: str, at: str) -> None:
    """One message for the declaration, none for the layers that use the parameter."""
    text = width_spec(declared, "8" if declared.startswith("[") else "width")
    found = faults(text)
    assert [d.code for d in found][:1] == [code], found
    assert len(found) == 1
    assert not at or pointed(found[0], text).startswith(at)


def test_parameters_of_other_types() -> None:
    text = spec(
        """
        a: {op: interpolate, scale_factor: 2, mode: $mode, align_corners: corners}
        b: {op: dropout, p: rate}
        c: {op: conv2d, out_channels: "widths[1]", kernel_size: kernel}
        d: {op: relu, when: corners}
        """,
        before="params: {mode: bilinear, corners: true, rate: 0.25, widths: [4, 6], "
        "kernel: [3, 5]}\n",
    )
    checked = sound(text)
    assert node(checked, "a").op.values["mode"] == "bilinear"
    assert node(checked, "b").op.values["p"] == 0.25
    assert node(checked, "c").op.values["kernel_size"] == (3, 5)
    assert shape(checked, "c").startswith("N x 6 x ")
    assert node(sound(text, corners="false"), "d").absent
    assert node(sound(text, mode="bicubic"), "a").op.values["mode"] == "bicubic"


def test_word_parameters_are_written_with_a_dollar() -> None:
    text = spec("a: {op: interpolate, scale_factor: 2, mode: $mod}", before="params: {mode: x}\n")
    d = fault(text, "SEG109", "`mod` is not a parameter here")
    assert d.hint == "did you mean `mode`?"
    text = spec("a: {op: interpolate, scale_factor: 2, mode: $n}", before="params: {n: 1}\n")
    fault(text, "SEG103", "parameter `n` is 1, not a word")


def test_unread_parameter() -> None:
    text = width_spec("{width: 12, depth: 3}")
    d = fault(text, "SEG315", "nothing in the spec reads the parameter `depth`")
    assert pointed(d, text) == "depth"


def test_unread_parameter_of_a_block() -> None:
    blocks = """
    blocks:
      b:
        params: {out: int, stride: 1}
        layers:
          c: {op: conv2d, out_channels: out, kernel_size: 3}
    """
    text = spec("a: {block: b, out: 4, stride: 2}", before=textwrap.dedent(blocks))
    d = fault(text, "SEG315", "nothing in block `b` reads the parameter `stride`")
    assert pointed(d, text) == "stride"


@pytest.mark.parametrize(
    "place",
    [
        "inputs: {image: [N, depth, H, W]}\n",
        IMAGE + "init: {conv2d: {weight: {constant: {value: depth}}}}\n",
        IMAGE + "transforms: [stride_to_dilation: {layers: g, output_stride: depth}]\n",
    ],
)
def test_a_parameter_may_be_read_outside_the_layers(place: str) -> None:
    layers = "g: {layers: {a: {op: conv2d, out_channels: 2, kernel_size: 1}}}"
    sound(spec(layers, before="params: {depth: 3}\n", inputs=place))


def test_misspelt_use_is_told_once() -> None:
    """Not a second time as a parameter nothing reads."""
    fault(width_spec("{width: 12}", "widht"), "SEG109", "did you mean `width`?")


# --- values of attributes ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("3", (3, 3)),
        ("[3, 5]", (3, 5)),
        ("k", (2, 7)),
        ('"k[1]"', (7, 7)),
        ('["k[0]", 1 + 2]', (2, 3)),
    ],
)
def test_pairs(value: str, got: tuple[int, int]) -> None:
    text = spec(f"a: {{op: avg_pool2d, kernel_size: {value}}}", before="params: {k: [2, 7]}\n")
    if "k" not in value:
        text = text.replace("params: {k: [2, 7]}\n", "")
    assert node(sound(text), "a").op.values["kernel_size"] == got


@pytest.mark.parametrize(
    ("attribute", "code", "words"),
    [
        ('out_channels: "8"', "SEG103", 'needs an integer, got the text "8"'),
        ("out_channels: '8'", "SEG103", "write 8 without quotes"),
        ("out_channels: 8.0", "SEG103", "needs an integer, got `8.0`"),
        ("out_channels: true", "SEG103", "needs an integer, got `true`"),
        ("out_channels: [8]", "SEG103", "needs an integer, got a list"),
        ("out_channels: {a: 8}", "SEG103", "needs an integer, got a mapping"),
        ("out_channels: ", "SEG103", "needs an integer, got"),
        ("out_channels: 7 // 2.0", "SEG103", "needs an integer, got `7 // 2.0`, which is 3.0"),
        ("out_channels: 1 == 1", "SEG103", "which is true"),
        ("out_channels: 0", "SEG105", "`out_channels` must be at least 1, got 0"),
        ("out_channels: 8, bias: 1", "SEG103", "`bias` needs true or false, got `1`"),
        ('out_channels: 8, bias: "true"', "SEG103", "write true without quotes"),
        ("out_channels: 8, stride: [1, 2, 3]", "SEG103", "or a list of 2, got a list of 3"),
        ("out_channels: 8, stride: [1, 2.0]", "SEG103", "needs an integer, got `2.0`"),
        ('out_channels: 8, stride: "2"', "SEG103", "write 2 without quotes"),
        ('out_channels: 8, stride: ["2", 1]', "SEG103", "write 2 without quotes"),
        ("out_channels: 8, stride: [1, 0]", "SEG105", "`stride` must be at least 1, got 0"),
        ("out_channels: 8, padding: sane", "SEG109", "`sane` is not a parameter"),
        ("out_channels: 8, padding_mode: zero", "SEG105", "did you mean `zeros`?"),
        ("out_channels: 8, padding_mode: 3", "SEG103", "needs a word, got `3`"),
        ("out_channels: 8, dilatoin: 2", "SEG102", "did you mean `dilation`?"),
        ("out_channels: 8, form: image", "SEG102", "did you mean `from`?"),
        ("out_channels: 3 *, bias: true", "SEG108", "a value is missing"),
    ],
)
def test_attribute_at_fault(attribute: str, code: str, words: str) -> None:
    fault(spec(f"a: {{op: conv2d, {attribute}, kernel_size: 3}}"), code, words)


def test_brackets_in_braces_need_quotes() -> None:
    text = spec("a: {op: conv2d, out_channels: k[0], kernel_size: 3}", before="params: {k: [2]}\n")
    d = fault(text, "SEG007", "a `[` in the middle of a value")
    assert d.hint == 'quote the expression: "rates[i]"' and pointed(d, text) == "["


def test_the_caret_of_an_expression_is_under_the_word() -> None:
    text = spec("a: {op: conv2d, out_channels: 4 * widht + 1, kernel_size: 1}")
    assert pointed(fault(text, "SEG109"), text) == "widht"
    text = spec('a: {op: conv2d, out_channels: "4 * widht + 1", kernel_size: 1}')
    assert pointed(fault(text, "SEG109"), text) == "widht"
    text = spec("a: {op: conv2d, out_channels: 4 */ 2, kernel_size: 1}")
    assert pointed(fault(text, "SEG108"), text) == "/"
