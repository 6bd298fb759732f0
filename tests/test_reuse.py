"""`use: layer`: the same weights applied again, to another value."""

from __future__ import annotations

import pytest
from spec_kit import fault, names, node, sound, spec

from segc.analyse import params_of, table
from segc.ir import Ref

CONV = "{op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}"
BLOCKS = """\
blocks:
  siamese:
    params: {out: int}
    layers:
      conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
      pool: {op: max_pool2d, kernel_size: 2, return_indices: true}
      back: {op: max_unpool2d, from: [pool, pool.indices], size: conv}
      add: {op: add, from: [conv, back]}
  pair:
    inputs: [x, y]
    layers: {sum: {op: add, from: [x, y]}, conv: {op: conv2d, out_channels: 3, kernel_size: 1}}
"""


def test_a_layer_again() -> None:
    checked = sound(spec(f"a: {CONV}\nb: relu\nc: {{use: a}}\nd: {{op: add, from: [b, c]}}"))
    again, first = node(checked, "c"), node(checked, "a")
    assert (again.shared, again.inputs, again.op) == ("a", (Ref("b"),), first.op)
    assert first.shared is None


def test_weights_are_counted_once() -> None:
    """Over definitions: 3 x 3 x 3 x 3 weights and 3 biases, however often they are applied."""
    checked = sound(spec(f"a: {CONV}\nb: {{use: a}}\nc: {{use: a}}\nd: {{use: b}}"))
    assert [params_of(checked, n) for n in checked.graph.nodes] == [84, 0, 0, 0]
    assert table(checked).totals.params == 84
    assert node(checked, "d").shared == "a"


def test_a_block_again_with_its_inner_wiring() -> None:
    layers = "a: {block: siamese, out: 3}\nb: {use: a, from: image}\nc: {op: concat, from: [a, b]}"
    used = BLOCKS.partition("  pair:")[0]
    checked = sound(spec(layers, before=used))
    assert names(checked.graph)[4:8] == ["b.conv", "b.pool", "b.back", "b.add"]
    assert node(checked, "b.conv").inputs == (Ref("image"),)
    assert node(checked, "b.back").inputs == (
        Ref("b.pool"), Ref("b.pool", "indices"), Ref("b.conv"),
    )  # fmt: skip
    assert [node(checked, n).shared for n in ("b.conv", "b.add")] == ["a.conv", "a.add"]
    assert checked.graph.scopes["b"].shared == "a"
    assert checked.graph.scopes["b"].output == Ref("b.add")


def test_two_inputs() -> None:
    used = "blocks:\n  pair" + BLOCKS.partition("  pair")[2]
    layers = "a: {block: pair, from: [image, image]}\nb: {use: a, from: [a, image]}"
    checked = sound(spec(layers, before=used))
    assert node(checked, "b.sum").inputs == (Ref("a.conv"), Ref("image"))
    wrong = spec(layers.replace("[a, image]}", "a}"), before=used)
    fault(wrong, "SEG307", "`a` reads 2 value(s), `b` gives it 1")


def test_groups_and_repeats_again() -> None:
    layers = f"""
    g: {{repeat: 2, layers: {{c: {CONV}, h: {{layers: {{r: relu}}}}}}}}
    h: {{use: g}}
    s: {{op: add, from: [h.0, h, h.1.c, g.0.h]}}
    """
    checked = sound(spec(layers))
    assert names(checked.graph)[4:8] == ["h.0.c", "h.0.h.r", "h.1.c", "h.1.h.r"]
    assert node(checked, "h.0.c").inputs == (Ref("g.1.h.r"),)
    assert node(checked, "h.1.c").inputs == (Ref("h.0.h.r"),)
    reads = ("h.0.h.r", "h.1.h.r", "h.1.c", "g.0.h.r")
    assert node(checked, "s").inputs == tuple(map(Ref, reads))


def test_a_part_of_a_group_again() -> None:
    checked = sound(spec(f"g: {{layers: {{c: {CONV}, r: relu}}}}\nh: {{use: g.c}}"))
    assert (node(checked, "h").shared, node(checked, "h").inputs) == ("g.c", (Ref("g.r"),))


def test_applied_several_times_in_a_row() -> None:
    """A recurrent layer."""
    checked = sound(spec(f"a: {CONV}\nb: {{repeat: 3, use: a}}"))
    assert names(checked.graph) == ["a", "b.0", "b.1", "b.2"]
    assert [n.inputs[0].node for n in checked.graph.nodes] == ["image", "a", "b.0", "b.1"]
    assert table(checked).totals.params == 84


def test_other_sizes_through_the_same_weights() -> None:
    """Multi-scale: the half-size image through the same network."""
    layers = f"""
    a: {CONV}
    small: {{op: avg_pool2d, kernel_size: 2, from: image}}
    b: {{use: a}}
    up: {{op: interpolate, like: a}}
    s: {{op: add, from: [a, up]}}
    """
    checked = sound(spec(layers))
    assert checked.shape(Ref("b")) == checked.shape(Ref("small"))


def test_other_channels_need_other_weights() -> None:
    """The weights are those of three channels; applied to eight they cannot be the same."""
    layers = """
    a: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}
    b: {use: a}
    """
    fault(
        spec(layers),
        "SEG202",
        "the weight of `a` is 8 x 3 x 3 x 3, applied here it would be 8 x 8 x 3 x 3",
    )


@pytest.mark.parametrize(
    ("layers", "code", "words"),
    [
        ("b: {use: a}", "SEG301", "`a` is not defined"),
        ("b: {use: image}", "SEG301", "`image` is an input, not a layer"),
        ("b: {use: c}\nc: {op: relu, from: image}", "SEG303", "move `c` above `b`"),
        ("a: relu\nb: {use: a.x}", "SEG301", "relu has no output `x`"),
        ("a: relu\nb: {use: a, from: [a, a]}", "SEG307", "`a` reads 1 value(s), `b` gives it 2"),
        (f"a: {CONV}\nb: {{use: a, stride: 2}}", "SEG102", "`use` takes no argument `stride`"),
        (f"a: {CONV}\nb: {{use: a, freeze: true}}", "SEG102", "`use` takes no argument `freeze`"),
        (f"a: {CONV}\nb: {{use: a, init: {{bias: zeros}}}}", "SEG102", "no argument `init`"),
        ("a: relu\nb: {use: [a]}", "SEG103", "`use` needs a name"),
    ],
)
def test_use_at_fault(layers: str, code: str, words: str) -> None:
    fault(spec(layers), code, words)


def test_the_emitted_module_shares() -> None:
    """Applying in torch: the same tensor is used, and gradients of both uses meet in it."""
    torch = pytest.importorskip("torch")
    from emit_kit import emit, network

    text = spec(f"a: {CONV}\nb: {{use: a}}\nc: {{op: add, from: [a, b]}}")
    model = network(emit(text))()
    assert sum(p.numel() for p in model.parameters()) == 84
    x = torch.randn(1, 3, 5, 6)
    (weight, bias) = (dict(model.named_parameters())[n] for n in ("a.weight", "a.bias"))
    conv = torch.nn.functional.conv2d
    once = conv(x, weight, bias, padding=1)
    assert torch.equal(model(x), once + conv(once, weight, bias, padding=1))
