"""From a spec to its graph: inputs, wiring, names, repeats, blocks, initialisers."""

from __future__ import annotations

import keyword
import textwrap

import pytest
from spec_kit import HEAD, check, fault, faults, names, node, sound, spec

from segc.ir import Ref
from segc.read.names import MODULE_NAMES

CONV = "{op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}"


# --- inputs and outputs ------------------------------------------------------------------------
def with_inputs(inputs: str, layers: str = "a: relu") -> str:
    return spec(layers, inputs=f"inputs: {inputs}\n")


def test_inputs() -> None:
    graph = sound(
        with_inputs(
            "{rgb: [N, 3, H, W], depth: {shape: [N, 1, H, W], dtype: float}}",
            "a: {op: concat, from: [rgb, depth]}",
        )
    ).graph
    assert list(graph.inputs) == ["rgb", "depth"]
    assert graph.inputs["rgb"].shape == ("N", 3, "H", "W")


def test_the_first_layer_reads_the_first_input() -> None:
    checked = sound(
        with_inputs("{x: [N, 2, H, W], y: [N, 2, H, W]}", "a: relu\nb: {op: add, from: [a, y]}")
    )
    assert node(checked, "a").inputs == (Ref("x"),)


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ("{image: []}", "SEG103", "an input needs its shape"),
        ("{image: 3}", "SEG103", "an input needs its shape, got `3`"),
        ("{image: {dtype: float}}", "SEG103", "an input needs its shape"),
        ("{image: {shape: [N, 3, H, W], kind: int}}", "SEG107", "unknown key `kind`"),
        ("{image: {shape: [N, 3, H, W], dtype: double}}", "SEG105", "one of float, int"),
        ("{image: [N, 0, H, W]}", "SEG105", "a size is at least 1, got 0"),
        ("{image: [N, 3.0, H, W]}", "SEG103", "a size needs an integer, got `3.0`"),
        ('{image: [N, "3", H, W]}', "SEG103", "write 3 without quotes"),
        ("{image: [N, 3, H-1, W]}", "SEG109", "`H` is not a parameter"),
        ("{image: [N, 3, floor, W]}", "SEG306", "`floor` is a function"),
        ("{image: [N, 3, class, W]}", "SEG306", "`class` is a word of Python"),
        ("{image: [N, 3, torch, W]}", "SEG306", "`torch` is reserved"),
        ("{im-age: [N, 3, H, W]}", "SEG305", "`im-age` cannot name an input"),
        ("{self: [N, 3, H, W]}", "SEG306", "`self` is reserved"),
        ("{canny: [N, 3, H, W]}", "SEG306", "the emitted module has a function of that name"),
        ("{}", "SEG104", "`inputs` is empty"),
        ("[image]", "SEG103", "`inputs` must be a mapping"),
        ("{image: [N, 3, A, B, C, D, E, F, G]}", "SEG313", "9 axes, the limit is 8"),
    ],
)
def test_inputs_at_fault(inputs: str, code: str, words: str) -> None:
    found = faults(with_inputs(inputs))
    assert found[0].code == code
    assert words in found[0].message + (found[0].hint or "")


@pytest.mark.parametrize(
    ("outputs", "code", "words"),
    [
        ("{}", "SEG309", "no outputs"),
        ("{y: b}", "SEG301", "`b` is not defined"),
        ("{y: [a]}", "SEG103", "output `y` needs the name of a layer"),
        ("{y: 3}", "SEG103", "got `3`"),
        ("{1y: a}", "SEG305", "cannot name an output"),
        ("a", "SEG103", "`outputs` must be a mapping"),
    ],
)
def test_outputs_at_fault(outputs: str, code: str, words: str) -> None:
    found = faults(spec("a: relu").replace("{y: a}", outputs))
    assert found[0].code == code and words in found[0].message


def test_outputs_may_be_paths_and_ports() -> None:
    text = spec("g: {layers: {p: {op: max_pool2d, kernel_size: 2, return_indices: true}, r: relu}}")
    text = text.replace("{y: g}", "{y: g, low: g.p, where: g.p.indices}")
    outputs = sound(text).graph.outputs
    assert outputs == {"y": Ref("g.r"), "low": Ref("g.p"), "where": Ref("g.p", "indices")}


# --- chains and names --------------------------------------------------------------------------
def test_a_chain_needs_no_wiring() -> None:
    checked = sound(spec("a: relu\nb: {op: relu}\nc: {op: relu, from: b}"))
    reads = {n.name: [str(r) for r in n.inputs] for n in checked.graph.nodes}
    assert reads == {"a": ["image"], "b": ["a"], "c": ["b"]}


def test_from_in_a_list_or_alone() -> None:
    one = sound(spec("a: relu\nb: {op: relu, from: [a]}"))
    assert node(one, "b").inputs == (Ref("a"),)
    many = sound(spec("a: relu\nb: {op: add, from: [a, image, a]}"))
    assert [r.node for r in node(many, "b").inputs] == ["a", "image", "a"]


@pytest.mark.parametrize(
    ("layers", "code", "words"),
    [
        ("a: {op: relu, from: x}", "SEG301", "defined above: image"),
        ("a: {op: relu, from: imgae}", "SEG301", "did you mean `image`?"),
        ("a: {op: relu, from: }", "SEG103", "`from` needs names of layers"),
        ("a: {op: relu, from: true}", "SEG103", "`from` needs names of layers"),
        ("a: {op: relu, from: {b: c}}", "SEG103", "`from` needs names of layers"),
        ('a: {op: relu, from: ""}', "SEG103", "`from` needs names of layers"),
        ("a: {op: relu, from: []}", "SEG307", "relu reads [x], but `a` gives it 0 values"),
        ("a: {op: relu, from: [image, image]}", "SEG307", "gives it 2 values"),
        ("a: {op: add}", "SEG307", "add reads two or more values, but `a` gives it 1 value"),
        ("a: {op: relu, from: a}", "SEG302", "cycle: `a` reads itself"),
        ("a: {op: relu, from: b}\nb: {op: relu, from: image}", "SEG303", "move `b` above `a`"),
        ("a: {op: relu, from: b}\nb: relu", "SEG302", "cycle: a -> b -> a"),
        ("a: {op: relu, from: image.b}", "SEG301", "input `image` has no part `b`"),
        ("a: relu\nb: {op: relu, from: a.c}", "SEG301", "relu has no output `c`"),
        (
            "a: {op: max_pool2d, kernel_size: 2}\nb: {op: max_unpool2d, from: [a, a.indices]}",
            "SEG301",
            "add `return_indices: true` to it",
        ),
        ("g: {layers: {a: relu}}\nb: {op: relu, from: g.c}", "SEG301", "`g` has no layer `c`"),
        ("g: {layers: {a: {op: relu, from: g}}}", "SEG302", "`a` is part of `g` and reads it"),
        ("g: {layers: {a: relu, b: {op: relu, from: g.a}}}", "SEG302", "inside `g`, write `a`"),
        ("g: {layers: {a: {op: relu, from: b}}}\nb: relu", "SEG303", "`b` is defined further"),
        ("image: relu", "SEG310", "layer `image` hides the input of that name"),
    ],
)
def test_wiring_at_fault(layers: str, code: str, words: str) -> None:
    fault(spec(layers), code, words)


def test_a_cycle_is_told_once_with_its_shortest_way() -> None:
    layers = "\n".join(f"k{i}: {{op: relu, from: k{(i + 1) % 6}}}" for i in range(6))
    fault(spec(layers), "SEG302", "cycle: k0 -> k1 -> k2 -> k3 -> k4 -> k5 -> k0")
    shortcut = layers.replace("k3: {op: relu, from: k4}", "k3: {op: add, from: [k4, k0]}")
    first, *_ = faults(spec(shortcut))
    assert first.message == "cycle: k0 -> k1 -> k2 -> k3 -> k0"


def test_a_name_of_an_inner_list_never_means_an_outer_layer() -> None:
    """Neither before nor after it is defined."""
    layers = """
    a: relu
    g:
      layers:
        b: {op: relu, from: a}
        a: {op: sigmoid, from: b}
    """
    fault(spec(layers), "SEG302", "cycle: b -> a -> b")


@pytest.mark.parametrize("name", ["a-b", "a.b", "_a", "é", "a b", "ﬁlter", "a" * 64, "1a", "01"])
def test_names_that_are_no_identifiers(name: str) -> None:
    text = spec(f'"{name}": relu', output="a")
    found = faults(text)
    assert found[0].code == "SEG305", found
    assert f"`{name}` cannot name a layer" in found[0].message


@pytest.mark.parametrize("name", ["a", "A1_", "a" * 63, "0", "12", "match", "print", "id", "x"])
def test_names_that_are_fine(name: str) -> None:
    assert names(sound(spec(f'"{name}": relu')).graph) == [name]


@pytest.mark.parametrize("name", [*keyword.kwlist, "self", "torch", "nn", "F", "forward", "train"])
def test_reserved_names(name: str) -> None:
    if name in ("None", "True", "False"):
        return  # YAML's own words
    fault(spec(f"'{name}': relu"), "SEG306", f"`{name}`")


def test_reserved_names_are_those_of_a_module() -> None:
    torch = pytest.importorskip("torch")
    public = {n for n in dir(torch.nn.Module()) if not n.startswith("_")}
    assert public == MODULE_NAMES


@pytest.mark.parametrize(
    "model", ["torch", "Torch", "numpy", "random", "nn", "class", "../x", "-o", "a b", ""]
)
def test_model_names_that_are_refused(model: str) -> None:
    text = spec("a: relu").replace("model: Net", f'model: "{model}"')
    assert faults(text)[0].code in ("SEG305", "SEG306")


# --- sections and keys -------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["segc", "model", "inputs", "layers", "outputs"])
def test_required_sections(key: str) -> None:
    lines = spec("a: relu").splitlines(keepends=True)
    text = "".join(
        line for line in lines if not line.startswith(key + ":") and "a: relu" not in line
    )
    if key != "layers":
        text += "layers: {a: relu}\n"
    found = faults(text)
    assert "SEG104" in [d.code for d in found]
    assert any(f"`{key}` is missing" in d.message for d in found)


@pytest.mark.parametrize("version", ["2", "1.0", "true", "'1'", "x", "[1]"])
def test_language_version(version: str) -> None:
    fault(spec("a: relu").replace("segc: 1", f"segc: {version}"), "SEG107", "write 1")


@pytest.mark.parametrize("key", ["title", "source", "notes", "model"])
def test_texts(key: str) -> None:
    text = spec("a: relu", before="" if key == "model" else f"{key}: x\n")
    wrong = text.replace("model: Net" if key == "model" else f"{key}: x", f"{key}: [x]")
    fault(wrong, "SEG103", f"`{key}` must be")


@pytest.mark.parametrize(
    ("layer", "code", "words"),
    [
        ("{}", "SEG113", "does not say what it is"),
        ("{opp: relu}", "SEG113", "did you mean `op`?"),
        ("{op: relu, block: b}", "SEG113", "has both `op` and `block`"),
        ("{op: relu, layers: {b: relu}}", "SEG113", "has both `op` and `layers`"),
        ("3", "SEG103", "layer `a` has no operator"),
        ("[relu]", "SEG103", "layer `a` must be a mapping, got a list"),
        ("{op: [relu]}", "SEG103", "`op` needs a name"),
        ("{op: reluu}", "SEG101", "did you mean `relu`?"),
        ("{op: qwertz}", "SEG101", "`segc explain` lists them"),
        ("{block: b}", "SEG110", "blocks here: none"),
        ("{layers: {}}", "SEG104", "`layers` is empty"),
        ("{layers: relu}", "SEG103", "`layers` must be a mapping"),
        ("{layers: {b: relu}, stride: 2}", "SEG107", "unknown key `stride` in the group"),
        ("{op: relu, only: tests}", "SEG105", "`checkpoint` or left out, got `tests`"),
        ("{op: relu, when: 1}", "SEG103", "`when` needs true or false, got `1`"),
        ("{op: relu, when: nobody}", "SEG109", "`nobody` is not a parameter here"),
        ("{op: relu, repeat: 0}", "SEG105", "`repeat` must be between 1 and 20,000, got 0"),
        ("{op: relu, repeat: 2.0}", "SEG103", "`repeat` needs an integer"),
        ("{op: relu, freeze: true}", "SEG107", "`relu` has no weights to freeze"),
        ("{op: relu, init: {weight: zeros}}", "SEG107", "has no weight `weight`"),
    ],
)
def test_layer_at_fault(layer: str, code: str, words: str) -> None:
    """One message each, and none for those who read the layer."""
    fault(spec(f"a: {layer}\nb: {{op: sigmoid, from: a}}"), code, words)


# --- the whole ------------------------------------------------------------
def test_limit_on_layers() -> None:
    _, found = check(spec("a: {repeat: 11, op: relu}"), max_layers=10)
    assert [d.code for d in found] == ["SEG105"]
    _, found = check(spec("a: {repeat: 6, op: relu}\nb: {repeat: 6, op: relu}"), max_layers=10)
    assert [d.code for d in found] == ["SEG313"]
    _, found = check(spec("a: {repeat: 10, op: relu}"), max_layers=10)
    assert found == []


def test_all_faults_of_a_spec_in_one_run() -> None:
    text = HEAD + textwrap.dedent("""
        titel: x
        params: {width: {type: int, default: 8, mni: 1}}
        inputs: {image: [N, 3, H, W]}
        layers:
          a: {op: conv2, out_channels: 8}
          b: {op: conv2d, from: image, out_channels: "8", kernel_size: 3}
          c: {op: conv2d, from: image, out_channels: 2 * widht, kernel_size: 3}
          class: relu
          d: {op: relu, from: nobody}
          e: {op: add, from: image}
        outputs: {y: e, z: f}
        """)
    assert [d.code for d in faults(text)] == [
        "SEG106", "SEG107", "SEG101", "SEG103", "SEG109", "SEG306", "SEG301", "SEG307", "SEG301",
    ]  # fmt: skip
