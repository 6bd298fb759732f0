"""Every sentence with which a rule refuses, word for word, and that there are no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rules_kit import only, reasons, spec
from test_rules_unpool import NO_POOL, ON_CPU, REFUSED

import segc
from segc.build import Maker
from segc.optimise import Options

CONV = "{op: conv2d, out_channels: 4, kernel_size: 1}"
PADDED = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"
STRIDED = "{op: conv2d, out_channels: 4, kernel_size: 3, stride: 2}"
MIRRORED = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1, padding_mode: reflect}"
COPIES = "{op: interpolate, scale_factor: 2}"
NAILS = "bed_of_nails"
NORM = "batch_norm2d"
BATCH = "{op: batch_norm2d, track_running_stats: false}"
SCALE = "{op: scale, value: 2.0}"
BILINEAR = "op: conv_transpose2d, bias: false, init: {weight: bilinear}, freeze: true"
BRANCHES = (
    "up: {op: interpolate, mode: bilinear, scale_factor: 2}",
    "wide: {op: bed_of_nails, from: image}",
    "mix: {op: concat, from: [up, wide]}",
)
SUM = "sum: {op: add, from: [a, b]}"

# rule, layers, the refused one, why
CASES: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    ("fold_batch_norm", (f"a: {NORM}",), "a", "it follows the input, not a convolution"),
    ("fold_batch_norm", ("r: relu", f"a: {NORM}"), "a", "it follows relu, not a convolution"),
    (
        "fold_batch_norm",
        (f"a: {CONV}", f"b: {NORM}", SUM),
        "b",
        "the value of `a` is read elsewhere too",
    ),
    (
        "fold_batch_norm",
        (f"a: {CONV}", f"b: {BATCH}"),
        "b",
        "it uses the statistics of the batch in evaluation too",
    ),
    (
        "fold_batch_norm_before",
        (f"a: {NORM}", f"b: {PADDED}"),
        "b",
        "the convolution pads with zeros, which the norm would not shift",
    ),
    (
        "fold_batch_norm_before",
        (f"a: {NORM}", f"b: {CONV}", SUM),
        "b",
        "the value of `a` is read elsewhere too",
    ),
    (
        "fold_batch_norm_before",
        (f"a: {BATCH}", f"b: {CONV}"),
        "b",
        "the norm uses the statistics of the batch in evaluation too",
    ),
    ("fold_scale", (f"a: {SCALE}",), "a", "its value is read in several places"),
    (
        "fold_scale",
        (f"a: {SCALE}", f"b: {CONV}", SUM),
        "a",
        "its value is read in several places",
    ),
    (
        "fold_scale",
        (f"a: {SCALE}", "b: relu"),
        "a",
        "its value goes to relu, not to a convolution",
    ),
    (
        "bilinear_deconv",
        (f"a: {{{BILINEAR[:-4]}false, out_channels: 4, kernel_size: 4, stride: 2}}",),
        "a",
        "its weights are trained, they only start as bilinear ones",
    ),
    (
        "bilinear_deconv",
        (f"a: {{{BILINEAR}, out_channels: 4, kernel_size: 4, stride: 2, output_padding: 1}}",),
        "a",
        "it has a bias, a dilation or output padding",
    ),
    (
        "bilinear_deconv",
        (f"a: {{{BILINEAR}, out_channels: 2, kernel_size: 4, stride: 2}}",),
        "a",
        "it mixes channels",
    ),
    (
        "bilinear_deconv",
        (f"a: {{{BILINEAR}, out_channels: 4, kernel_size: 6, stride: 3}}",),
        "a",
        "its window is not twice an even stride, or twice any less one",
    ),
    (
        "merge_crops",
        ("a: {op: pad, padding: [1, -2, -2, -2]}", "b: {op: crop, size: [1, 1]}"),
        "b",
        "`a` adds pixels",
    ),
    (
        "commute_pointwise",
        ("a: {op: interpolate, size: 9, mode: area}", f"b: {CONV}"),
        "b",
        "`a` averages over a window",
    ),
    (
        "commute_pointwise",
        (f"a: {COPIES}", f"b: {CONV[:-1]}, padding: 1}}"),
        "b",
        "it pads",
    ),
    (
        "commute_pointwise",
        (f"a: {COPIES}", f"b: {CONV[:-1]}, stride: 2}}"),
        "b",
        "the convolution has a stride",
    ),
    ("nails_conv", (f"a: {NAILS}", f"b: {STRIDED}"), "b", "the convolution has a stride"),
    ("nails_conv", (f"a: {NAILS}", f"b: {MIRRORED}"), "b", "its padding is not zeros"),
    (
        "nails_conv",
        (f"a: {NAILS}", "b: {op: conv2d, out_channels: 4, kernel_size: 2, padding: same}"),
        "b",
        "it pads more on one side",
    ),
    (
        "nails_conv",
        (f"a: {NAILS}", "b: {op: conv2d, out_channels: 4, kernel_size: 2, padding: 2}"),
        "b",
        "it pads by more than its window reaches",
    ),
    (
        "nearest_conv",
        ("a: {op: interpolate, scale_factor: 1.5}", f"b: {PADDED}"),
        "b",
        "the map is not enlarged by whole numbers",
    ),
    ("nearest_conv", (f"a: {COPIES}", f"b: {STRIDED}"), "b", "the convolution has a stride"),
    ("nearest_conv", (f"a: {COPIES}", f"b: {MIRRORED}"), "b", "its padding is not zeros"),
    (
        "nearest_conv",
        (f"a: {COPIES}", f"b: {CONV[:-1]}, padding: 1}}"),
        "b",
        "it pads by more than its window reaches",
    ),
    (
        "nearest_conv",
        (
            "a: {op: interpolate, scale_factor: [1, 2]}",
            "b: {op: conv2d, out_channels: 4, kernel_size: 2, padding: same}",
        ),
        "b",
        "it pads more on one side",
    ),
    (
        "split_concat_conv",
        (*BRANCHES, "b: {op: conv2d, out_channels: 4, kernel_size: 3, groups: 2}"),
        "b",
        "the convolution has groups",
    ),
    (
        "split_concat_conv",
        (*BRANCHES, "b: {op: conv2d, out_channels: 4, kernel_size: [1, 3]}"),
        "b",
        "its window differs along the axes",
    ),
    ("split_concat_conv", (*BRANCHES, f"b: {CONV[:-1]}, padding: 1}}"), "b", "it pads"),
    ("split_concat_conv", (*BRANCHES, f"b: {STRIDED}"), "b", "the convolution has a stride"),
    (
        "shuffle_deconv",
        ("a: {op: conv_transpose2d, out_channels: 4, kernel_size: [2, 3], stride: [2, 3]}",),
        "a",
        "its window differs along the axes, or is one pixel",
    ),
    (
        "shuffle_deconv",
        ("a: {op: conv_transpose2d, out_channels: 4, kernel_size: 2, stride: 2, groups: 2}",),
        "a",
        "it has padding, a dilation or groups",
    ),
    (
        "stack_convs",
        (f"a: {CONV}", f"b: {CONV[:-1]}, from: image}}", SUM),
        "a",
        "together with `b` it has more channels than the map it reads",
    ),
    (
        "stack_convs",
        (
            f"a: {CONV}",
            f"b: {CONV[:-1]}, from: image}}",
            f"c: {CONV[:-1]}, from: image}}",
            "sum: {op: add, from: [a, b, c]}",
        ),
        "a",
        "together with `b`, `c` it has more channels than the map it reads",
    ),
    ("relu_in_place", ("a: relu",), "a", "what it reads may be part of another value"),
    (
        "relu_in_place",
        (f"a: {CONV}", "b: relu", SUM),
        "b",
        "the value of `a` is read elsewhere too",
    ),
    (
        "dilated_taps",
        ("a: {op: conv2d, out_channels: 4, kernel_size: 3, dilation: 2}",),
        "a",
        "its padding does not keep the size",
    ),
    (
        "dilated_taps",
        ("a: {op: conv2d, out_channels: 4, kernel_size: 3, dilation: 2, padding: 2, groups: 2}",),
        "a",
        "it has groups",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}: {c[3]}" for c in CASES])
def test_refused(case: tuple[str, tuple[str, ...], str, str]) -> None:
    rule, items, layer, why = case
    output = items[-1].split(":")[0]
    source = spec("\n".join(f"  {item}" for item in items), output)
    done = Maker(source, {}, only(rule)).optimised({})
    assert not done.fired
    assert reasons(done)[layer] == why
    assert {name for name, _ in done.skipped} == {rule}


# --- prices --------------------------------------------------------------------------------------

DECONV = "  a: {op: conv_transpose2d, out_channels: 4, kernel_size: 2, stride: 2}"


def refused(layers: str, output: str, options: Options, size: str = "64, 64") -> dict[str, str]:
    return reasons(Maker(spec(layers, output, size=size), {}, options).optimised({}))


def test_a_price_is_told() -> None:
    """64 x 64 x 4 x 16 products both ways; [1, 4, 64, 64], 64 + 4 weights and [1, 4, 128, 128] in
    4 bytes each become the same with 16 biases, and the shuffle reads and writes once more."""
    why = refused(DECONV, "a", Options())["a"]
    values = 4 * 64 * 64 + 64 + 4 + 4 * 128 * 128
    more = values + 12 + 2 * 4 * 128 * 128
    assert why == (
        f"it would cost more: 262 k MACs and {4 * more / 1000:.3g} kB moved "
        f"instead of 262 k and {4 * values / 1000:.3g} kB"
    )


def test_no_gain_is_told() -> None:
    """At 32 x 32 most taps of rate 2 are on the map, so no tap is left out."""
    layers = "  a: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 2, dilation: 2}"
    assert refused(layers, "a", Options(), "32, 32") == {
        "a": "it saves nothing at the size figures are quoted at"
    }


# --- completeness --------------------------------------------------------------------------------

ROOT = Path(segc.__file__).parent


def sentences(path: Path) -> Iterator[str]:
    """Patterns of the texts with a blank in a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    joined = [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr)]
    inside = {id(v) for n in joined for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else None for v in node.values]
            pattern = "".join(".+" if p is None else re.escape(str(p)) for p in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            pattern = re.escape(node.value)
        else:
            continue
        if id(node) not in texts and id(node) not in inside and "\\ " in pattern:
            yield pattern


def test_every_sentence_has_a_case() -> None:
    seen = {case[3] for case in CASES} | set(REFUSED) | {ON_CPU, NO_POOL}
    untold = {
        (path.name, pattern)
        for path in (*sorted((ROOT / "rules").glob("*.py")), ROOT / "patterns.py")
        if path.name != "weights.py"  # its functions are copied into deploy.py
        for pattern in sentences(path)
        if not any(re.search(pattern, why) for why in seen)
    }
    assert not untold
