"""`losses:` and `recipe:`: what is read, what is refused and where, and the schema beside it."""

from __future__ import annotations

from typing import Any

import pytest

from segc.build import check_source
from segc.catalogue import CATALOGUE
from segc.diag import Diagnostic, Fail, Report
from segc.read.loss_table import LOSSES, losses_schema
from segc.read.losses import read_losses
from segc.read.recipe import RECIPE, read_recipe, recipe_schema
from segc.read.yaml import Mapping_, YNode, parse
from segc.source import Source

FULL = """\
optimizer: {sgd: {lr: 0.1, momentum: 0.9, weight_decay: 5.0e-4}}
schedule: {step: {size: 1000}}
max_steps: 10000
batch_size: 12
crop: [360, 480]
augment: {scale: [0.5, 2.0], flip: true}
input: {channels: bgr, range: 255}
normalize: {mean: [104.0, 116.5, 122]}
groups:
  - {match: "backbone.*", lr: 0.1}
  - {match: "*.bias", lr: 2, weight_decay: 0}
classes: [sky, road]
recompute_bn: 50
"""


def node(text: str) -> YNode:
    report = Report()
    found = parse(Source.from_text(text, "spec.yaml"), report)
    assert found is not None and not report.failed, report.diagnostics
    return found


def recipe(text: str) -> tuple[dict[str, Any], list[Diagnostic]]:
    report = Report()
    return dict(read_recipe(node(text), report)), report.diagnostics


def losses(text: str, *outputs: str) -> tuple[dict[str, Any], list[Diagnostic]]:
    report = Report()
    found = read_losses(node(text), report, outputs or ("logits",), {"deep": True, "k": 3})
    return dict(found), report.diagnostics


def test_a_full_recipe() -> None:
    found, problems = recipe(FULL)
    assert problems == []
    assert found["optimizer"] == {
        "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}
    }
    assert found["schedule"] == {"step": {"size": 1000, "gamma": 0.1, "per": "step"}}
    assert found["normalize"] == {"mean": [104.0, 116.5, 122], "std": None}
    assert found["groups"][1] == {"match": "*.bias", "lr": 2, "weight_decay": 0}
    assert set(found) == set(FULL_KEYS)
    assert recipe("schedule: cosine\n")[0] == {"schedule": {"cosine": {"per": "step"}}}


FULL_KEYS = [line.split(":")[0] for line in FULL.splitlines() if line[0].isalpha()]


def test_a_number_may_stand_for_a_section() -> None:
    """`rotate: 10` says the angle, `color_jitter: 0.25` all four amounts, `resize: 520` a side."""
    found, problems = recipe("augment: {rotate: 10, color_jitter: 0.25, resize: 520}\nwarmup: 50\n")
    assert problems == []
    assert found["augment"]["rotate"] == {"degrees": 10, "probability": 1.0}
    amounts = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.25)
    assert found["augment"]["color_jitter"] == amounts
    assert found["augment"]["resize"] == [520] and found["augment"]["blur"] is None
    assert found["warmup"] == {"steps": 50, "factor": 0.01}
    found, _ = recipe("augment: {color_jitter: {hue: 0.1}, resize: [250, 300]}\n")
    assert found["augment"]["color_jitter"]["hue"] == 0.1
    assert found["augment"]["color_jitter"]["contrast"] == 0
    assert found["augment"]["resize"] == [250, 300]


def test_a_full_loss() -> None:
    found, problems = losses(
        "seg: {cross_entropy: logits}\naux: {cross_entropy: aux, weight: 0.4}\n", "logits", "aux"
    )
    assert problems == []
    assert found["seg"] == {
        "kind": "cross_entropy",
        "output": "logits",
        "target": "mask",
        "ignore_index": 255,
        "weight": 1.0,
        "class_weights": None,
        "border_weight": None,
        "resize": "logits",
        "reduction": "mean",
    }
    assert found["aux"]["weight"] == 0.4


@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ("optimiser: {sgd: {lr: 1}}", "SEG107", (1, 1), "did you mean `optimizer`?"),
        ("optimizer: {sdg: {lr: 1}}", "SEG105", (1, 13), "did you mean `sgd`?"),
        ("optimizer: sgd", "SEG104", (1, 12), "`lr` is missing in `sgd`"),
        ("optimizer: {sgd: {lr: 1}, adam: {lr: 1}}", "SEG105", (1, 12), "exactly one"),
        ("optimizer: {sgd: {lr: -1}}", "SEG105", (1, 23), "more than 0"),
        ("optimizer: {sgd: {lr: fast}}", "SEG103", (1, 23), "needs a number, got `fast`"),
        ("optimizer: {sgd: {lr: true}}", "SEG103", (1, 23), "needs a number"),
        ("optimizer: {sgd: {lr: 1, momentum: 2}}", "SEG105", (1, 36), "at most 1"),
        ("optimizer: {adam: {lr: 1, betas: [0.9]}}", "SEG103", (1, 34), "takes 2 numbers, got 1"),
        ("max_steps: 10.5", "SEG103", (1, 12), "needs an integer"),
        ("max_steps: 0", "SEG105", (1, 12), "at least 1"),
        ("{max_steps: 5, epochs: 2}", "SEG603", (1, 24), "both"),
        ("crop: 512", "SEG103", (1, 7), "is a list, got `512`"),
        ("crop: [512, x]", "SEG103", (1, 13), "needs an integer"),
        ("augment: {scale: [2.0, 0.5]}", "SEG105", (1, 18), "[smallest, largest]"),
        ("augment: {scale: [0.5, 2], scales: [1]}", "SEG603", (1, 36), "both `scale` and"),
        ("augment: {scales: 0.5}", "SEG103", (1, 19), "is a list"),
        ("augment: {resize: [520]}", "SEG103", (1, 19), "takes 2 numbers, got 1"),
        ("augment: {resize: 0}", "SEG105", (1, 19), "at least 1"),
        ("augment: {resize: 52.5}", "SEG103", (1, 19), "needs an integer"),
        ("augment: {rotate: ten}", "SEG103", (1, 19), "`degrees` needs a number"),
        ("augment: {rotate: 190}", "SEG105", (1, 19), "at most 180"),
        ("augment: {rotate: {probability: 0.5}}", "SEG104", (1, 19), "`degrees` is missing"),
        ("augment: {rotate: {degrees: 5, probability: 2}}", "SEG105", (1, 45), "at most 1"),
        ("augment: {rotate: [5]}", "SEG103", (1, 19), "must be a mapping"),
        ("augment: {color_jitter: {hue: 0.6}}", "SEG105", (1, 31), "at most 0.5"),
        ("augment: {elastic: {grid: 1}}", "SEG105", (1, 27), "at least 2"),
        ("augment: {blur: {sigma: [2, 1]}}", "SEG105", (1, 25), "`sigma` is [smallest"),
        ("augment: {blur: {sigma: [0, 1]}}", "SEG105", (1, 26), "more than 0"),
        ("schedule: {poly: {per: year}}", "SEG105", (1, 24), "step, epoch"),
        ("schedule: {poly: {every: 0}}", "SEG105", (1, 26), "at least 1"),
        ("schedule: {milestones: {gamma: 0.5}}", "SEG104", (1, 24), "`at` is missing"),
        ("schedule: {milestones: {at: [5, 5]}}", "SEG105", (1, 29), "ascending"),
        ("warmup: {factor: 0.1}", "SEG104", (1, 9), "`steps` is missing"),
        ("augment: {flip: 1}", "SEG103", (1, 17), "true or false"),
        ("input: {range: 128}", "SEG105", (1, 16), "1, 255"),
        ("input: {channels: bgrr}", "SEG105", (1, 19), "did you mean `bgr`?"),
        ("normalize: {std: [1, 1, 1]}", "SEG104", (1, 12), "`mean` is missing"),
        ("normalize: {mean: [1], std: [0]}", "SEG105", (1, 30), "more than 0"),
        ("groups: {match: x}", "SEG103", (1, 9), "is a list, got a mapping"),
        ("groups: [{lr: 2}]", "SEG104", (1, 10), "`match` is missing"),
        ("groups: [{match: x, wd: 2}]", "SEG107", (1, 21), "known: match, lr, weight_decay"),
        ("classes: [a, 3]", "SEG103", (1, 14), "needs text"),
    ],
)
def test_faults_of_a_recipe(text: str, code: str, place: tuple[int, int], said: str) -> None:
    _, problems = recipe(text + "\n")
    assert [p.code for p in problems] == [code], problems
    only = problems[0]
    assert only.loc is not None and (only.loc.line, only.loc.column) == place
    assert said in f"{only.message} {only.hint}"


def test_a_recipe_is_a_mapping() -> None:
    report = Report()
    whole = node("recipe: [a]\n")
    assert isinstance(whole, Mapping_)
    read_recipe(whole.entries[0][1], report)
    read_losses(whole.entries[0][1], report, (), {})
    assert [d.code for d in report.diagnostics] == ["SEG103", "SEG103"]


@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ("seg: {crossentropy: logits}", "SEG601", (1, 7), "did you mean `cross_entropy`?"),
        ("seg: logits", "SEG103", (1, 6), "must be a mapping"),
        ("seg: {cross_entropy: x, binary_cross_entropy: x}", "SEG601", (1, 1), "has both"),
        ("seg: {cross_entropy: logit}", "SEG602", (1, 22), "did you mean `logits`?"),
        ("seg: {cross_entropy: logits, ignore: 3}", "SEG107", (1, 30), "unknown key `ignore`"),
        ("seg: {cross_entropy: logits, ignore_index: -1}", "SEG105", (1, 44), "at least 0"),
        ("seg: {cross_entropy: logits, reduction: avg}", "SEG105", (1, 41), "valid_pixels"),
        ("seg: {cross_entropy: logits, class_weights: median}", "SEG105", (1, 45), "median_freq"),
        ("seg: {cross_entropy: logits, class_weights: [1, -1]}", "SEG105", (1, 49), "at least 0"),
        ("a b: {cross_entropy: logits}", "SEG305", (1, 1), "cannot name a loss"),
        ("seg: {cross_entropy: logits, when: deeep}", "SEG109", (1, 36), "did you mean `deep`?"),
        ("seg: {cross_entropy: logits, when: 1}", "SEG103", (1, 36), "needs true or false"),
        ("seg: {cross_entropy: logits, resize: caffe}", "SEG105", (1, 38), "labels_corners"),
        ("seg: {cross_entropy: logits, border_weight: {w: 3}}", "SEG107", (1, 46), "w0"),
        ("seg: {cross_entropy: logits, border_weight: {sigma: 0}}", "SEG105", (1, 53), "more than"),
        (
            "seg: {cross_entropy: logits, target: centre, border_weight: {w0: 10}}",
            "SEG603",
            (1, 61),
            "no borders",
        ),
        (
            "seg: {cross_entropy: logits, target: centre, resize: labels_slice}",
            "SEG603",
            (1, 54),
            "not resized",
        ),
        (
            "seg: {cross_entropy: logits, border_weight: {w0: 10}, resize: labels_slice}",
            "SEG603",
            (1, 63),
            "leave one of them out",
        ),
        (
            "seg: {binary_cross_entropy: logits, edges: {radius: 2}}",
            "SEG603",
            (1, 44),
            "add `target: edges`",
        ),
        ("att: {edge_attention: logits}", "SEG104", (1, 6), "`edges` is missing"),
        ("att: {edge_attention: logits, edges: lines}", "SEG602", (1, 38), "not an output"),
        ("d: {squared_error: logits, target: a-b}", "SEG305", (1, 36), "not an identifier"),
        ("d: {squared_error: logits, target: mask}", "SEG603", (1, 36), "another name"),
        ("d: {dual_task: logits, tau: 0}", "SEG105", (1, 29), "more than 0"),
        (
            "{a: {cross_entropy: logits}, b: {cross_entropy: logits, ignore_index: 0}}",
            "SEG603",
            (1, 71),
            "differ in `ignore_index`",
        ),
    ],
)
def test_faults_of_losses(text: str, code: str, place: tuple[int, int], said: str) -> None:
    _, problems = losses(text + "\n")
    assert [p.code for p in problems] == [code], problems
    only = problems[0]
    assert only.loc is not None and (only.loc.line, only.loc.column) == place
    assert said in f"{only.message} {only.hint}"


@pytest.mark.parametrize("code", [code for code in sorted(CATALOGUE) if code.startswith("SEG6")])
def test_catalogue_examples(code: str) -> None:
    """The bad example of a page triggers its code and nothing else; the good one is accepted."""
    entry = CATALOGUE[code]
    with pytest.raises(Fail) as failed:
        check_source(Source.from_text(entry.bad, "bad.yaml"), {})
    assert {d.code for d in failed.value.diagnostics} == {code}
    assert all(d.loc is not None for d in failed.value.diagnostics)
    check_source(Source.from_text(entry.good, "good.yaml"), {})


def test_other_parameters_may_change_classes_and_sizes() -> None:
    text = CATALOGUE["SEG604"].good.replace("model: Net", "model: Net\nparams: {k: 3}")
    text = text.replace("out_channels: 3", "out_channels: k")
    check_source(Source.from_text(text, "good.yaml"), {"k": 7})


def test_the_schema_agrees_with_the_reader() -> None:
    """Every text of the tests above: the schema accepts what the reader accepts."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    for schema in (recipe_schema(), losses_schema()):
        validator.check_schema(schema)
    check = validator(recipe_schema())
    for text, code, _, said in test_faults_of_a_recipe.pytestmark[0].args[1]:  # type: ignore[attr-defined]
        between = "smallest" in said or said == "ascending" or code == "SEG603"  # no schema's task
        assert check.is_valid(plain(node(text + "\n"))) == between, text
    assert check.is_valid(plain(node(FULL)))
    check = validator(losses_schema())
    for text, code, *_ in test_faults_of_losses.pytestmark[0].args[1]:  # type: ignore[attr-defined]
        between = code in ("SEG109", "SEG602", "SEG603")  # what depends on the rest of the spec
        assert check.is_valid(plain(node(text + "\n"))) == between, text
    assert check.is_valid({"seg": {"cross_entropy": "logits"}})


def plain(value: YNode) -> Any:
    if hasattr(value, "entries"):
        return {k.text: plain(v) for k, v in value.entries}
    if hasattr(value, "items"):
        return [plain(v) for v in value.items]
    return value.value


def test_every_key_is_described() -> None:
    for fields in (RECIPE, *(kind.fields for kind in LOSSES.values())):
        for f in fields.values():
            assert f.doc and all(inner.doc for inner in f.fields.values())
