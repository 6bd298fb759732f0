"""Pyramids: `levels`, `each` and `share`, in blocks, groups and repeats, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from emit_kit import exercise, network
from spec_kit import fault, pointed, sound
from torch import Tensor

from segc.ir import Ref
from segc.source import Source
from segc.verify import verify

HEAD = """segc: 1
model: Net
inputs: {image: [N, 3, H, W]}
"""
MAPS = """layers:
  fine: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
  coarse: {op: max_pool2d, kernel_size: 2}
  maps: {levels: {p2: fine, p3: coarse}}
"""
CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1"


def net(layers: str, outputs: str, blocks: str = "") -> str:
    return f"{HEAD}{blocks}{MAPS}{layers}outputs: {{{outputs}}}\n"


def made(text: str) -> tuple[str, Any]:
    """The source and an instance in float64; every comparison that segc makes itself agrees."""
    source = exercise(text)
    assert [f for f in verify(Source.from_text(text, "net.yaml"), {}) if not f.ok] == []
    torch.manual_seed(0)
    return source, network(source)().double().eval()


IMAGE = torch.randn(2, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Direct:
    """The layers of an instance, to be put together by hand."""

    def __init__(self, model: Any) -> None:
        self.state = model.state_dict()
        self.fine = self.conv("fine", IMAGE)
        self.maps = [self.fine, F.max_pool2d(self.fine, 2)]

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def same(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def keys(model: Any, *without: str) -> list[str]:
    names = dict.fromkeys(k.rpartition(".")[0] for k in model.state_dict())
    return [k for k in names if k not in ("fine", *without)]


# --- one layer ------------------------------------------------------------------------------
def test_each_makes_a_layer_a_level() -> None:
    text = net(f"  heads: {CONV}, from: maps, each: level}}\n", "a: heads.p2, b: heads.p3")
    _, model = made(text)
    assert keys(model) == ["heads.0", "heads.1"]
    found, direct = model(IMAGE), Direct(model)
    same(found["a"], direct.conv("heads.0", direct.maps[0]))
    same(found["b"], direct.conv("heads.1", direct.maps[1]))


def test_share_applies_one_to_all_levels() -> None:
    text = net(f"  head: {CONV}, from: maps, share: level}}\n", "a: head.p2, b: head.p3")
    _, model = made(text)
    assert keys(model) == ["head"]
    found, direct = model(IMAGE), Direct(model)
    for name, x in zip("ab", direct.maps, strict=True):
        same(found[name], direct.conv("head", x))


def test_each_counts_its_levels() -> None:
    layers = "  heads: {op: conv2d, from: maps, each: level, kernel_size: 1, "
    layers += 'out_channels: "[2, 6][i]"}\n'
    checked = sound(net(layers, "a: heads.p2, b: heads.p3"))
    assert checked.shape(checked.graph.outputs["a"])[1] == 2
    assert checked.shape(checked.graph.outputs["b"])[1] == 6
    made(net(layers, "a: heads.p2, b: heads.p3"))


def test_the_default_operand_may_be_a_pyramid() -> None:
    text = net(f"  head: {CONV}, share: level}}\n  relu: {{op: relu, each: level}}\n", "a: relu.p3")
    checked = sound(text.replace("a: relu.p3", "a: relu.p3, b: relu.p2"))
    assert [n.name for n in checked.graph.nodes[2:]] == ["head", "head_p3", "relu.0", "relu.1"]


def test_values_have_the_names_of_levels() -> None:
    layers = f"""  head: {CONV}, from: maps, share: level}}
  sum: {{op: interpolate, from: head.p3, like: head.p2, mode: nearest}}
  both: {{op: add, from: [head.p2, sum]}}
  out: {{op: concat, from: [both, head.p2, sum]}}
"""
    text = net(layers, "y: out")
    source, _ = made(text)
    assert "head_p2 = self.head(fine)" in source
    text = text.replace("outputs: {", "outputs: {a: head.p2, b: head.p3, ")
    source, _ = made(text.replace("like: head.p2", "like: fine"))
    assert "head_p2 = " not in source  # outputs have the names of their own


# --- operators that take all levels ---------------------------------------------------------
def test_an_operator_of_all_levels_reads_a_pyramid_in_its_order() -> None:
    layers = "  head: {op: conv2d, from: maps, share: level, out_channels: 6, kernel_size: 1}\n"
    _, model = made(net(layers + "  rows: {op: anchor_rows, from: head, per_row: 2}\n", "y: rows"))
    direct = Direct(model)
    maps = [direct.conv("head", x).permute(0, 2, 3, 1).reshape(2, -1, 2) for x in direct.maps]
    same(model(IMAGE), torch.cat(maps, 1).reshape(-1, 2))


# --- blocks ---------------------------------------------------------------------------------
TOWER = """blocks:
  head:
    params: {out: int}
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
      relu: relu
      score: {op: conv2d, out_channels: out, kernel_size: 1}
      box: {op: conv2d, from: relu, out_channels: 4, kernel_size: 1}
"""


def tower(direct: Direct, path: str, x: Tensor) -> tuple[Tensor, Tensor]:
    x = F.relu(direct.conv(f"{path}.conv", x))
    return direct.conv(f"{path}.score", x), direct.conv(f"{path}.box", x)


@pytest.mark.parametrize("mode", ["each", "share"])
def test_members_of_a_block_are_pyramids_too(mode: str) -> None:
    layers = f"  head: {{block: head, from: maps, {mode}: level, out: 3}}\n"
    outputs = "a: head.score.p2, b: head.p2.score, c: head.box.p3, d: head.p3, e: head.score.p3"
    outputs += ", f: head.p2"
    _, model = made(net(layers, outputs, TOWER))
    names = ["conv", "score", "box"]
    paths = ["head.0", "head.1"] if mode == "each" else ["head"]
    assert keys(model) == [f"{path}.{name}" for path in paths for name in names]
    found, direct = model(IMAGE), Direct(model)
    fine, coarse = (
        tower(direct, paths[min(n, len(paths) - 1)], x) for n, x in enumerate(direct.maps)
    )
    for name, wanted in zip("abcdef", (fine[0], fine[0], coarse[1], coarse[1], coarse[0], fine[1]),
                            strict=True):  # fmt: skip
        same(found[name], wanted)


NECK = """blocks:
  lateral:
    inputs: [x]
    layers:
      conv: {op: conv2d, out_channels: 4, kernel_size: 1}
  neck:
    inputs: [c]
    layers:
      inner: {block: lateral, from: c, each: level}
      up: {op: interpolate, from: inner.p3, like: inner.p2, mode: nearest}
      sum: {op: add, from: [inner.p2, up]}
      out: {levels: {p2: sum, p3: inner.p3}}
"""


def neck(direct: Direct, path: str, maps: list[Tensor]) -> list[Tensor]:
    fine, coarse = (direct.conv(f"{path}.inner.{n}.conv", x) for n, x in enumerate(maps))
    return [fine + F.interpolate(coarse, fine.shape[-2:]), coarse]


def test_a_block_reads_and_gives_pyramids() -> None:
    layers = "  first: {block: neck, from: maps}\n  second: {block: neck}\n"
    source, model = made(net(layers, "a: second.p2, b: second.p3", NECK))
    assert source.count("class Neck") == 1
    found, direct = model(IMAGE), Direct(model)
    wanted = neck(direct, "second", neck(direct, "first", direct.maps))
    for name, value in zip("ab", wanted, strict=True):
        same(found[name], value)


def test_a_group_gives_a_pyramid_and_reads_one_from_outside() -> None:
    layers = f"""  group:
    from: maps
    layers:
      head: {CONV}, share: level}}
      again: {CONV}, each: level}}
      best: {{op: add, from: [again, maps], each: level}}
      levels_of: {{levels: {{p2: best.p2, p3: best.p3}}}}
  last: {{op: relu, from: group, share: level}}
"""
    _, model = made(net(layers, "a: last.p2, b: group.p3, c: last.p3, d: group.best.p2"))
    found, direct = model(IMAGE), Direct(model)
    wanted = [
        direct.conv(f"group.again.{n}", direct.conv("group.head", x)) + x
        for n, x in enumerate(direct.maps)
    ]
    same(found["a"], F.relu(wanted[0]))
    same(found["b"], wanted[1])
    same(found["c"], F.relu(wanted[1]))
    same(found["d"], wanted[0])


def test_a_group_is_applied_to_every_level() -> None:
    """Inside it, names of pyramids outside stand for the same level."""
    layers = f"""  side: {CONV}, from: maps, each: level}}
  group:
    from: maps
    share: level
    layers:
      conv: {CONV}}}
      sum: {{op: add, from: [conv, side]}}
"""
    _, model = made(net(layers, "a: group.p2, b: group.p3"))
    found, direct = model(IMAGE), Direct(model)
    for n, name in enumerate("ab"):
        x = direct.maps[n]
        same(found[name], direct.conv("group.conv", x) + direct.conv(f"side.{n}", x))


# --- repeats, absent layers, use ------------------------------------------------------------
def test_a_shared_tower_is_a_repeat_inside_a_block() -> None:
    blocks = f"""blocks:
  unit:
    inputs: [x]
    layers:
      conv: {CONV}}}
      relu: relu
  tower:
    params: {{depth: int}}
    inputs: [x]
    layers:
      units: {{repeat: depth, block: unit}}
      out: {{op: conv2d, out_channels: 2, kernel_size: 1}}
"""
    layers = "  tower: {block: tower, from: maps, share: level, depth: 3}\n"
    _, model = made(net(layers, "a: tower.p2, b: tower.p3", blocks))
    assert keys(model) == [*(f"tower.units.{n}.conv" for n in range(3)), "tower.out"]
    found, direct = model(IMAGE), Direct(model)
    for name, x in zip("ab", direct.maps, strict=True):
        for n in range(3):
            x = F.relu(direct.conv(f"tower.units.{n}.conv", x))
        same(found[name], direct.conv("tower.out", x))


def test_a_repeat_is_shared() -> None:
    layers = (
        f"  tower: {{repeat: 2, from: maps, share: level, layers: {{conv: {CONV}}}, a: relu}}}}\n"
    )
    _, model = made(net(layers, "a: tower.p2, b: tower.p3"))
    assert keys(model) == ["tower.0.conv", "tower.1.conv"]
    found, direct = model(IMAGE), Direct(model)
    for name, x in zip("ab", direct.maps, strict=True):
        for n in range(2):
            x = F.relu(direct.conv(f"tower.{n}.conv", x))
        same(found[name], x)


def test_each_level_has_a_repeat_of_its_own() -> None:
    layers = f"  tower: {{repeat: 2, from: maps, each: level, layers: {{conv: {CONV}}}}}}}\n"
    _, model = made(net(layers, "a: tower.p2, b: tower.p3"))
    assert keys(model) == [f"tower.{n}.{i}.conv" for n in range(2) for i in range(2)]
    found, direct = model(IMAGE), Direct(model)
    for n, name in enumerate("ab"):
        x = direct.maps[n]
        for i in range(2):
            x = direct.conv(f"tower.{n}.{i}.conv", x)
        same(found[name], x)


@pytest.mark.parametrize("mode", ["each", "share"])
@pytest.mark.parametrize("layer", [CONV + ", ", "{block: lateral, "])
def test_an_absent_layer_hands_on_the_pyramid(mode: str, layer: str) -> None:
    layers = f"  head: {layer}from: maps, {mode}: level, when: false}}\n"
    layers += f"  out: {CONV}, from: head, share: level}}\n"
    _, model = made(net(layers, "a: out.p2, b: out.p3", NECK.partition("  neck")[0]))
    assert keys(model) == ["out"]
    found, direct = model(IMAGE), Direct(model)
    for name, x in zip("ab", direct.maps, strict=True):
        same(found[name], direct.conv("out", x))


def test_a_group_that_reads_a_pyramid_is_used_again() -> None:
    layers = f"""  other: {{levels: {{p2: fine, p3: fine}}}}
  heads: {{from: maps, layers: {{each: {CONV}, each: level}}, same: {CONV}, share: level}}}}}}
  again: {{use: heads, from: other}}
"""
    _, model = made(net(layers, "a: heads.p2, b: heads.p3, c: again.p2, d: again.p3"))
    assert keys(model) == ["heads.each.0", "heads.each.1", "heads.same"]
    found, direct = model(IMAGE), Direct(model)
    for names, maps in (("ab", direct.maps), ("cd", [direct.fine, direct.fine])):
        for n, name in enumerate(names):
            same(found[name], direct.conv("heads.same", direct.conv(f"heads.each.{n}", maps[n])))


def test_an_absent_group_that_reads_a_pyramid_is_used_again() -> None:
    layers = f"""  heads: {{when: false, from: maps, layers: {{each: {CONV}, each: level}}}}}}
  again: {{use: heads, from: maps}}
  out: {CONV}, each: level}}
"""
    _, model = made(net(layers, "a: out.p2, b: out.p3"))
    assert keys(model) == ["out.0", "out.1"]


def test_what_is_shared_in_a_group_is_shared_in_its_further_uses() -> None:
    """A layer used twice inside a group that is used twice: one set of weights."""
    text = f"""{HEAD}layers:
  first:
    layers:
      one: {{op: conv2d, out_channels: 3, kernel_size: 1}}
      two: {{use: one}}
      three: {{layers: {{conv: {{op: conv2d, out_channels: 3, kernel_size: 1}}, act: relu}}}}
      four: {{use: three}}
  again: {{use: first}}
outputs: {{y: again}}
"""
    _, model = made(text)
    assert list(model.state_dict()) == [
        f"first.{n}.{k}" for n in ("one", "three.conv") for k in ("weight", "bias")
    ]
    state, x = model.state_dict(), IMAGE
    for name in ("one", "one", "three.conv", "three.conv") * 2:
        x = F.conv2d(x, state[f"first.{name}.weight"], state[f"first.{name}.bias"])
        x = F.relu(x) if "." in name else x
    same(model(IMAGE), x)


def test_a_shared_layer_is_used_on_a_single_value() -> None:
    layers = f"  head: {CONV}, from: maps, share: level}}\n  more: {{use: head, from: fine}}\n"
    _, model = made(net(layers, "a: head.p2, b: head.p3, c: more"))
    found = model(IMAGE)
    same(found["a"], found["c"])


# --- what the graph has ---------------------------------------------------------------------
def test_levels_are_no_layers() -> None:
    checked = sound(net(f"  head: {CONV}, from: maps, share: level}}\n", "a: head.p2, b: head.p3"))
    assert [n.name for n in checked.graph.nodes] == ["fine", "coarse", "head", "head_p3"]
    assert checked.graph.outputs == {"a": Ref("head"), "b": Ref("head_p3")}
    assert checked.graph.by_name["head_p3"].shared == "head"


def test_a_level_may_be_a_port_or_an_input() -> None:
    layers = "  pool: {op: max_pool2d, from: fine, kernel_size: 2, return_indices: true}\n"
    layers += "  both: {levels: {a: pool.input, b: image}}\n"
    layers += "  out: {op: conv2d, from: both, each: level, out_channels: 2, kernel_size: 1}\n"
    text = net(layers, "a: out.a, b: out.b, c: pool, d: coarse")
    checked = sound(text)
    assert checked.graph.by_name["out.0"].inputs == (Ref("fine"),)
    assert checked.graph.by_name["out.1"].inputs == (Ref("image"),)


def test_too_many_levels() -> None:
    levels = ", ".join(f"p{n}: fine" for n in range(65))
    text = net(f"  all: {{levels: {{{levels}}}}}\n", "y: fine, z: coarse")
    fault(text, "SEG313", "65 levels, the limit is 64")


@pytest.mark.parametrize("key", ["from: fine", "only: train", "when: false", "repeat: 2"])
def test_a_pyramid_has_no_other_key(key: str) -> None:
    text = net(f"  more: {{levels: {{p2: fine}}, {key}}}\n", "y: fine, z: coarse")
    found = fault(text, "SEG107", f"`{key.partition(':')[0]}` says nothing of it")
    assert pointed(found, text) == key.partition(": ")[2]


def test_levels_of_two_pyramids_are_paired_by_name() -> None:
    layers = "  turned: {levels: {p3: coarse, p2: fine}}\n"
    layers += "  sum: {op: add, from: [maps, turned], each: level}\n"
    fault(net(layers, "a: sum.p2, b: sum.p3"), "SEG316", "different levels: p2, p3 and p3, p2")


def test_a_class_of_several_uses_may_give_five_axes() -> None:
    """What its docstring says of sizes is about height and width, and no error beyond."""
    blocks = "blocks: {more: {inputs: [x], layers: {conv: {op: conv2d, out_channels: 2, "
    blocks += "kernel_size: 1}, y: {op: unsqueeze, dim: 1}}}}\n"
    layers = "  first: {block: more, from: fine}\n  second: {block: more, from: coarse}\n"
    source, _ = made(net(layers, "a: first, b: second", blocks))
    assert source.count("class More") == 1
