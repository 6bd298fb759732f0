"""Layers become nodes: `when`, `repeat`, `only`, blocks, initialisers, freezing."""

from __future__ import annotations

import textwrap

import pytest
from spec_kit import fault, faults, names, node, sound, spec

from segc.ir import Ref

CONV = "{op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}"


# --- when, repeat, only ------------------------------------------------------------------------
def test_when_false_passes_the_input_through() -> None:
    layers = f"a: {CONV}\nb: {{op: relu, when: act}}\nc: sigmoid"
    text = spec(layers, before="params: {act: true}\n")
    there, gone = sound(text), sound(text, act="false")
    assert not node(there, "b").absent and node(gone, "b").absent
    assert gone.shape(Ref("b")) == gone.shape(Ref("a"))
    assert node(gone, "b").op.name == "identity"


def test_when_false_for_a_group_and_a_block() -> None:
    blocks = "blocks: {b: {layers: {r: relu}}}\n"
    layers = "g: {when: act, layers: {s: sigmoid}}\nh: {when: act, block: b}\nt: tanh"
    text = spec(layers, before=blocks + "params: {act: false}\n")
    gone = sound(text)
    assert names(gone.graph) == ["t"]
    assert node(gone, "t").inputs == (Ref("image"),)
    assert [s.absent for s in gone.graph.scopes.values()] == [True, True]
    assert names(sound(text, act="true").graph) == ["g.s", "h.r", "t"]


def test_what_is_absent_is_still_checked() -> None:
    fault(spec("a: {op: relu, when: false, slope: 1}"), "SEG102", "no argument `slope`")
    fault(spec("a: {when: false, layers: {b: rely}}\nc: relu"), "SEG101", "did you mean `relu`?")
    fault(spec("a: {op: conv2d, when: false}\nb: relu"), "SEG104", "needs `out_channels`")


def test_parts_of_what_is_absent() -> None:
    d = fault(
        spec("a: {op: max_pool2d, kernel_size: 2, return_indices: true, when: false}\n"
             "b: {op: max_unpool2d, from: [a, a.indices]}"),
        "SEG301",
    )  # fmt: skip
    assert d.hint == "the `when` of `a` is false here"
    d = fault(spec("a: {when: false, layers: {b: relu}}\nc: {op: relu, from: a.b}"), "SEG301")
    assert d.hint == "the `when` of `a` is false here"


def test_repeat_numbers_its_copies() -> None:
    layers = "a: {repeat: 3, op: conv2d, out_channels: 4 * (i + 1), kernel_size: 1}"
    checked = sound(spec(layers))
    assert names(checked.graph) == ["a.0", "a.1", "a.2"]
    assert [checked.shape(Ref(n))[1] for n in names(checked.graph)] == [4, 8, 12]
    assert node(checked, "a.2").inputs == (Ref("a.1"),)
    scope = checked.graph.scopes["a"]
    assert (scope.kind, scope.children, scope.output) == ("repeat", ("0", "1", "2"), Ref("a.2"))


def test_repeat_of_two_inputs_chains_the_first() -> None:
    blocks = "blocks: {b: {inputs: [x, y], layers: {s: {op: add, from: [x, y]}}}}\n"
    checked = sound(spec("a: {repeat: 3, block: b, from: [image, image]}", before=blocks))
    assert node(checked, "a.2.s").inputs == (Ref("a.1.s"), Ref("image"))


def test_repeat_once_is_still_numbered() -> None:
    assert names(sound(spec("a: {repeat: 1, op: relu}")).graph) == ["a.0"]


def test_paths_into_repeats_and_groups() -> None:
    layers = f"""
    g: {{repeat: 2, layers: {{c: {CONV}, r: relu}}}}
    s: {{op: add, from: [g.0.c, g.1, g]}}
    """
    assert node(sound(spec(layers)), "s").inputs == (Ref("g.0.c"), Ref("g.1.r"), Ref("g.1.r"))


def test_the_number_of_a_copy_is_known_inside_only() -> None:
    fault(spec("a: {op: conv2d, out_channels: i, kernel_size: 1}"), "SEG109", "`i` is not")
    nested = """
    a:
      repeat: 2
      layers:
        b: {repeat: 3, op: conv2d, out_channels: 1 + i, kernel_size: 1}
        c: {op: conv2d, out_channels: 10 + i, kernel_size: 1}
    """
    checked = sound(spec(nested))
    widths = {n: checked.shape(Ref(n))[1] for n in names(checked.graph)}
    assert widths["a.1.b.2"] == 3 and widths["a.0.c"] == 10 and widths["a.1.c"] == 11


def test_a_fault_inside_a_repeat_is_told_once() -> None:
    fault(spec("a: {repeat: 50, op: conv2d, out_channels: q, kernel_size: 1}"), "SEG109")
    fault(spec("a: {repeat: 50, layers: {b: {op: relu, from: q}}}"), "SEG301")


def test_only_train() -> None:
    side = f"{{only: train, layers: {{b: {CONV}, c: relu}}}}"
    layers = f"a: {CONV}\nside: {side}\nd: {{op: relu, from: a}}"
    text = spec(layers).replace("{y: d}", "{y: d, aux: side}")
    graph = sound(text).graph
    assert [n.only for n in graph.nodes] == [None, "train", "train", None]
    assert graph.output_only == {"aux": "train"}


def test_training_may_not_leak() -> None:
    d = fault(
        spec(f"a: {CONV}\nb: {{op: dropout, only: train}}\nc: relu"), "SEG311", "`c` reads `b`"
    )
    assert d.notes[0].text == "`b` is `only: train`"
    assert d.hint is not None and "only: train" in d.hint


# --- blocks ------------------------------------------------------------------------------------
BLOCKS = textwrap.dedent("""
    blocks:
      conv_relu:
        doc: Convolution and ReLU.
        params: {out: int, kernel: 3, act: true}
        inputs: [x]
        layers:
          conv: {op: conv2d, out_channels: out, kernel_size: kernel, padding: kernel // 2}
          relu: {op: relu, when: act}
      join:
        inputs: [a, b]
        layers:
          sum: {op: add, from: [a, b]}
    """)


def test_instances_of_a_block() -> None:
    layers = """
    a: {block: conv_relu, out: 4}
    b: {block: conv_relu, out: 4, kernel: 5, act: false}
    c: {block: join, from: [a, b]}
    """
    checked = sound(spec(layers, before=BLOCKS))
    assert names(checked.graph) == ["a.conv", "a.relu", "b.conv", "b.relu", "c.sum"]
    assert node(checked, "c.sum").inputs == (Ref("a.relu"), Ref("b.relu"))
    scope = checked.graph.scopes["b"]
    assert scope.params == {"out": 4, "kernel": 5, "act": False}
    assert (scope.kind, scope.block, scope.inputs) == (
        "block",
        "conv_relu",
        (("x", Ref("a.relu")),),
    )


@pytest.mark.parametrize(
    ("layers", "code", "words"),
    [
        ("a: {block: conv_relu}", "SEG104", "block `conv_relu` needs `out` (int)"),
        ("a: {block: conv_relu, out: 4, kernal: 5}", "SEG102", "did you mean `kernel`?"),
        ("a: {block: conv_relu, out: 4.0}", "SEG103", "`out` needs an integer, got `4.0`"),
        ('a: {block: conv_relu, out: "4"}', "SEG103", "write 4 without quotes"),
        ("a: {block: conv_relu, out: 4, act: 1}", "SEG103", "`act` needs true or false"),
        ("a: {block: conv_rel, out: 4}", "SEG110", "did you mean `conv_relu`?"),
        ("a: {op: conv_relu}", "SEG101", "it is a block: write `block: conv_relu`"),
        ("a: {block: join}", "SEG307", "block `join` reads [a, b], but `a` gives it 1 value"),
        ("a: {block: conv_relu, out: 4, from: [image, image]}", "SEG307", "gives it 2 values"),
        ("a: {block: conv_relu, out: 4, init: {weight: zeros}}", "SEG107", "`a` is a group"),
        ("a: {block: conv_relu, out: 0}", "SEG105", "`out_channels` must be at least 1, got 0"),
    ],
)
def test_instance_at_fault(layers: str, code: str, words: str) -> None:
    fault(spec(layers, before=BLOCKS), code, words)


@pytest.mark.parametrize(
    ("block", "code", "words"),
    [
        ("{layers: {r: {op: relu, from: image}}}", "SEG301", "`image` is not defined"),
        ("{inputs: [x, x], layers: {r: relu}}", "SEG310", "a second input is named `x`"),
        ("{inputs: [], layers: {r: relu}}", "SEG103", "`inputs` of a block is a list of names"),
        ("{inputs: x, layers: {r: relu}}", "SEG103", "`inputs` of a block is a list of names"),
        ("{inputs: [3x], layers: {r: relu}}", "SEG305", "`3x` cannot name an input"),
        ("{inputs: [r], layers: {r: relu}}", "SEG310", "layer `r` hides the input"),
        ("{layers: {r: relu}, outputs: r}", "SEG107", "unknown key `outputs` in block `b`"),
        ("{doc: x}", "SEG104", "block `b` has no `layers`"),
        ("{layers: {r: {block: b}}}", "SEG302", "block `b` contains itself: b -> b"),
        ("relu", "SEG103", "block `b` must be a mapping"),
    ],
)
def test_block_at_fault(block: str, code: str, words: str) -> None:
    found = faults(spec("a: {block: b}", before=f"blocks: {{b: {block}}}\n"))
    assert found[0].code == code
    assert words in found[0].message


def test_blocks_that_contain_each_other() -> None:
    blocks = "blocks: {b: {layers: {l: {block: c}}}, c: {layers: {l: {block: b}}}}\n"
    fault(spec("a: {block: b}", before=blocks), "SEG302", "b -> c -> b")


def test_a_block_nobody_uses_is_checked_too() -> None:
    blocks = "blocks: {b: {layers: {c: {op: conv2, out_channels: 2}}}}\n"
    fault(spec("a: relu", before=blocks), "SEG101", "did you mean `conv2d`?")


def test_a_fault_in_a_block_is_told_once() -> None:
    blocks = "blocks: {b: {layers: {r: {op: relu, slope: 1}}}}\n"
    layers = "\n".join(f"a{i}: {{block: b}}" for i in range(30))
    fault(spec(layers, before=blocks), "SEG102", "no argument `slope`")


# --- initialisers and freezing -----------------------------------------------------------------
def test_initialisers() -> None:
    layers = """
    a:
      op: conv2d
      out_channels: 4
      kernel_size: 3
      init: {weight: {normal: {std: s / 1}}, bias: zeros}
    """.replace("s / 1", "s")
    checked = sound(spec(layers, before="params: {s: 0.5}\n"))
    assert node(checked, "a").init == {
        "weight": {"normal": {"mean": 0.0, "std": 0.5}},
        "bias": {"zeros": {}},
    }


@pytest.mark.parametrize(
    ("init", "code", "words"),
    [
        ("zeros", "SEG103", "`init` needs a mapping"),
        ("{wait: zeros}", "SEG107", "`conv2d` has no weight `wait`"),
        ("{weight: zero}", "SEG105", "did you mean `zeros`?"),
        ("{weight: {normal: {sigma: 1}}}", "SEG102", "`normal` has no argument `sigma`"),
        ("{weight: {normal: {std: -1}}}", "SEG105", "`std` must be at least 0, got -1"),
        ("{weight: constant}", "SEG104", "`constant` needs `value`"),
        ("{weight: {a: {}, b: {}}}", "SEG103", "needs an initialiser"),
        ("{weight: 3}", "SEG103", "needs an initialiser, got `3`"),
        ("{weight: {kaiming_normal: {mode: fan_on}}}", "SEG105", "did you mean `fan_"),
    ],
)
def test_initialisers_at_fault(init: str, code: str, words: str) -> None:
    fault(spec(f"a: {{op: conv2d, out_channels: 4, kernel_size: 3, init: {init}}}"), code, words)


def test_initialisers_by_operator() -> None:
    layers = "a: {op: conv2d, out_channels: 4, kernel_size: 3}"
    text = spec(layers, before="init: {conv2d: {weight: kaiming_normal}}\n")
    assert list(sound(text).graph.inits["conv2d"]["weight"]) == ["kaiming_normal"]
    fault(text.replace("conv2d: {w", "conv_2d: {w"), "SEG101", "did you mean `conv2d`?")


def test_freezing_a_layer_a_group_and_a_copy() -> None:
    layers = f"""
    a: {{op: conv2d, out_channels: 8, kernel_size: 1, freeze: true}}
    g: {{freeze: true, layers: {{b: {CONV}, r: relu}}}}
    h: {{repeat: 3, freeze: i == 1, layers: {{c: {CONV}}}}}
    d: {CONV}
    """
    checked = sound(spec(layers))
    frozen = [n.name for n in checked.graph.nodes if n.freeze]
    assert frozen == ["a", "g.b", "h.1.c"]
