"""The optimiser itself: levels and options, prices, overlapping edits, parameters, dead layers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rules_kit import compared, difference, fired, image, only, reasons, spec

from segc.build import Maker, build
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.optimise import Options
from segc.rewrite import Optimised
from segc.rules import RULES
from segc.source import Source
from segc.verify import import_source, trained_like

ROOT = Path(__file__).parent.parent
MIXED = """
  drop: dropout
  a: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  an: batch_norm2d
  up: {op: interpolate, scale_factor: 4}
  head: {op: conv2d, out_channels: 2, kernel_size: 1}
  wide: {op: conv_transpose2d, out_channels: 2, kernel_size: 2, stride: 2}"""


def done(options: Options, layers: str = MIXED, output: str = "wide", **more: Any) -> Optimised:
    optimised, error = compared(spec(layers, output, **more), options, [image(64, 64)])
    assert error <= 1e-9
    return optimised


# --- levels and options -------------------------------------------------------------------------


def test_levels() -> None:
    safe = {"drop_dropout": 1, "fold_batch_norm": 1}
    assert fired(done(Options("none"))) == {}
    assert fired(done(Options("safe"))) == safe
    assert fired(done(Options("all"))) == safe | {"commute_pointwise": 1}


def test_none_still_leaves_training_out() -> None:
    layers = "  a: {op: conv2d, out_channels: 4, kernel_size: 1}\n  b: relu\n"
    layers += "  aux: {op: conv2d, out_channels: 2, kernel_size: 1, only: train}"
    optimised = done(Options("none"), layers, "b, z: aux")
    assert [n.name for n in optimised.checked.graph.nodes] == ["a", "b"]
    assert optimised.unused == ("aux",)


def test_off_is_off_and_on_is_on() -> None:
    off = frozenset(("drop_dropout", "commute_pointwise", "nearest_conv"))
    assert fired(done(Options("all", off=off))) == {"fold_batch_norm": 1}
    on = frozenset(("shuffle_deconv",))
    assert fired(done(Options("none", on=on))) == {"shuffle_deconv": 1}
    assert fired(done(Options("none", off=on, on=on))) == {}


def test_on_overrules_the_price() -> None:
    refused = done(Options())
    assert "it would cost more" in reasons(refused)["wide"]
    asked = done(Options(on=frozenset(("shuffle_deconv",))))
    assert fired(asked)["shuffle_deconv"] == 1
    (cost,) = (f for f in asked.fired if f.rule == "shuffle_deconv")
    assert cost.macs == 0 and cost.bytes < 0


def test_every_rule_can_be_named() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule.level in ("safe", "all")
        assert rule.apply.__name__ == rule.name
        assert "=> " in rule.about or "-> " in rule.about
    every = done(Options("none", on=frozenset(names)))
    assert set(fired(every)) >= {"shuffle_deconv", "commute_pointwise", "fold_batch_norm"}


def test_the_manual_lists_the_rules_in_their_order() -> None:
    page = (ROOT / "docs" / "optimiser.md").read_text(encoding="utf-8")
    table = page.partition("## The rules")[2].partition("## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    listed = [(row[1].strip(" `"), row[-2].strip()) for row in rows]
    assert listed == [(rule.name, rule.level) for rule in RULES]


def test_the_command_says_the_options() -> None:
    assert Options().command == ""
    given = Options("safe", frozenset("ba"), frozenset("c"), 2.5)
    assert given.command == " --optimise safe --rule a=off --rule b=off --rule c=on --balance 2.5"


def test_the_balance_decides() -> None:
    """Below the upsampling a convolution to many channels makes a quarter of the products, and
    what is enlarged then is larger: 4 + 16 + 16 + 256 values a pixel against 4 + 64 + 64 + 256."""
    layers = """
  up: {op: interpolate, scale_factor: 2, mode: bilinear}
  conv: {op: conv2d, out_channels: 64, kernel_size: 1, bias: false}"""
    products = done(Options(balance=0.001), layers, "conv", size="64, 64")
    assert fired(products) == {"commute_pointwise": 1}
    (saved,) = products.fired
    assert saved.macs == 3 * 4 * 64 * 64 * 64 and saved.bytes == 4 * (292 - 388) * 64 * 64
    moved = done(Options(balance=1e6), layers, "conv", size="64, 64")
    assert moved.fired == () and "it would cost more" in reasons(moved)["conv"]


# --- edits that meet ----------------------------------------------------------------------------

CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"
MEETING = {
    "factors around": ("{op: scale, value: 2.0}", CONV, "{op: scale, value: 3.0}"),
    "a factor between": (CONV, "{op: scale, value: 2.0}", CONV),
    "factors in a row": (CONV, "{op: scale, value: 2.0}", "{op: scale, value: 0.5}", CONV),
    "norms in a row": (CONV, "batch_norm2d", "batch_norm2d", "frozen_batch_norm2d"),
    "dropouts in a row": ("dropout", "dropout2d", CONV, "dropout", "dropout"),
    "equal layers in a row": ("relu", "relu", "relu"),
}


@pytest.mark.parametrize("name", MEETING)
def test_edits_that_meet(name: str) -> None:
    """One edit a layer and pass; the next pass finds the others."""
    chain = MEETING[name]
    layers = "\n".join(f"  part{n}: {item}" for n, item in enumerate(chain))
    optimised = done(Options("safe"), layers, f"part{len(chain) - 1}")
    removed = sum(1 for item in chain if item not in (CONV, "relu"))
    assert sum(fired(optimised).values()) == removed
    assert len([n for n in optimised.checked.graph.nodes if not n.absent]) == len(chain) - removed


def test_duplicates_of_duplicates() -> None:
    lines = [f"  a{n}: {{op: relu, from: image}}\n  b{n}: sigmoid" for n in range(4)]
    layers = "\n".join((*lines, "  out: {op: concat, from: [b0, b1, b2, b3]}"))
    assert fired(done(Options("safe"), layers, "out")) == {"drop_duplicate": 6}


def test_dead_layers_go() -> None:
    """What only the replaced layer read goes with it: the upsampling, a map it was sized by."""
    layers = """
  size: {op: max_pool2d, kernel_size: 2}
  up: {op: interpolate, like: size, mode: bilinear, from: size}
  out: {op: crop, like: size}
  end: relu"""
    optimised = done(Options("safe"), layers, "end")
    assert fired(optimised) == {"drop_identity": 1}
    layers = "  nails: bed_of_nails\n  out: {op: conv2d, out_channels: 4, kernel_size: 3}"
    optimised = done(only("nails_conv"), layers, "out")
    assert [n.name for n in optimised.checked.graph.nodes] == ["out"]


# --- parameters ---------------------------------------------------------------------------------

FREE = Source.from_text("""\
segc: 1
model: Net
params: {classes: 3, width: 4, scale: 2, norm: true, extra: false}
inputs: {image: [N, 4, H, W]}
layers:
  enc: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1, bias: false}
  bn: {op: batch_norm2d, when: norm}
  more: {op: batch_norm2d, when: extra}
  low: {op: interpolate, scale_factor: 0.5, mode: bilinear}
  up: {op: interpolate, scale_factor: scale}
  dec: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  back: {op: interpolate, like: image, mode: bilinear}
  head: {op: conv2d, out_channels: classes, kernel_size: 1}
outputs: {y: head}
""")


def deployed(source: Source, options: Options, **values: Any) -> float:
    """The largest difference, both networks made with these parameters."""
    make = Maker(source, {}, options)
    plain = import_source(model_source(make), "plain").Net(**values).double()
    with torch.no_grad():
        trained_like(plain)
    module = import_source(deploy_source(make.deploy, make.optimised({})), "deploy")
    with torch.no_grad():
        x = image(8, 12)
        fast = module.from_model(plain.eval(), **values)
        return difference(plain(x), fast(x))


@pytest.mark.parametrize("values", [{}, {"classes": 5}, {"classes": 1, "width": 6}])
def test_parameters_stay_free(values: dict[str, int]) -> None:
    """Width and classes change no conversion here, so one deploy.py serves them all."""
    assert deployed(FREE, Options(on=frozenset(("nearest_conv",))), **values) <= 1e-9


def test_a_layer_that_only_other_values_have_is_kept_as_it_is() -> None:
    assert deployed(FREE, Options(), extra=True, classes=2) <= 1e-9


@pytest.mark.parametrize("values", [{"scale": 3}, {"norm": False}])
def test_parameters_that_change_a_conversion_are_fixed(values: dict[str, Any]) -> None:
    """The folded norm, and the factor that the phases' weights depend on."""
    assert deployed(FREE, Options("none"), **values) <= 1e-9
    with pytest.raises(ValueError, match="rebuild it with: segc build"):
        deployed(FREE, Options(on=frozenset(("nearest_conv",))), **values)


def test_channels_of_split_branches_are_fixed() -> None:
    source = Source.from_text("""\
segc: 1
model: Net
params: {classes: 3, width: 4}
inputs: {image: [N, 4, H, W]}
layers:
  small: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1}
  wide: {op: bed_of_nails, from: image}
  up: {op: interpolate, scale_factor: 2, mode: bilinear, from: small}
  mix: {op: concat, from: [wide, up]}
  head: {op: conv2d, out_channels: classes, kernel_size: 3, padding: 1}
outputs: {y: head}
""")
    options = only("split_concat_conv")
    assert deployed(source, options, classes=7) <= 1e-9
    with pytest.raises(ValueError, match="built with width=4; rebuild it with: segc build"):
        deployed(source, options, width=6)


def test_the_same_edits_for_other_values() -> None:
    """At other widths the price would be another; the structure must not depend on it."""
    make = Maker(FREE, {}, Options())
    base = make.optimised({})
    for width in (1, 64, 512):
        other = make.optimised({"width": width})
        assert [(f.rule, f.node) for f in other.fired] == [(f.rule, f.node) for f in base.fired]


# --- bytes ----------------------------------------------------------------------------------------


def test_bytes_are_the_same_every_time() -> None:
    """Whatever order sets are walked in."""
    spec_file = ROOT / "specs" / "deeplabv3_resnet50.yaml"
    program = (
        "import sys, hashlib\n"
        "from segc.build import Maker\n"
        "from segc.emit.deploy import deploy_source\n"
        "from segc.optimise import Options\n"
        "from segc.rules import RULES\n"
        "from segc.source import Source\n"
        "on = frozenset(rule.name for rule in RULES)\n"
        f"make = Maker(Source.open({str(spec_file)!r}), {{}}, Options(on=on))\n"
        "text = deploy_source(make.deploy, make.optimised({}))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    found = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        found.add(ran.stdout)
    assert len(found) == 1


def test_a_build_says_its_options_and_what_was_done() -> None:
    source = spec(MIXED, "wide")
    report = build(source, {}, Options("safe", balance=3.0)).files["report.md"]
    assert "--optimise safe --balance 3" in report
    assert "| `fold_batch_norm` | 1 | `an` |" in report
    assert "commute_pointwise" not in report
    full = build(source).files["report.md"]
    assert "- `shuffle_deconv` at `wide`: it would cost more" in full
