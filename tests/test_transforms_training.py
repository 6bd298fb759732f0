"""Transforms that keep the function, for training: outputs, all gradients and what the batch norms
learn are those of the spec without them, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from emit_kit import reformatted
from rules_kit import difference, values
from spec_kit import fault, pointed, sound
from torch import Tensor, nn

from segc.analyse import reference_sizes, table
from segc.build import Maker, build
from segc.emit.deploy import deploy_source
from segc.emit.module import model_source
from segc.manual import page
from segc.source import Source
from segc.verify import import_source, trained_like, verify

SPECS = Path(__file__).resolve().parent.parent / "specs"
EXACT = 1e-12


def spec(layers: str, more: str = "", output: str = "z", blocks: str = "") -> str:
    head = f"segc: 1\nmodel: Net\ninputs: {{image: [N, 3, H, W]}}\n{blocks}"
    return f"{head}layers:\n{layers.strip(chr(10))}\n{more}outputs: {{out: {output}}}\n"


def asking(transform: str) -> str:
    return f"transforms:\n  - {transform}\n"


def network(text: str) -> Any:
    return import_source(model_source(Maker(Source.from_text(text), {})), "net").Net().double()


def step(net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients and buffers after one forward and backward pass in training."""
    image = image.clone().requires_grad_()
    outputs = values(net(image))
    generator = torch.Generator().manual_seed(1)
    shares = (torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in outputs.values())
    torch.autograd.backward(list(outputs.values()), list(shares))
    found = {f"output {k}": v.detach() for k, v in outputs.items()}
    found |= {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    found |= {k: b.double() for k, b in net.named_buffers()}
    return found | {"image": image.grad} if image.grad is not None else found


def same_training(text: str, other: str, size: tuple[int, int] = (9, 14)) -> list[str]:
    """Both networks have the same weights and learn the same; the names of what was compared."""
    torch.manual_seed(0)
    plain, quick = network(text), network(other)
    with torch.no_grad():
        trained_like(plain)
    assert list(plain.state_dict()) == list(quick.state_dict())
    quick.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    wanted, got = step(plain, image), step(quick, image)
    assert wanted.keys() == got.keys()
    assert {k for k, _ in plain.named_parameters()} | {"image"} <= wanted.keys()
    worst = {k: difference(wanted[k], got[k]) for k in wanted}
    assert max(worst.values()) <= EXACT, worst
    return list(worst)


def operators(text: str) -> dict[str, str]:
    """Layer -> operator, of those that are there."""
    return {n.name: n.op.name for n in sound(text).graph.nodes if not n.absent}


# --- commute_pointwise --------------------------------------------------------------------------

RESIZES = {
    "bilinear": "{op: interpolate, mode: bilinear, scale_factor: 2}",
    "bilinear, corners": "{op: interpolate, mode: bilinear, like: image, align_corners: true}",
    "nearest": "{op: interpolate, scale_factor: 3}",
    "nearest, odd": "{op: interpolate, like: image}",
    "bicubic": "{op: interpolate, mode: bicubic, size: [11, 7]}",
    "smaller": "{op: interpolate, mode: bilinear, size: [3, 2]}",
}
SCORE = "{op: conv2d, out_channels: 5, kernel_size: 1}"


@pytest.mark.parametrize("resize", RESIZES)
def test_pointwise_learns_the_same(resize: str) -> None:
    text = spec(f"""
  body: {{op: conv2d, out_channels: 7, kernel_size: 3, stride: 2}}
  norm: batch_norm2d
  up: {RESIZES[resize]}
  score: {SCORE}
  z: batch_norm2d
""")
    other = text + asking("commute_pointwise: {layers: score}")
    same_training(text, other)
    checked = sound(other)
    assert [n.name for n in checked.graph.nodes if not n.absent][2:4] == ["score", "score_up"]


def test_the_transform_saves_what_it_says() -> None:
    text = spec(f"  up: {RESIZES['nearest']}\n  z: {SCORE}")
    both = [sound(t) for t in (text, text + asking("commute_pointwise: {}"))]
    before, after = (table(c, reference_sizes(c)).totals.macs or 0 for c in both)
    assert before == 9 * after > 0


TWO = f"""
  body: {{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}}
  up: {RESIZES["bilinear"]}
  a: {SCORE}
  b: {{op: conv2d, from: up, out_channels: 5, kernel_size: 1, bias: false}}
  sum: {{op: add, from: [a, b]}}
  wide: {{op: conv2d, from: up, out_channels: 5, kernel_size: 3, padding: 1}}
  z: {{op: concat, from: [sum, wide]}}
"""


def test_a_map_with_several_readers() -> None:
    """The enlarged map stays for who still reads it."""
    one, both = (asking(f"commute_pointwise: {g}") for g in ("{layers: a}", "{}"))
    for more, left in ((one, {"up", "a_up"}), (both, {"up", "a_up", "b_up"})):
        other = spec(TWO) + more
        same_training(spec(TWO), other)
        assert {n for n, op in operators(other).items() if op == "interpolate"} == left


def test_a_chain_of_pointwise_convolutions() -> None:
    text = spec(f"  up: {RESIZES['bilinear']}\n  a: {SCORE}\n  b: {SCORE}\n  z: {SCORE}")
    other = text + asking("commute_pointwise: {}")
    same_training(text, other)
    assert list(operators(other).values()) == ["conv2d"] * 3 + ["interpolate"]


BLOCKS = f"""blocks:
  head:
    params: {{out: int}}
    inputs: [x, like]
    layers:
      up: {{op: interpolate, from: x, mode: bilinear, like: like}}
      score: {SCORE.replace("5", "out")}
      bn: batch_norm2d
      relu: relu
"""


def test_inside_blocks_and_behind_them() -> None:
    layers = f"""
  body: {{op: conv2d, out_channels: 4, kernel_size: 3, stride: 2}}
  main: {{block: head, from: [body, image], out: 6}}
  more: {{op: interpolate, scale_factor: 2}}
  side: {{block: head, from: [body, image], out: 2}}
  tail:
    layers:
      0: {{op: interpolate, scale_factor: 2}}
      1: {SCORE}
      2: relu
  z: {{op: concat, from: [more, tail]}}
"""
    text = spec(layers, blocks=BLOCKS)
    for group in ("{}", "{layers: main}", "{layers: tail}", "{layers: side.score}"):
        same_training(text, text + asking(f"commute_pointwise: {group}"))


def test_weights_applied_twice() -> None:
    layers = """
  body: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2}
  first: {block: head, from: [body, image], out: 4}
  second: {use: first, from: [first, first]}
  z: {op: add, from: [first, second]}
"""
    text = spec(layers, blocks=BLOCKS)
    same_training(text, text + asking("commute_pointwise: {}"))
    fault(text + asking("commute_pointwise: {layers: first}"), "SEG210", "shares the weights")


def test_outputs_auxiliary_heads_and_losses() -> None:
    layers = f"""
  body: {{op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}}
  aux_up: {{op: interpolate, like: image, only: train}}
  aux: {{op: conv2d, out_channels: 5, kernel_size: 1, only: train}}
  up: {{op: interpolate, from: body, mode: bilinear, like: image}}
  z: {SCORE}
"""
    text = spec(layers).replace("{out: z}", "{out: z, aux: aux}")
    other = text + asking("commute_pointwise: {}")
    same_training(text, other, (8, 8))
    plain, quick = (network(t).eval().requires_grad_(False) for t in (text, other))
    quick.load_state_dict(plain.state_dict())
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert difference(plain(image)["out"], quick(image)["out"]) <= EXACT


# --- fuse_unpool --------------------------------------------------------------------------------

UNPOOLING = """
  conv1: {op: conv2d, out_channels: 6, kernel_size: 3, padding: 1}
  bn1: batch_norm2d
  pool1: {op: max_pool2d, kernel_size: 2, ceil_mode: true, return_indices: true}
  conv2: {op: conv2d, out_channels: 5, kernel_size: 3, padding: 1}
  pool2: {op: max_pool2d, kernel_size: [3, 2], ceil_mode: true, return_indices: true}
  up2: {op: max_unpool2d, kernel_size: [3, 2], from: [pool2, pool2.indices], size: pool2.input}
  deconv2: {op: conv_transpose2d, out_channels: 6, kernel_size: 3, padding: 1, bias: false}
  bn2: batch_norm2d
  up1: {op: max_unpool2d, from: [bn2, pool1.indices], size: pool1.input}
  conv3: {op: conv2d, out_channels: 4, kernel_size: 7, padding: same}
  z: batch_norm2d
"""


@pytest.mark.parametrize("size", [(9, 14), (23, 30), (5, 3)])
def test_fused_learns_the_same(size: tuple[int, int]) -> None:
    """On a CPU; the kernels are compared in test_unpool_conv.py."""
    other = spec(UNPOOLING) + asking("fuse_unpool: {}")
    same_training(spec(UNPOOLING), other, size)
    found = operators(other)
    assert found["deconv2"] == "unpool_conv_transpose2d"
    assert found["conv3"] == "unpool_conv2d"
    assert "max_unpool2d" not in found.values()


def test_one_of_two_is_fused() -> None:
    other = spec(UNPOOLING) + asking("fuse_unpool: {layers: conv3}")
    same_training(spec(UNPOOLING), other)
    assert operators(other)["up2"] == "max_unpool2d"


def test_weights_start_as_they_would() -> None:
    """Initialisers and frozen weights concern the fused layers as they did the convolutions."""
    init = """init:
  conv2d: {weight: {constant: {value: 0.25}}, bias: zeros}
  conv_transpose2d: {weight: {constant: {value: 0.5}}}
"""
    layers = UNPOOLING.replace("padding: same", "padding: same, freeze: true")
    net = network(spec(layers, init) + asking("fuse_unpool: {}"))
    assert type(net.conv3).__name__ == "UnpoolConv2d"
    assert bool((net.conv1.weight == 0.25).all()) and bool((net.conv3.weight == 0.25).all())
    assert bool((net.conv3.bias == 0).all()) and bool((net.deconv2.weight == 0.5).all())
    assert [p.requires_grad for p in net.conv3.parameters()] == [False, False]


def test_the_deploy_module_of_a_fused_network() -> None:
    """Batch norms fold into the fused layers."""
    make = Maker(Source.from_text(spec(UNPOOLING) + asking("fuse_unpool: {}")), {})
    plain = import_source(model_source(make), "net").Net().double()
    with torch.no_grad():
        trained_like(plain)
    text = deploy_source(make.deploy, make.optimised({}))
    quick = import_source(text, "deploy").from_model(plain.eval())
    image = torch.randn(1, 3, 13, 10, dtype=torch.float64)
    assert difference(plain(image).detach(), quick(image)) <= EXACT
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    assert type(quick.conv3).__name__ == "UnpoolConv2d"


def test_files_of_a_fused_network() -> None:
    files = build(Source.from_text(spec(UNPOOLING) + asking("fuse_unpool: {}"))).files
    assert "unpool_conv.py" in files and "unpool_kernels.py" in files
    line = "from unpool_conv import UnpoolConv2d, UnpoolConvTranspose2d\n"
    assert line in files["model.py"] and line in files["deploy.py"]
    assert reformatted(files["model.py"]) == ""


@pytest.mark.parametrize("name", ["encoder_decoder_max_unpool", "segnet_basic"])
def test_networks_of_the_zoo(name: str) -> None:
    """What is emitted is what was derived, and the deploy module is equal."""
    text = (SPECS / f"{name}.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("\nlayers:")
    layers, separator, tail = rest.partition("\n\n")
    more = f"\n\n{asking('fuse_unpool: {}')}"
    source = Source.from_text(f"{head}\nlayers:{layers}{more}{separator}{tail}", f"{SPECS}/x.yaml")
    graph = Maker(source, {})({}).graph
    assert not any(n.op.name == "max_unpool2d" for n in graph.nodes if not n.absent)
    assert [f.what for f in verify(source, {}) if not f.ok] == []


# --- refusals -----------------------------------------------------------------------------------

POOLED = "  pool: {op: max_pool2d, kernel_size: 2, return_indices: true}\n"
UNPOOLED = f"{POOLED}  up: {{op: max_unpool2d, from: [pool, pool.indices]}}\n"
REFUSED = [
    ("  z: relu", "commute_pointwise: {}", "no 1x1 convolution that reads an interpolate"),
    ("  z: relu", "commute_pointwise: {layers: z}", "in `z`"),
    (
        f"  up: {RESIZES['nearest']}\n  z: {SCORE[:-1]}, padding: 1}}",
        "commute_pointwise: {layers: z}",
        "`z`: it pads",
    ),
    (
        f"  up: {RESIZES['nearest']}\n  z: {SCORE[:-1]}, stride: 2}}",
        "commute_pointwise: {}",
        "`z`: the convolution has a stride",
    ),
    (
        "  g:\n    layers:\n      up: {op: interpolate, scale_factor: 2}\n"
        "      score: {op: conv2d, out_channels: 3, kernel_size: 1}\n"
        "  h: {use: g}\n  z: {op: interpolate, from: g, like: h}\n"
        "  w: {op: concat, from: [z, h, h.up]}",
        "commute_pointwise: {}",
        "`h` applies `g` again, and only one of them can be rewritten",
    ),
    (
        f"  up: {{op: interpolate, mode: area, size: [3, 3]}}\n  z: {SCORE}",
        "commute_pointwise: {}",
        "`up` averages over a window",
    ),
    ("  z: relu", "fuse_unpool: {}", "no convolution that reads a max_unpool2d"),
    (
        f"{UNPOOLED}  a: {SCORE}\n  z: {{op: add, from: [a, image]}}\n".replace("5", "3")
        + "  w: {op: add, from: [z, up]}",
        "fuse_unpool: {}",
        "`a`: the unpooled map of `up` is read elsewhere too",
    ),
    (
        f"{UNPOOLED}  z: {{op: conv2d, out_channels: 3, kernel_size: 3, groups: 3}}",
        "fuse_unpool: {layers: z}",
        "`z`: the convolution has groups",
    ),
    (
        "  pool: {op: max_pool2d, kernel_size: 3, stride: 2, return_indices: true}\n"
        "  up: {op: max_unpool2d, kernel_size: 3, stride: 2, from: [pool, pool.indices],"
        f" size: image}}\n  z: {SCORE}",
        "fuse_unpool: {}",
        "the windows of `pool` overlap or leave gaps",
    ),
]


@pytest.mark.parametrize(("layers", "transform", "words"), REFUSED)
def test_refused(layers: str, transform: str, words: str) -> None:
    output = "w" if "  w:" in layers else "z"
    text = spec(layers, output=output) + asking(transform)
    name = transform.partition(":")[0]
    found = fault(text, "SEG210", words)
    assert pointed(found, text) in (name, "z")


def test_an_unknown_group() -> None:
    fault(spec("  z: relu") + asking("fuse_unpool: {layers: decodr}"), "SEG301", "decodr")


def test_what_when_removed_is_not_missed() -> None:
    layers = f"  up: {RESIZES['nearest']}\n  a: {SCORE[:-1]}, when: false}}\n  z: relu"
    sound(spec(layers) + asking("commute_pointwise: {layers: a}"))


@pytest.mark.parametrize("name", ["commute_pointwise", "fuse_unpool", "unpool_conv"])
def test_pages(name: str) -> None:
    text = page(name)
    assert text is not None
    assert ("(transform)" in text) == (name != "unpool_conv")
    assert ("(optimisation)" in text) == (name != "fuse_unpool")
