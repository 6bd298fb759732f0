"""`segc diff`: the edits a reviewer would name, and what follows from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from diff_kit import NET, ROOT, SPECS, checked, edited, lines, spec

from segc.analyse import table
from segc.check import Checked
from segc.cli import main
from segc.diff import diff
from segc.diff_render import as_json, as_markdown, as_text


# --- single edits ---------------------------------------------------------------------------------
@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_a_network_does_not_differ_from_itself(path: Path) -> None:
    found = diff(spec(path), spec(path))
    assert found.identical
    assert found.effects.keys.strict
    assert as_text(found, ("a", "b")) == "a and b are the same network\n"


def test_spelling_makes_no_difference() -> None:
    assert edited(
        ("bn: batch_norm2d", "bn: {op: batch_norm2d, eps: 1.0e-5}  # the default"),
        ("kernel_size: 3, padding: dilation", "padding: dilation, kernel_size: [3, 2 + 1]"),
        ("repeat: 3", "repeat: 4 - 1"),
        ("join: {op: concat, from: [stem, up]}", "join:\n    from: [stem, up]\n    op: concat"),
    ).identical


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            [("logits, target: mask, ignore_index: 255", "logits, target: mask, ignore_index: 0")],
            ["loss seg.ignore_index 255 -> 0"],
        ),
        ([("lr: 0.01", "lr: 0.1")], ["recipe optimizer.sgd.lr 0.01 -> 0.1"]),
        ([("title: A net", "title: Net")], ["title A net -> Net"]),
        ([("N, 3, H", "N, 4, H")], ["input image [N, 3, H, W] -> [N, 4, H, W]"]),
        (
            [("kernel_size: 2}", "kernel_size: 2, ceil_mode: true}")],
            ["pool: ceil_mode false -> true"],
        ),
        (
            [("{op: max_pool2d, kernel_size: 2}", "{op: avg_pool2d, kernel_size: 2}")],
            ["pool: max_pool2d, kernel_size 2 -> avg_pool2d, kernel_size 2"],
        ),
        (
            [("[stem, up]", "[up, stem]")],
            ["join: reads up instead of stem.relu, stem.relu instead of up"],
        ),
        ([("[stem, up]", "[stem.bn, up]")], ["join: reads stem.bn instead of stem.relu"]),
        (
            [("outputs: {logits: logits}", "outputs: {logits: logits, low: pool}")],
            ["output low added: pool"],
        ),
        (
            [("  logits: {op", "  drop: {op: dropout2d, p: 0.1}\n  logits: {op")],
            ["+ drop added: dropout2d, p 0.1, after join, before logits"],
        ),
        (
            [("      relu: relu", "      drop: {op: dropout, p: 0.3}\n      relu: relu")],
            ["+ drop added in 4 instances of unit: dropout, p 0.3, after bn"],
        ),
        (
            [("      bn: batch_norm2d\n", "")],
            ["- bn removed in 4 instances of unit: batch_norm2d, after conv (-112 parameters)"],
        ),
        ([("  stem: {", "  root: {"), ("[stem", "[root")], ["stem renamed root (3 layers)"]),
        ([("pool:", "down:")], ["pool renamed down"]),
        (
            [("repeat: 3", "repeat: 2")],
            ["body: repeat 3 -> 2", "  - 3 layers removed (-2,352 parameters)"],
        ),
        (
            [("repeat: 3", "repeat: 5")],
            ["body: repeat 3 -> 5", "  + 6 layers added (+4,704 parameters)"],
        ),
        (
            [("rate: 2", "rate: 4")],
            [
                "parameter rate 2 -> 4",
                "  body.2.conv: padding and dilation 2 -> 4",
            ],
        ),
        (
            [("when: width > 8", "when: width > 4")],
            ["extra: switched on (`when`)", "  + 3 layers added (+2,352 parameters)"],
        ),
        (
            [("op: conv2d, out_channels: 2,", "op: conv2d, freeze: true, out_channels: 2,")],
            ["logits: freeze false -> true"],
        ),
        (
            [
                (
                    "op: conv2d, out_channels: 2,",
                    "op: conv2d, init: {weight: ones}, out_channels: 2,",
                )
            ],
            ["logits: init.weight added: ones"],
        ),
    ],
    ids=lambda value: value[0][:50] if value and isinstance(value[0], str) else None,
)
def test_one_change_is_named_as_a_reviewer_would(
    changes: list[tuple[str, str]], wanted: list[str]
) -> None:
    assert lines(edited(*changes)) == wanted


def test_a_parameter_is_the_cause_of_what_follows_from_it() -> None:
    found = edited(("width: 8, rate", "width: 4, rate"))
    assert lines(found)[0] == "parameter width 8 -> 4"
    assert len([e for e in found.edits if e.because is None]) == 1
    conv = {e.where for e in found.edits if e.kind == "attribute" and e.what == "out_channels"}
    assert conv == {"stem.conv", "body.0.conv", "body.1.conv", "body.2.conv"}
    # what reads them: a weight and a bias per channel; logits keeps its two outputs
    norms = [("stem.bn", -8), *((f"body.{i}.bn", -16) for i in range(3))]
    assert found.following == (*norms, ("logits", -(4 + 8) * 2))


def test_a_layer_that_is_renamed_and_changed_is_still_the_same() -> None:
    found = edited(("logits: {op: conv2d, out_channels: 2", "score: {op: conv2d, out_channels: 5"),
                   ("{logits: logits}", "{logits: score}"))  # fmt: skip
    assert lines(found) == ["logits renamed score", "score: out_channels 2 -> 5 (+75 parameters)"]


def test_renamed_copies_of_one_block_keep_their_order() -> None:
    text = NET.replace("body: {repeat: 3,", "a: {").replace("rate if i == 2 else 1", "rate")
    text = text.replace(
        "  extra:",
        "  b: {block: unit, out: 2 * width}\n  c: {block: unit, out: 2 * width}\n  extra:",
    )
    other = text.replace("  a: ", "  x: ").replace("  b: ", "  y: ").replace("  c: ", "  z: ")
    found = diff(checked(text), checked(other))
    assert lines(found) == [
        f"{o} renamed {n} (3 layers)" for o, n in zip("abc", "xyz", strict=True)
    ]


# --- consequences ---------------------------------------------------------------------------------
def test_resolution_and_accepted_sizes() -> None:
    found = edited(
        ("kernel_size: 2}\n  body", "kernel_size: 4}\n  body"),
        ("scale_factor: 2", "scale_factor: 4"),
    )
    text = as_text(found, ("a", "b"))
    assert "accepts      H % 2 == 0, W % 2 == 0 -> H % 4 == 0, W % 4 == 0" in text
    assert "pool and 9 more: 1/4 of the input instead of 1/2" in text
    assert "checkpoints  load unchanged: 18 tensors" in text


def test_a_rename_needs_only_new_keys() -> None:
    found = edited(("  stem: {", "  root: {"), ("[stem", "[root"))
    keys = found.effects.keys
    assert (keys.lost, keys.gained, keys.reshaped) == ((), (), ())
    assert dict(keys.renamed)["stem.conv.weight"] == "root.conv.weight"
    assert "load once 4 keys are renamed: stem -> root" in as_text(found, ("a", "b"))


def test_cost_is_compared_at_sizes_both_accept() -> None:
    a, b = checked(), checked(NET.replace("kernel_size: 1}", "kernel_size: 3, padding: 1}"))
    sizes = {"image": (1, 3, 8, 8)}
    found = diff(a, b, sizes)
    old, new = (table(c, sizes).totals.macs for c in (a, b))
    assert (found.effects.totals[0].macs, found.effects.totals[1].macs) == (old, new)
    assert new - old == 8 * 8 * 24 * 2 * 8  # type: ignore[operator]
    refused = diff(a, b, {"image": (1, 3, 7, 8)})
    assert refused.effects.totals[0].macs is None
    assert "does not accept" in as_text(refused, ("a", "b"))


PAIRS = [(a, b) for a, b in pairwise([*SPECS, SPECS[0]])] if SPECS else []


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=lambda p: p.stem)
def test_every_parameter_gained_or_lost_is_accounted_for(one: Path, two: Path) -> None:
    a, b = spec(one), spec(two)
    for x, y in ((a, b), (b, a)):
        found = diff(x, y)
        named = sum(e.params for e in found.edits) + sum(n for _, n in found.following)
        before, after = (t.params for t in found.effects.totals)
        assert named == after - before


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=lambda p: p.stem)
def test_there_and_back(one: Path, two: Path) -> None:
    a, b = spec(one), spec(two)
    there, back = diff(a, b), diff(b, a)
    for kind, other in (("added", "removed"), ("removed", "added")):
        names = sorted(e.where for e in there.edits if e.kind == kind)
        assert names == sorted(e.where for e in back.edits if e.kind == other)
    assert there.effects.totals == back.effects.totals[::-1]
    assert {v: k for k, v in there.matching.to_b.items()} == there.matching.to_a


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("width: 8, rate", "width: 4, rate")],
        [("repeat: 3", "repeat: 4")],
        [("      bn: batch_norm2d\n", "")],
        [("rate: 2", "rate: 4")],
    ],
)
def test_what_is_said_of_checkpoints_is_what_torch_says(changes: list[tuple[str, str]]) -> None:
    found = edited(*changes)
    a, b = (parameters(c) for c in (found.a, found.b))
    keys = found.effects.keys
    assert keys.strict == (a == b)
    assert keys.kept == sum(b.get(k) == shape for k, shape in a.items())
    assert set(keys.lost) == a.keys() - b.keys()
    assert set(keys.gained) == b.keys() - a.keys()
    assert {k for k, _, _ in keys.reshaped} == {k for k in a.keys() & b.keys() if a[k] != b[k]}


def parameters(network: Checked) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters as torch holds them, from layers made one by one."""
    torch = pytest.importorskip("torch")
    found = {}
    with torch.device("meta"):
        for node in network.graph.nodes:
            shape = network.shape(node.inputs[0]) if node.inputs else ()
            if node.op.name == "conv2d":
                op = node.op.values
                module = torch.nn.Conv2d(shape[1], op["out_channels"], op["kernel_size"])
            elif node.op.name == "batch_norm2d":
                module = torch.nn.BatchNorm2d(shape[1])
            else:
                continue
            for name, value in module.named_parameters():
                found[f"{node.name}.{name}"] = tuple(value.shape)
    return found


# --- output ---------------------------------------------------------------------------------------
def test_json_holds_every_edit_and_markdown_is_escaped() -> None:
    found = edited(("width: 8, rate", "width: 4, rate"), ("pool:", "down_:"))
    value = json.loads(json.dumps(as_json(found, ("a", "b"))))
    assert value["identical"] is False
    assert len(value["edits"]) == len(found.edits)
    cause = value["edits"][0]
    assert (cause["kind"], cause["what"], cause["before"], cause["after"]) == (
        "parameter",
        "width",
        8,
        4,
    )
    assert value["consequences"]["params"] == [t.params for t in found.effects.totals]
    assert value["consequences"]["checkpoint"]["loads"] is False
    assert "renamed down\\_" in as_markdown(found, ("a", "b"))


def test_exit_code_and_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(NET)
    b.write_text(NET.replace("rate: 2", "rate: 3"))
    assert main(["diff", str(a), str(b)]) == 0
    assert "parameter rate 2 -> 3" in capsys.readouterr().out
    assert main(["diff", str(a), str(b), "--exit-code"]) == 1
    assert main(["diff", str(a), str(a), "--exit-code"]) == 0
    capsys.readouterr()
    assert main(["diff", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is False
    b.write_text(NET.replace("relu: relu", "relu: rellu"))
    assert main(["diff", str(a), str(b)]) == 1
    assert "did you mean `relu`?" in capsys.readouterr().err


def test_same_text_at_every_hash_seed() -> None:
    words = [sys.executable, "-m", "segc", "diff", str(SPECS[0]), str(SPECS[-1])]
    outputs = {
        subprocess.run(
            words,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert b"What follows" in outputs.pop()
