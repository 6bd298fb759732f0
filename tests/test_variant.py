"""`extends`: what a variant may change, and that nothing else changes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from spec_kit import names

from segc.check import Checked, verify
from segc.diag import Diagnostic, Report
from segc.ir import Ref
from segc.read import read
from segc.source import Source

BASE = textwrap.dedent("""
    segc: 1
    model: Base
    title: The base
    params:
      classes: {type: int, default: 4, min: 1, doc: classes}
      width: 8
    inputs: {image: [N, 3, H, W]}
    blocks:
      conv_relu:
        params: {out: int}
        layers:
          conv: {op: conv2d, out_channels: out, kernel_size: 3, padding: 1}
          relu: relu
    layers:
      a: {block: conv_relu, out: width}
      b: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
      act: relu
      g:
        layers:
          c: {op: conv2d, out_channels: width, kernel_size: 1}
          d: tanh
      logits: {op: conv2d, out_channels: classes, kernel_size: 1}
    outputs: {logits: logits}
    losses:
      seg: {cross_entropy: logits, ignore_index: 255}
    recipe:
      optimizer: {sgd: {lr: 0.1}}
      max_steps: 100
    """).lstrip("\n")


def vary(
    folder: Path, variant: str, base: str = BASE, **params: Any
) -> tuple[Any, list[Diagnostic]]:
    """The variant's checked graph, if it has one, and what was found."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    path = folder / "variant.yaml"
    path.write_text("extends: base.yaml\n" + textwrap.dedent(variant), encoding="utf-8")
    report = Report()
    graph = read(Source.open(path), params, report)
    return (verify(graph, report) if graph else None), report.diagnostics


def sound(folder: Path, variant: str, **params: Any) -> Checked:
    checked, found = vary(folder, variant, **params)
    assert found == []
    assert isinstance(checked, Checked)
    return checked


ALL = ["a.conv", "a.relu", "b", "act", "g.c", "g.d", "logits"]


def test_nothing_changed(tmp_path: Path) -> None:
    checked = sound(tmp_path, "segc: 1\n")
    assert names(checked.graph) == ALL
    assert checked.graph.name == "Base"
    assert Path(checked.graph.by_name["b"].loc.file).name == "base.yaml"


def test_texts_and_model(tmp_path: Path) -> None:
    graph = sound(tmp_path, "model: Wide\ntitle: Wider\n").graph
    assert (graph.name, graph.title) == ("Wide", "Wider")


def test_a_new_default_keeps_range_and_type(tmp_path: Path) -> None:
    variant = "params: {classes: 7}\n"
    assert sound(tmp_path, variant).graph.params == {"classes": 7, "width": 8}
    _, found = vary(tmp_path, variant, classes=0)
    assert [d.code for d in found] == ["SEG105"]
    checked, found = vary(tmp_path, "params: {classes: 0}\n")
    assert [d.code for d in found] == ["SEG105"]
    assert found[0].loc is not None and Path(found[0].loc.file).name == "variant.yaml"


def test_a_declaration_is_changed_key_by_key(tmp_path: Path) -> None:
    checked = sound(tmp_path, "params: {classes: {max: 9}}\n", classes=9)
    assert checked.graph.params["classes"] == 9
    _, found = vary(tmp_path, "params: {classes: {max: 9}}\n", classes=10)
    assert [d.code for d in found] == ["SEG105"]


def test_a_layer_with_an_op_is_replaced(tmp_path: Path) -> None:
    checked = sound(tmp_path, "layers: {act: {op: leaky_relu, negative_slope: 0.5}}\n")
    assert names(checked.graph) == ALL
    assert checked.graph.by_name["act"].op.values == {"negative_slope": 0.5}
    checked = sound(tmp_path, "layers: {b: {block: conv_relu, out: 5}}\n")
    assert names(checked.graph) == [*ALL[:2], "b.conv", "b.relu", *ALL[3:]]


def test_a_layer_without_an_op_is_changed(tmp_path: Path) -> None:
    node = sound(tmp_path, "layers: {b: {padding: 2, dilation: 2}}\n").graph.by_name["b"]
    assert node.op.values["dilation"] == (2, 2) and node.op.values["kernel_size"] == (3, 3)


def test_a_bare_operator_can_be_changed(tmp_path: Path) -> None:
    """`act: relu` is `act: {op: relu}`."""
    assert sound(tmp_path, "layers: {act: {when: false}}\n").graph.by_name["act"].absent
    node = sound(tmp_path, "layers: {act: {from: a}, b: {remove: true}}\n").graph.by_name["act"]
    assert (node.op.name, node.inputs) == ("relu", (Ref("a.relu"),))


def test_inside_a_group(tmp_path: Path) -> None:
    checked = sound(tmp_path, "layers: {g: {layers: {c: {out_channels: 3}, e: relu}}}\n")
    assert names(checked.graph) == ["a.conv", "a.relu", "b", "act", "g.c", "g.d", "g.e", "logits"]
    assert checked.graph.by_name["g.c"].op.values["out_channels"] == 3


def test_removing(tmp_path: Path) -> None:
    checked = sound(tmp_path, "layers: {act: {remove: true}}\n")
    assert names(checked.graph) == ["a.conv", "a.relu", "b", "g.c", "g.d", "logits"]
    assert checked.graph.by_name["g.c"].inputs == (Ref("b"),)


def test_inserting(tmp_path: Path) -> None:
    checked = sound(tmp_path, "layers: {bn: {after: b, op: batch_norm2d}}\n")
    assert names(checked.graph) == ["a.conv", "a.relu", "b", "bn", "act", "g.c", "g.d", "logits"]
    assert checked.graph.by_name["act"].inputs == (Ref("bn"),)


def test_moving(tmp_path: Path) -> None:
    """`after` on a layer of the base moves it, whole."""
    checked = sound(tmp_path, "layers: {act: {after: a}}\n")
    assert names(checked.graph) == ["a.conv", "a.relu", "act", "b", "g.c", "g.d", "logits"]


def test_new_layers_go_to_the_end(tmp_path: Path) -> None:
    variant = "layers: {scores: softmax}\noutputs: {scores: scores}\n"
    graph = sound(tmp_path, variant).graph
    assert names(graph) == [*ALL, "scores"]
    assert graph.outputs == {"logits": Ref("logits"), "scores": Ref("scores")}


def test_losses_and_recipe(tmp_path: Path) -> None:
    variant = """
        losses: {seg: {ignore_index: 7}}
        recipe: {max_steps: 5, optimizer: {adam: {lr: 0.01}}}
        """
    checked, found = vary(tmp_path, variant)
    assert checked is not None
    assert checked.graph.losses["seg"]["ignore_index"] == 7
    assert checked.graph.losses["seg"]["output"] == "logits"
    assert checked.graph.recipe["max_steps"] == 5


def test_nothing_behind_a_key_removes_it(tmp_path: Path) -> None:
    graph = sound(tmp_path, "losses:\nrecipe: {max_steps: }\n").graph
    assert graph.losses == {} and "max_steps" not in graph.recipe
    assert "optimizer" in graph.recipe


def test_block_files_of_both_are_used(tmp_path: Path) -> None:
    for name in "pq":
        library = f"segc: 1\nblocks: {{{name}: {{layers: {{r: relu}}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(library, encoding="utf-8")
    base = BASE.replace("layers:\n  a:", "use: [p.yaml]\nlayers:\n  first: {block: p}\n  a:")
    checked, found = vary(tmp_path, "use: [q.yaml]\nlayers: {act: {block: q}}\n", base)
    assert found == [] and checked is not None
    assert {"first.r", "act.r"} < set(names(checked.graph))


def test_a_variant_of_a_variant(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "one.yaml").write_text("extends: base.yaml\nparams: {width: 5}\n", encoding="utf-8")
    two = tmp_path / "two.yaml"
    two.write_text(
        "extends: one.yaml\nmodel: Two\nlayers: {b: {out_channels: 3}}\n", encoding="utf-8"
    )
    report = Report()
    graph = read(Source.open(two), {}, report)
    assert report.diagnostics == [] and graph is not None
    assert (graph.name, graph.params["width"]) == ("Two", 5)
    assert graph.by_name["b"].op.values["out_channels"] == 3


@pytest.mark.parametrize(
    ("variant", "code", "words"),
    [
        ("layers: {axt: {remove: true}}\n", "SEG301", "the base has no `axt` to remove"),
        ("layers: {act: {remove: yes please}}\n", "SEG103", "`remove` is true or left out"),
        ("layers: {act: {remove: true, op: relu}}\n", "SEG113", "takes no other keys"),
        ("layers: {x: {after: bb, op: relu}}\n", "SEG301", "no layer `bb` to come after"),
        ("layers: {b: {after: b}}\n", "SEG301", "no layer `b` to come after"),
        ("layers: {new: {when: false}}\n", "SEG113", "does not say what it is"),
        ("layers: {b: {strid: 2}}\n", "SEG102", "no argument `strid`"),
        ("params: {depth: }\n", "SEG301", "the base has no `depth` to remove"),
        ("params: {depth: 3}\n", "SEG315", "reads the parameter `depth`"),
        ("layers: {g: {layers: {c: {remove: true}, x: {remove: true}}}}\n", "SEG301", "no `x`"),
        ("titel: x\n", "SEG106", "unknown key `titel`"),
    ],
)
def test_variant_at_fault(tmp_path: Path, variant: str, code: str, words: str) -> None:
    """At the variant's own line, with the place in the variant's own file."""
    _, found = vary(tmp_path, variant)
    assert [d.code for d in found] == [code], found
    assert words in found[0].message
    assert found[0].loc is not None
    assert (Path(found[0].loc.file).name, found[0].loc.line) == ("variant.yaml", 2)


def test_a_fault_the_variant_causes_in_the_base(tmp_path: Path) -> None:
    """Removing what the base reads: the message is at the reader, in the base's file."""
    base = BASE.replace("g:\n", "g:\n    from: act\n")
    _, found = vary(tmp_path, "layers: {act: {remove: true}}\n", base)
    assert found[0].code == "SEG301" and found[0].loc is not None
    assert Path(found[0].loc.file).name == "base.yaml"


def test_the_base_may_not_be_the_variant(tmp_path: Path) -> None:
    path = tmp_path / "variant.yaml"
    path.write_text("extends: variant.yaml\n", encoding="utf-8")
    report = Report()
    assert read(Source.open(path), {}, report) is None
    assert [d.code for d in report.diagnostics] == ["SEG312"]


@pytest.mark.parametrize("value", ["[base.yaml]", "3", "{a: b}", "absent.yaml", "../base.yaml"])
def test_no_such_base(tmp_path: Path, value: str) -> None:
    (tmp_path / "variant.yaml").write_text(f"extends: {value}\n", encoding="utf-8")
    report = Report()
    assert read(Source.open(tmp_path / "variant.yaml"), {}, report) is None
    assert len(report.diagnostics) == 1 and report.failed


def test_the_same_as_written_out(tmp_path: Path) -> None:
    """A variant is the network one would get by editing a copy of the base."""
    variant = """
        model: Edited
        params: {width: 12}
        layers:
          act: sigmoid
          extra: {after: act, op: conv2d, out_channels: width, kernel_size: 1}
        """
    edited = BASE.replace("model: Base", "model: Edited").replace("width: 8", "width: 12")
    edited = edited.replace(
        "act: relu", "act: sigmoid\n  extra: {op: conv2d, out_channels: width, kernel_size: 1}"
    )
    report = Report()
    written = read(Source.from_text(edited, "edited.yaml"), {}, report)
    assert written is not None and report.diagnostics == []
    varied = sound(tmp_path, variant).graph
    assert [(n.name, n.op.name, n.op.values, n.inputs) for n in varied.nodes] == [
        (n.name, n.op.name, n.op.values, n.inputs) for n in written.nodes
    ]
    assert varied.outputs == written.outputs and varied.recipe == written.recipe
