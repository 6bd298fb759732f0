"""The JSON Schema for editors agrees with the reader, in both drafts."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from segc.cli import main
from segc.diag import Report
from segc.op import REGISTRY, Attr, Op
from segc.read import read
from segc.read.inits import INITIALISERS
from segc.read.spec import TOP_LEVEL
from segc.schema import schema
from segc.source import Source

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "specs").rglob("*.yaml"))
VALIDATORS = [
    jsonschema.Draft202012Validator(schema("2020-12")),
    jsonschema.Draft7Validator(schema(7)),
]


def plain(value: Any) -> Any:
    """YAML as an editor sees it: keys are text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def accepted(document: Any) -> bool:
    """Both drafts must agree."""
    answers = {v.is_valid(document) for v in VALIDATORS}
    assert len(answers) == 1
    return answers.pop()


def network(layer: Any, name: str = "x1") -> dict[str, Any]:
    return {
        "segc": 1,
        "model": "Net",
        "inputs": {"image": ["N", 8, "H", "W"]},
        "layers": {"x0": "identity", name: layer},
        "outputs": {"y": name},
    }


def reads(document: dict[str, Any]) -> bool:
    """Whether the reader takes it (shapes and wiring aside)."""
    report = Report()
    read(Source.from_text(json.dumps(document), "spec.yaml"), {}, report)
    return not any(d.code.startswith("SEG1") for d in report.diagnostics)


def test_the_schemas_are_schemas() -> None:
    for validator in VALIDATORS:
        validator.check_schema(validator.schema)
    assert VALIDATORS[0].schema["$schema"].endswith("2020-12/schema")
    assert "draft-07" in VALIDATORS[1].schema["$schema"]


def test_the_verb_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--draft", "7"]) == 0
    assert json.loads(capsys.readouterr().out) == schema("7")


def test_everything_is_described() -> None:
    found = schema()
    assert all(found["properties"][key]["description"] for key in TOP_LEVEL)
    for name, cls in REGISTRY.items():
        properties = found["$defs"][f"op.{name}"]["properties"]
        assert found["$defs"][f"op.{name}"]["description"]
        assert all(properties[a]["description"] for a in cls.attrs)


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_spec_is_valid(path: Path) -> None:
    document = plain(yaml.safe_load(path.read_text("utf-8")))
    for validator in VALIDATORS:
        assert [e.message for e in validator.iter_errors(document)] == []


def changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every key of a document, at every depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key), key
            yield from changes(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from changes(inner, (*path, i))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


# Sections whose keys the schema knows; elsewhere names are the author's.
FIXED = ("transforms", "init", "losses", "recipe")


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_misspelt_keys_are_refused_as_the_reader_does(path: Path) -> None:
    document = plain(yaml.safe_load(path.read_text("utf-8")))
    tried = 0
    for where, key in list(changes(document)):
        free = where[0] in ("params", "inputs", "blocks", "layers", "outputs", "use")
        if len(where) > 1 and (free or where[0] not in FIXED or where[:1] == ("losses",)):
            continue
        if where[:2] == ("recipe", "cases") and len(where) == 3:
            continue  # the name of a case
        mutant = copy.deepcopy(document)
        holder = at(mutant, where[:-1])
        holder[f"{key}z"] = holder.pop(key)
        assert not accepted(mutant), where
        tried += 1
    assert tried >= 2


def sound(cls: type[Op]) -> dict[str, Any]:
    """A layer with the attributes of the operator's first example."""
    attrs = dict(cls.examples[0].attrs) if cls.examples else {}
    least = {
        "int": 1,
        "float": 0.5,
        "bool": True,
        "Pair": 2,
        "PhaseInt": 1,
        "Ints": [1],
        "Floats": [1.0],
    }
    required = {
        n: a.choices[0]
        if a.choices
        else max(least[a.kind], a.min or 0)
        if a.kind in ("int", "float")
        else least.get(a.kind, "x0")
        for n, a in cls.attrs.items()
        if a.required and n not in attrs
    }
    return plain({"op": cls.name, **attrs, **required})


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_operators(name: str) -> None:
    """What the schema says of an attribute's value is what the reader says."""
    cls = REGISTRY[name]
    layer = sound(cls)
    assert accepted(network(layer)), layer
    assert not accepted(network({**layer, "colour": 1}))
    assert not reads(network({**layer, "colour": 1}))
    for attr in cls.attrs.values():
        if attr.name in ("init",):
            continue  # the key of every layer hides it
        if attr.required:
            without = {k: v for k, v in layer.items() if k != attr.name}
            assert not accepted(network(without))
            assert not reads(network(without))
        for value in candidates(attr):
            mutant = network({**layer, attr.name: value})
            if isinstance(value, list) and "2 * 2" in value and (attr.max or 4) < 4:
                continue  # what an expression comes to only the reader knows
            if isinstance(value, str) and attr.kind not in ("str", "Operand"):
                assert accepted(mutant), (attr.name, value, "an expression")
                continue
            if attr.kind == "str" and not attr.choices or attr.kind == "Operand":
                continue
            said = reads(mutant)
            assert accepted(mutant) == said, (attr.name, value, said)


def candidates(a: Attr) -> Iterator[Any]:
    yield from (True, 1.5, [1, 2, 3], {}, "width", "1 +")
    yield from ([[1]], [True, 1], ["2 * 2", 1])
    least = a.min if a.min is not None else 1
    yield from (int(least), int(least) - 1, [int(least)] * 2, [int(least) - 1] * 2, [2] * 4)
    if a.max is not None:
        yield a.max + 1
    if a.choices:
        yield from (a.choices[0], a.choices[0] + "z")


@pytest.mark.parametrize(
    ("layer", "valid"),
    [
        ("relu", True),
        ({"op": "gelu", "approximate": "$how"}, True),
        ({"op": "max_pool2d", "kernel_size": ["k", 2]}, True),
        ("rellu", False),
        ("conv2d", False),
        ({"op": "relu", "from": ["a", "b.c"]}, True),
        ({"op": "relu", "from": []}, False),
        ({"op": "relu", "only": "train"}, True),
        ({"op": "relu", "only": "test"}, True),
        ({"op": "relu", "only": "tests"}, False),
        ({"op": "conv2d", "out_channels": 3, "kernel_size": 1, "each": "level"}, True),
        ({"op": "relu", "share": "levels"}, False),
        ({"levels": {"p2": "x0", "p3": "image"}}, True),
        ({"levels": {}}, False),
        ({"op": "relu", "when": "i == 0", "repeat": "2 * n"}, True),
        ({"op": "relu", "repeat": 0}, False),
        ({"op": "relu", "freeze": True}, False),
        ({"op": "linear", "out_features": 3, "freeze": True, "init": {"bias": "zeros"}}, True),
        ({"op": "linear", "out_features": 3, "init": {"scale": "zeros"}}, False),
        ({"op": "linear", "out_features": 3, "init": {"bias": {"normal": {"std": 0.1}}}}, True),
        ({"op": "linear", "out_features": 3, "init": {"bias": {"constant": {}}}}, False),
        ({"block": "unit", "anything": [1, 2]}, True),
        ({"block": "unit", "op": "relu"}, False),
        ({"block": "unit", "anything": {}}, False),
        ({"layers": {"0": "relu", "1": "relu"}}, True),
        ({"layers": {}}, False),
        ({"layers": {"a": "relu"}, "out": 3}, False),
        ({"use": "x0", "from": "image"}, True),
        ({"use": "x0", "out": 3}, False),
        ({"from": "x0"}, False),
        (3, False),
    ],
    ids=str,
)
def test_layers(layer: Any, valid: bool) -> None:
    assert accepted(network(layer)) is valid


@pytest.mark.parametrize("name", ["a.b", "a-b", "1a", "", "x" * 64, "_x"])
def test_names(name: str) -> None:
    assert not accepted(network("relu", name))


def test_variants_and_block_files_need_less() -> None:
    variant = {
        "segc": 1,
        "extends": "unet.yaml",
        "layers": {"enc1": {"out": 3}, "x": {"remove": True}},
    }
    assert accepted(variant)
    assert not accepted({**variant, "layers": {"x": {"remove": False}}})
    assert accepted({"segc": 1, "blocks": {"b": {"layers": {"a": "relu"}}}})
    assert not accepted({"segc": 1, "blocks": {"b": {"layers": {"a": "relu"}}}, "losses": {}})
    assert not accepted({"segc": 1, "blocks": {"b": {"inputs": ["x"]}}})
    assert not accepted({k: v for k, v in network("relu").items() if k != "outputs"})
    assert not accepted({**network("relu"), "segc": 2})


def test_initialisers_are_those_of_the_reader() -> None:
    for name, (args, _) in INITIALISERS.items():
        values = {a.name: a.choices[0] if a.choices else 1.0 for a in args}
        layer = {"op": "linear", "out_features": 2, "init": {"weight": {name: values}}}
        assert accepted(network(layer))
        assert reads(network(layer))
        needs = any(a.required for a in args)
        bare = {"op": "linear", "out_features": 2, "init": {"weight": name}}
        assert accepted(network(bare)) is not needs
        assert reads(network(bare)) is not needs


def test_a_recipe_with_nothing_behind_it_is_for_variants() -> None:
    """There it takes away that of the base; elsewhere it is no recipe."""
    variant = {"segc": 1, "extends": "unet.yaml", "recipe": None}
    assert accepted(variant)
    unet = plain(yaml.safe_load((ROOT / "specs" / "unet.yaml").read_text("utf-8")))
    assert accepted(unet) and not accepted({**unet, "recipe": None})
