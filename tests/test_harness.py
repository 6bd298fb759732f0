"""What harness_files emits: formatted, safe, deterministic text that holds only what is used."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness_kit import CROSS_ENTROPY, RECIPE, checked
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.check import Checked
from segc.dim import Domain, symbol
from segc.emit.harness import FILES, OPTIONAL, harness_files

OWN = {"deploy", "model", *(name.removesuffix(".py") for name in (*FILES, *OPTIONAL))}
ALLOWED = {"torch", "PIL", *OWN, *sys.stdlib_module_names}
BINARY = {k: v for k, v in CROSS_ENTROPY.items() if k != "class_weights"}
BINARY["kind"] = "binary_cross_entropy"


def recipe(**changes: Any) -> dict[str, Any]:
    return {**RECIPE, **changes}


def without(key: str, **changes: Any) -> dict[str, Any]:
    return {k: v for k, v in recipe(**changes).items() if k != key}


def loss(**changes: Any) -> dict[str, Any]:
    return {"seg": {**CROSS_ENTROPY, **changes}}


def valid(given: Any = None, **changes: Any) -> Checked:
    height, width = symbol("H"), symbol("W")
    domain = Domain().multiple(height - 12, 16).multiple(width - 12, 16)
    domain = domain.at_least(height, 188).at_least(width, 188)
    sizes = {"logits": lambda side: side - 184}
    return checked(sizes=sizes, domain=domain, recipe=given or recipe(**changes))


def two(**only: str) -> Checked:
    half = {"aux": lambda side: side // 2}
    losses = {"seg": CROSS_ENTROPY, "aux": {**CROSS_ENTROPY, "output": "aux", "weight": 0.4}}
    return checked(outputs={"logits": 3, "aux": 3}, sizes=half, losses=losses, only=only)


SGD = {"sgd": {"lr": 1e-10, "momentum": 0.99, "nesterov": True, "weight_decay": 5e-4}}
ADAM = {"adam": {"lr": 3e-4, "betas": [0.5, 0.999], "weight_decay": 0.0}}
ADAMW = {"adamw": {"lr": 3e-4, "betas": [0.9, 0.999], "weight_decay": 0.05}}
GROUPS = [
    {"match": "backbone.*", "lr": 0.1, "weight_decay": 1.0},
    {"match": "*.bias", "lr": 2, "weight_decay": 0},
]
WARPED = {
    "resize": [250, 300],
    "scale": [0.5, 2.0],
    "rotate": {"degrees": 10, "probability": 1.0},
    "shift": 2.5,
    "elastic": {"grid": 3, "sigma": 10.0},
    "flip": True,
    "color_jitter": {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.25},
    "blur": {"sigma": [0.15, 1.3], "probability": 0.5},
}
BY_EPOCH = {"poly": {"power": 0.9, "per": "epoch", "every": 10, "floor": 1e-6}}
LOSS_CASES = [
    checked(losses=loss(class_weights="per_image", reduction="images")),
    checked(losses=loss(class_weights="inverse_log", reduction="images")),
    checked(losses=loss(border_weight={"w0": 10, "sigma": 5})),
    checked(
        losses={
            name: {**v, "border_weight": {"w0": 1.5, "sigma": 2}, "class_weights": weights}
            for name, v in (*loss(reduction="images").items(), ("total", CROSS_ENTROPY))
            for weights in ([1, 2, 3],)
        }
    ),
    checked(losses=loss(border_weight={"w0": 10, "sigma": 5}, class_weights="per_image")),
    *(
        checked(losses=loss(resize=f"labels_{how}"), sizes={"logits": lambda side: side // 8})
        for how in ("corners", "centres", "slice")
    ),
    *(
        checked(
            outputs={"logits": 3, "edges": 1},
            losses={
                **loss(class_weights="per_image", reduction="images"),
                "edge": {
                    "kind": "binary_cross_entropy",
                    "output": "edges",
                    "target": "edges",
                    "edges": {"radius": 2, "released": released},
                    "balanced": True,
                    "reads": on,
                    "weight": 20,
                    "reduction": "valid_pixels",
                },
                "attention": {"kind": "edge_attention", "output": "logits", "edges": "edges"},
                "dual": {"kind": "dual_task", "output": "logits", "released": released},
            },
        )
        for released, on in ((False, "probability"), (True, "probability_as_logits"))
    ),
    checked(
        outputs={"edges": 1},
        losses={
            "edge": {"kind": "binary_cross_entropy", "output": "edges", "reduction": "images"},
            "more": {"kind": "binary_cross_entropy", "output": "edges", "balanced": True},
        },
    ),
]
CRF = {
    "bilateral": {"weight": 4, "xy": 67, "rgb": 3},
    "gaussian": {"weight": 3, "xy": 1.5},
    "iterations": 10,
}
TILE = {"size": [384, 384], "overlap": 96}
SLIDE = {"crop": [32, 48], "stride": 2 / 3}
SCALES = {"scales": [0.5, 1, 1.75], "average": "log_probabilities"}
NAMES = [f"a class with a name of some length {i}" for i in range(21)]
STAGE = dict.fromkeys(
    ("network", "params", "max_steps", "epochs", "lr", "schedule", "batch_size", "crop", "freeze")
)
FIRST = {**STAGE, "name": "first", "freeze_bn": False, "starts_from": "best"}
BUSY = {
    **FIRST,
    "max_steps": 9000,
    "lr": 1e-10,
    "schedule": {"poly": {"power": 1}},
    "batch_size": 2,
    "crop": [64, 64],
    "freeze": ["backbone.*", 'a"b'],
    "freeze_bn": True,
}
LAST = {**FIRST, "name": "last", "starts_from": "last", "epochs": 3}
CASES: dict[str, Checked] = {
    "stages": checked(recipe=recipe(stages=[BUSY, LAST], recompute_bn=20)),
    "few_stages": checked(recipe=recipe(stages=[FIRST, {**FIRST, "name": "last", "lr": 1.0}])),
    "stages_of_epochs": checked(recipe=without("max_steps", epochs=2, stages=[FIRST, LAST])),
    "parts": checked(recipe=recipe(accumulate=4, clip_norm=5)),
    "parts_of_sums": checked(losses=loss(reduction="sum"), recipe=recipe(accumulate=4)),
    "parts_of_images": checked(losses=loss(reduction="batch"), recipe=recipe(accumulate=4)),
    "weighted_parts": checked(losses=loss(class_weights=[1, 2, 3]), recipe=recipe(accumulate=4)),
    "default": checked(losses={}, recipe={}),
    "grey": checked(channels=1, losses={}, recipe={}),
    "five": checked(channels=5, losses={}, recipe={}),
    "sgd": checked(recipe=recipe(optimizer=SGD, schedule={"constant": {}}, crop=None)),
    "adam": checked(recipe=recipe(optimizer=ADAM, schedule={"cosine": {}})),
    "adamw": checked(
        recipe=without(
            "max_steps", epochs=3, optimizer=ADAMW, schedule={"step": {"size": 9000, "gamma": 0.1}}
        )
    ),
    "groups": checked(recipe=recipe(groups=GROUPS, optimizer=ADAM)),
    "sgd_groups": checked(recipe=recipe(groups=GROUPS, optimizer=SGD)),
    "warped": checked(recipe=recipe(augment=WARPED, schedule=BY_EPOCH)),
    "warped_margin": valid(augment=WARPED),
    "turned": checked(
        recipe=recipe(augment={"rotate": {"degrees": 10, "probability": 0.5}, "resize": [520]})
    ),
    "shifted": valid(augment={"shift": 5, "scales": [0.5, 0.75, 1]}),
    "elastic": checked(recipe=recipe(augment={"elastic": {"grid": 3, "sigma": 10.0}})),
    "jittered": checked(channels=1, recipe=recipe(augment={"color_jitter": {"contrast": 0.25}})),
    "saturated": checked(recipe=recipe(augment={"color_jitter": {"saturation": 0.25}})),
    "plain": checked(recipe=without("augment", input={"channels": "bgr", "range": 255})),
    "mean": checked(
        recipe=recipe(normalize={"mean": [104.00699, 116.66877, 122.67892], "std": None})
    ),
    "names": checked(outputs={"logits": 21}, recipe=recipe(classes=NAMES)),
    "weights": checked(outputs={"logits": 21}, losses=loss(class_weights=[0.123456] * 21)),
    "few_weights": checked(losses=loss(class_weights=[1, 2.5, 1e-7], reduction="valid_pixels")),
    "counted": checked(losses=loss(class_weights="median_frequency", reduction="batch")),
    "recompute": checked(recipe=recipe(recompute_bn=20)),
    "sum": checked(losses=loss(reduction="sum", ignore_index=0, weight=0.25)),
    "binary": checked(outputs={"logits": 1}, losses={"seg": BINARY}),
    **{f"loss_{i}": v for i, v in enumerate(LOSS_CASES)},
    "margin": valid(),
    "coarse": checked(sizes={"logits": lambda side: side // 8}),
    "aux": two(aux="train"),
    "two": two(),
    "alike": checked(
        outputs={"logits": 3, "aux": 3},
        losses={"seg": CROSS_ENTROPY, "aux": {**CROSS_ENTROPY, "output": "aux", "weight": 0.4}},
    ),
    "fixed": checked(image=("N", 3, 224, 224), sizes={"logits": lambda side: side}),
    "free": checked(domain=Domain()),
    "floors": checked(domain=Domain().multiple(symbol("H") // 2 + symbol("H") // 3, 5)),
    "crf": checked(recipe=recipe(inference={"crf": CRF})),
    "binary_crf": checked(
        outputs={"logits": 1}, losses={"seg": BINARY}, recipe=recipe(inference={"crf": CRF})
    ),
    "tile": checked(recipe=recipe(inference={"tile": TILE})),
    "margin_tile": valid(recipe(inference={"tile": {"size": [16, 32], "overlap": 0}})),
    "slide": checked(recipe=recipe(inference={"slide": SLIDE})),
    "slide_fifth": checked(recipe=recipe(inference={"slide": {**SLIDE, "stride": 0.2}})),
    "samples": checked(recipe=recipe(inference={"samples": 40})),
    "scales": checked(recipe=recipe(inference=SCALES)),
    "coarse_tile": checked(
        sizes={"logits": lambda side: side // 8}, recipe=recipe(inference={"tile": TILE})
    ),
    "everything": checked(
        recipe=recipe(inference={"crf": CRF, "tile": TILE, "slide": SLIDE, "samples": 8, **SCALES})
    ),
    "long": checked(
        title="A long title " * 20, source='He said """no""" \\ and left\nfor good ' * 9
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    for name, given_ in CASES.items():
        (root / name).mkdir()
        for file, text in harness_files(given_).items():
            (root / name / file).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("name", CASES)
def test_emitted_files_are_ascii_python_without_segc(name: str) -> None:
    files = harness_files(CASES[name])
    assert tuple(files)[: len(FILES)] == FILES and set(files) <= {*FILES, *OPTIONAL}
    for file, text in files.items():
        assert text.isascii() and text.endswith("\n") and "\r" not in text and "\t" not in text
        tree = ast.parse(text, file)
        allowed = ALLOWED | ({"numpy", "scipy"} if "pip install scipy" in text else set())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= allowed
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed
            if isinstance(node, ast.Name):
                assert node.id not in {"eval", "exec", "__import__", "compile"} or file == "eval.py"


def test_the_modules_shadow_nothing() -> None:
    """A script's folder comes first on Python's path: no module may hide another."""
    assert not OWN & {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "PIL", "segc"}


def test_a_person_would_have_laid_them_out_so(folders: Path) -> None:
    """A fixed point of `ruff format`, and clean under the project's lint rules."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    ruff = [sys.executable, "-m", "ruff"]
    width = ["--isolated", "--line-length", "100", "--no-cache"]
    rules = ["--select", "E,F,UP,B,SIM,C4,RUF100", "--output-format", "concise"]
    for command in (["format", "--diff", *width], ["check", *rules, *width]):
        done = subprocess.run([*ruff, *command, "."], cwd=folders, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[:3000]


def test_nothing_unused_is_emitted() -> None:
    """No import, function or constant of train.py and losses.py that nothing reads."""
    for name, given_ in CASES.items():
        files = harness_files(given_)
        train, losses = (ast.parse(files[file]) for file in ("train.py", "losses.py"))
        beside = {n.id for n in ast.walk(train) if isinstance(n, ast.Name)}
        beside |= {"border_map"} if "border_map" in files["sampling.py"] else set()
        for tree, used in ((train, set()), (losses, beside)):
            read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | used
            made = [n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
            for node in tree.body:
                if isinstance(node, ast.Assign):
                    made += [t.id for t in node.targets if isinstance(t, ast.Name)]
            assert [m for m in made if m not in read] == [], name


def test_same_bytes_at_any_hash_seed() -> None:
    code = (
        "import hashlib, test_harness as t; from segc.emit.harness import harness_files as f;"
        "print(hashlib.sha256(repr([f(c) for c in t.CASES.values()]).encode()).hexdigest())"
    )
    found = set()
    for seed in ("0", "1", "77"):
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", code]
        found.add(subprocess.check_output(command, env=environment, text=True))
    assert len(found) == 1


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.lists(st.text(max_size=30), min_size=3, max_size=3),
)
def test_text_of_a_spec_is_never_code(title: str, pattern: str, names: list[str]) -> None:
    """Whatever the words are, the program is the same but for literals and docstrings."""
    groups = [{"match": pattern, "lr": 1.0, "weight_decay": 1.0}]
    given_ = checked(title=title, source=title, recipe=recipe(groups=groups, classes=names))
    plain = checked(title="x", source="x", recipe=recipe(groups=groups, classes=["a", "b", "c"]))
    for one, other in zip(harness_files(given_).items(), harness_files(plain).items(), strict=True):
        assert shape_of(one[1]) == shape_of(other[1])
    inputs = ast.parse(harness_files(given_)["inputs.py"])
    assert list(constant(inputs, "CLASS_NAMES")) == names
    train = ast.parse(harness_files(given_)["train.py"])
    assert constant(train, "GROUPS")[0][0] == pattern


def shape_of(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def constant(tree: ast.Module, name: str) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"no {name}")


def test_the_recipe_is_what_train_py_says() -> None:
    tree = ast.parse(harness_files(CASES["sgd_groups"])["train.py"])
    said = {n: constant(tree, n) for n in ("MAX_STEPS", "BATCH_SIZE", "CROP", "LR", "MOMENTUM")}
    assert said == {
        "MAX_STEPS": 40,
        "BATCH_SIZE": 4,
        "CROP": (32, 32),
        "LR": 1e-10,
        "MOMENTUM": 0.99,
    }
    assert constant(tree, "GROUPS") == (("backbone.*", 0.1, 1.0), ("*.bias", 2, 0))
    tree = ast.parse(harness_files(CASES["weights"])["train.py"])
    assert constant(tree, "CLASS_WEIGHTS") == (0.123456,) * 21


def test_margin_and_trial_sizes() -> None:
    tree = ast.parse(harness_files(CASES["margin"])["inputs.py"])
    assert constant(tree, "MARGIN") == 92
    trial = constant(ast.parse(harness_files(CASES["margin"])["train.py"]), "TRIAL_CROP")
    assert trial == (284, 284)  # the first of 16k + 12 whose output has 96 pixels


def test_accepts_is_the_derived_domain() -> None:
    for name in ("default", "margin", "free", "fixed", "floors"):
        given_ = CASES[name]
        tree = ast.parse(harness_files(given_)["inputs.py"])
        function = next(n for n in tree.body if isinstance(n, ast.FunctionDef))
        scope: dict[str, Any] = {}
        exec(ast.unparse(function), scope)
        for height, width in itertools.product(range(180, 240, 4), range(180, 240, 3)):
            inside = given_.domain.contains({"H": height, "W": width})
            expected = (height, width) == (224, 224) if name == "fixed" else inside
            assert scope["accepts"](height, width) == expected


def test_networks_that_do_not_label_pixels_get_none() -> None:
    """The losses are there for a loop of one's own, if there are any; the scripts are not."""
    assert harness_files(checked(image=("N", 100), losses={})) == {}
    assert list(harness_files(checked(image=("N", 100)))) == ["losses.py"]
    vector = checked()
    types = {ref: t for ref, t in vector.types.items() if str(ref) == "image"}
    assert list(harness_files(Checked(vector.graph, types, vector.domain))) == ["losses.py"]
