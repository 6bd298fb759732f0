"""Rules where weights are applied several times: all applications change alike, or none does."""

from __future__ import annotations

import pytest
from rules_kit import compared, fired, image, only, reasons, spec

from segc.optimise import Options
from segc.source import Source

CONV = "{op: conv2d, out_channels: 4, kernel_size: 1}"
WINDOW = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"
NORM = "batch_norm2d"
NAILS = "{op: bed_of_nails, scale_factor: %d}"
COPIES = "{op: interpolate, scale_factor: %d}"
DECONV = "{op: conv_transpose2d, out_channels: 4, kernel_size: 2, stride: 2}"
DILATED = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 2, dilation: 2}"
BILINEAR = DECONV[:-1].replace("size: 2", "size: 4")
BILINEAR += ", bias: false, freeze: true, init: {weight: bilinear}}"
SHARED = "its weights are shared with a layer it does not fit"
SIZES = ((7, 9), (1, 1), (2, 3))


def scale(factor: float) -> str:
    return f"{{op: scale, value: {factor}}}"


def chain(*items: str) -> str:
    """Layers one after the other, from `name: text`."""
    return "\n".join(f"  {item}" for item in items)


def check(layers: str, output: str, rule: str, count: int) -> None:
    """The rule applies so often, and the function stays."""
    done, error = compared(spec(layers, output), only(rule), [image(*s) for s in SIZES])
    assert error <= 1e-9
    assert fired(done).get(rule, 0) == count
    assert count or SHARED in reasons(done).values()


ALIKE = {
    "norm": ("fold_batch_norm", (f"a: {CONV}", f"an: {NORM}", "b: {use: a}", "bn: {use: an}")),
    "norm before": (
        "fold_batch_norm_before",
        (f"an: {NORM}", f"a: {CONV}", "act: relu", "bn: {use: an}", "b: {use: a}"),
    ),
    "scale behind": (
        "fold_scale",
        (f"a: {WINDOW}", f"s: {scale(2.0)}", "b: {use: a}", f"t: {scale(2.0)}"),
    ),
    "scale before": (
        "fold_scale",
        (f"s: {scale(0.5)}", f"a: {WINDOW}", "act: relu", f"t: {scale(0.5)}", "b: {use: a}"),
    ),
    "copies": ("nearest_conv", (f"s: {COPIES % 2}", f"a: {WINDOW}", f"t: {COPIES % 2}",
                                "b: {use: a}")),
    "nails": ("nails_conv", (f"s: {NAILS % 2}", f"a: {WINDOW}", f"t: {NAILS % 2}", "b: {use: a}")),
    "pointwise": (
        "commute_pointwise",
        (f"s: {COPIES % 2}", f"a: {CONV}", "act: relu", f"t: {COPIES % 3}", "b: {use: a}"),
    ),
    "deconvolution": ("shuffle_deconv", (f"a: {DECONV}", "act: relu", "b: {use: a}")),
    "interpolation": ("bilinear_deconv", (f"a: {BILINEAR}", "act: relu", "b: {use: a}")),
    "taps": ("dilated_taps", (f"a: {DILATED}", f"t: {COPIES % 2}", "b: {use: a}")),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_applications_that_fit_alike_change_together(name: str) -> None:
    rule, items = ALIKE[name]
    check(chain(*items), items[-1].split(":")[0], rule, 2)


DIFFERENT = {
    "two norms": ("fold_batch_norm", (f"a: {CONV}", f"an: {NORM}", "b: {use: a}", f"bn: {NORM}")),
    "one norm behind two": (
        "fold_batch_norm",
        (f"a: {CONV}", f"an: {NORM}", f"b: {CONV}", "bn: {use: an}"),
    ),
    "one has a norm": ("fold_batch_norm", (f"a: {CONV}", f"an: {NORM}", "b: {use: a}")),
    "the other has a norm": (
        "fold_batch_norm",
        (f"a: {CONV}", "act: relu", "b: {use: a}", f"bn: {NORM}"),
    ),
    "two norms before": (
        "fold_batch_norm_before",
        (f"an: {NORM}", f"a: {CONV}", "act: relu", f"bn: {NORM}", "b: {use: a}"),
    ),
    "two factors": (
        "fold_scale",
        (f"a: {CONV}", f"s: {scale(2.0)}", "b: {use: a}", f"t: {scale(3.0)}"),
    ),
    "a factor before and behind": (
        "fold_scale",
        (f"s: {scale(2.0)}", f"a: {CONV}", "act: relu", "b: {use: a}", f"t: {scale(2.0)}"),
    ),
    "copies of two sizes": (
        "nearest_conv",
        (f"s: {COPIES % 2}", f"a: {WINDOW}", f"t: {COPIES % 3}", "b: {use: a}"),
    ),
    "nails of two sizes": (
        "nails_conv",
        (f"s: {NAILS % 2}", f"a: {WINDOW}", f"t: {NAILS % 3}", "b: {use: a}"),
    ),
    "nails once": ("nails_conv", (f"s: {NAILS % 2}", f"a: {WINDOW}", "b: {use: a}")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_applications_that_fit_differently_stay(name: str) -> None:
    rule, items = DIFFERENT[name]
    check(chain(*items), items[-1].split(":")[0], rule, 0)


UP = "{op: interpolate, mode: bilinear, scale_factor: 2, from: image}"
BRANCHES = f"  up: {UP}\n  wide: {{op: bed_of_nails, from: image}}\n"


@pytest.mark.parametrize("order, count", [("up, wide", 2), ("wide, up", 0)])
def test_split_branches_of_shared_weights_come_in_one_order(order: str, count: int) -> None:
    layers = (
        BRANCHES
        + f"  first: {{op: concat, from: [up, wide]}}\n  a: {WINDOW}\n"
        + f"  second: {{op: concat, from: [{order}]}}\n  b: {{use: a}}\n"
        + "  out: {op: add, from: [a, b]}"
    )
    check(layers, "out", "split_concat_conv", count)


def test_a_stack_of_shared_and_own_weights_is_refused() -> None:
    small = "op: conv2d, out_channels: 1, kernel_size: 1"
    layers = f"""
  a: {{{small}, from: image}}
  c: {{{small}, from: image}}
  other: {{op: relu, from: image}}
  b: {{use: a, from: other}}
  d: {{{small}, from: other}}
  out: {{op: concat, from: [a, b, c, d]}}"""
    check(layers, "out", "stack_convs", 0)


def test_a_stack_of_one_weight_twice_is_refused() -> None:
    layers = """
  a: {op: conv2d, out_channels: 1, kernel_size: 1, from: image}
  b: {use: a, from: image}
  out: {op: concat, from: [a, b]}"""
    check(layers, "out", "stack_convs", 0)


def test_equal_applications_become_one() -> None:
    layers = f"""
  a: {CONV}
  b: {{use: a, from: image}}
  c: {{use: a, from: image}}
  out: {{op: concat, from: [a, b, c]}}"""
    check(layers, "out", "drop_duplicate", 2)


def test_of_applications_one_may_move() -> None:
    """A 1x1 convolution below an upsampling keeps its weights, wherever else they are applied."""
    layers = f"  a: {CONV}\n  t: {COPIES % 2}\n  b: {{use: a}}"
    check(layers, "b", "commute_pointwise", 1)


def test_a_refused_price_refuses_the_family() -> None:
    """The window applied to the small map gains, applied to the large one it does not: the edit of
    one without the other would leave two kinds of weights."""
    layers = """
  small: {op: adaptive_avg_pool2d, output_size: 2, from: image}
  a: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 2, dilation: 2}
  b: {use: a, from: image}
  up: {op: interpolate, like: image, from: a}
  out: {op: add, from: [up, b]}"""
    source = spec(layers, "out", size="32, 32")
    done, error = compared(source, Options(), [image(32, 32)])
    assert error <= 1e-9
    assert "dilated_taps" not in fired(done)
    assert reasons(done)["a"] == SHARED


# --- groups applied again -----------------------------------------------------------------------

GROUPED = "its group is applied again, where it does not fit"
POINTWISE = (CONV, "relu", CONV)
CROPPED = ("relu", "{op: crop, like: like}")
UP = "  up: {op: interpolate, scale_factor: 2, from: image}\n"
WIDE = "  wide: {op: bed_of_nails, from: image}\n"
RIM = "  rim: {op: pad, padding: 1, from: image}\n  like: {op: relu, from: image}\n"


def groups(before: str, inner: tuple[str, ...], reads: tuple[str, str], block: bool) -> Source:
    """A group (or block) of these layers over one value and, with its weights, over another."""
    body = "\n".join(f"      part{n}: {item}" for n, item in enumerate(inner))
    made = f"  g:\n    from: {reads[0]}\n    layers:\n{body}"
    if block:
        made = f"  g: {{block: Unit, from: {reads[0]}}}"
    source = spec(f"{before}{made}\n  h: {{use: g, from: {reads[1]}}}", "g, z: h")
    if not block:
        return source
    unit = f"blocks:\n  Unit:\n    inputs: [x]\n    layers:\n{body}\nlayers:\n"
    return Source.from_text(source.text.replace("layers:\n", unit, 1))


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("reads", [("up", "wide"), ("wide", "up")])
@pytest.mark.parametrize("inner", [POINTWISE, (CONV,)])
def test_a_group_stays_one_class(
    inner: tuple[str, ...], reads: tuple[str, str], block: bool
) -> None:
    """Its first convolution could move below the upsampling in one of the applications."""
    source = groups(UP + WIDE, inner, reads, block)
    done, error = compared(source, only("commute_pointwise"), [image(3, 4)])
    assert error <= 1e-9 and not done.fired
    assert list(reasons(done).values()) == [GROUPED]


def test_a_crop_that_one_application_needs_stays() -> None:
    source = groups(RIM, CROPPED, ("image", "rim"), False)
    done, error = compared(source, only("drop_identity"), [image(3, 4)])
    assert error <= 1e-9 and not done.fired
    assert reasons(done) == {"g.part1": GROUPED}


@pytest.mark.parametrize("block", [False, True])
def test_edits_inside_a_group_are_made_in_every_application(block: bool) -> None:
    inner = ("dropout", NAILS % 2, WINDOW, "batch_norm2d", COPIES % 2, CONV)
    source = groups(WIDE, inner, ("image", "wide"), block)
    rules = only("drop_dropout", "nails_conv", "fold_batch_norm", "commute_pointwise")
    done, error = compared(source, rules, [image(3, 4)])
    assert error <= 1e-9
    assert fired(done) == dict.fromkeys(rules.on, 2)


def test_what_one_application_is_read_for_stays_in_both() -> None:
    """`g.part1` is read outside; the same layer of `h` would be dead."""
    layers = f"""
  g:
    layers:
      part0: {NAILS % 2}
      part1: {WINDOW}
  tap: {{op: sigmoid, from: g.part0}}
  act: {{op: relu, from: g}}
  h: {{use: g}}"""
    done, error = compared(spec(layers, "h, z: tap"), only("nails_conv"), [image(3, 4)])
    assert error <= 1e-9 and fired(done) == {"nails_conv": 2}


def test_an_owner_that_only_training_reads() -> None:
    layers = f"  a: {CONV}\n  aux: {{op: relu, only: train}}\n  b: {{use: a, from: image}}"
    done, error = compared(spec(layers, "b, z: aux"), only(), [image(3, 4)])
    assert error == 0 and not done.unused
