"""stride_to_dilation: the dense network, sampled every s pixels, is the strided one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from emit_kit import emit, network
from spec_kit import fault, faults, node, shape, sound, spec

SPECS = Path(__file__).parent.parent / "specs"


def both(layers: str, output_stride: int, first_block: str = "keep") -> tuple[str, str]:
    """A spec of a group `g` of layers as it is, and converted."""
    text = spec(f"g:\n  layers:\n{_indented(layers)}")
    arguments = f"layers: g, output_stride: {output_stride}, first_block: {first_block}"
    return text, text + f"transforms:\n  - stride_to_dilation: {{{arguments}}}\n"


def _indented(layers: str) -> str:
    return "\n".join("    " + line.strip() for line in layers.strip().splitlines())


def outputs(text: str, x: torch.Tensor, state: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """What the emitted network computes in float64 with its own weights or those given."""
    torch.manual_seed(0)
    model = network(emit(text))().double().eval()
    if state is None:
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, dtype=torch.float64) + 0.1)
    else:
        model.load_state_dict(state)
    with torch.no_grad():
        return model(x), model.state_dict()


def assert_sampled(strided: str, dense: str, size: tuple[int, int], step: int) -> None:
    x = torch.rand(1, 3, *size, dtype=torch.float64)
    wanted, state = outputs(strided, x, None)
    got, _ = outputs(dense, x, state)
    sampled = got[..., ::step, ::step]
    assert sampled.shape == wanted.shape
    torch.testing.assert_close(sampled, wanted, rtol=1e-12, atol=1e-12)


RESIDUAL = """
conv1: {op: conv2d, out_channels: 4, kernel_size: 7, stride: 2, padding: 3, bias: false}
bn1: batch_norm2d
relu1: relu
pool: {op: max_pool2d, kernel_size: 3, stride: 2, padding: 1}
conv2: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
bn2: batch_norm2d
conv3: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 2, dilation: 2}
short: {op: conv2d, from: pool, out_channels: 4, kernel_size: 1, stride: 2}
add: {op: add, from: [conv3, short]}
lrn: {op: local_response_norm, size: 3}
conv4: {op: conv2d, out_channels: 2, kernel_size: 5, stride: 2, padding: 2}
act: sigmoid
conv5: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
"""


@pytest.mark.parametrize(("output_stride", "step"), [(2, 8), (4, 4), (8, 2), (16, 1)])
@pytest.mark.parametrize("size", [(64, 64), (65, 63), (71, 90), (33, 47)])
def test_sampled_equality_of_a_residual_network(
    output_stride: int, step: int, size: tuple[int, int]
) -> None:
    strided, dense = both(RESIDUAL, output_stride)
    assert_sampled(strided, dense, size, step)


def random_layers(rng: random.Random) -> tuple[str, int]:
    """A chain of random convolutions and poolings, and its total stride."""
    lines, total = [], 1
    for i in range(rng.randint(2, 5)):
        k, d = rng.choice((1, 2, 3, 3, 4, 5)), rng.choice((1, 1, 2))
        s, p = rng.choice((1, 1, 2, 2, 3)), rng.randint(0, 3)
        if total * s > 12:
            s = 1
        if rng.random() < 0.25:
            p = min(p, (d * (k - 1) + 1) // 2 if k > 1 else 0)
            p = min(p, k // 2)
            lines.append(f"l{i}: {{op: max_pool2d, kernel_size: {k}, stride: {s}, padding: {p}, "
                         f"dilation: {d}}}")  # fmt: skip
        else:
            groups = rng.choice((1, 3))
            lines.append(f"l{i}: {{op: conv2d, out_channels: 3, kernel_size: {k}, stride: {s}, "
                         f"padding: {p}, dilation: {d}, groups: {groups}}}")  # fmt: skip
        total *= s
        if rng.random() < 0.3:
            lines.append(f"a{i}: {rng.choice(('relu', 'tanh', 'batch_norm2d', 'dropout'))}")
    return "\n".join(lines), total


@pytest.mark.parametrize("seed", range(40))
def test_sampled_equality_of_random_chains(seed: int) -> None:
    rng = random.Random(seed)
    layers, total = random_layers(rng)
    output_stride = rng.choice([n for n in range(1, total + 1) if total % n == 0])
    strided, dense = both(layers, output_stride)
    kept = 1
    for line in layers.splitlines():
        step = int(line.partition("stride: ")[2].partition(",")[0]) if "stride" in line else 1
        if kept * step <= output_stride:
            kept *= step
    if faults(dense):
        fault(dense, "SEG210", "max_pool2d", "padding")  # torch cannot pad it that far
        return
    size = (rng.randint(50, 80), rng.randint(50, 80))
    assert_sampled(strided, dense, size, total // kept)


def test_a_wrong_conversion_is_caught() -> None:
    """The proof itself: with the dilation given to the layer that lost its stride, the result is
    that of other networks in the literature, but not sampled equality."""
    layers = """
    conv1: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
    conv2: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
    """
    strided, dense = both(layers, 1, "dilate")
    with pytest.raises(AssertionError):
        assert_sampled(strided, dense, (32, 32), 2)


def test_which_layer_takes_the_new_dilation() -> None:
    layers = """
    conv1: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
    conv2: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}
    """
    values = {
        word: [node(sound(both(layers, 1, word)[1]), f"g.{n}").op for n in ("conv1", "conv2")]
        for word in ("keep", "dilate")
    }
    dilations = {word: [op.values.get("dilation", (1, 1)) for op in ops]
                 for word, ops in values.items()}  # fmt: skip
    assert dilations == {"keep": [(1, 1), (2, 2)], "dilate": [(2, 2), (2, 2)]}
    assert all(op.values["stride"] == (1, 1) for ops in values.values() for op in ops[:1])


@pytest.mark.parametrize("output_stride", [8, 16])
def test_deeplab_trunk_is_torchvisions(output_stride: int) -> None:
    """Stride, dilation and padding of every convolution, and the shapes of all parameters."""
    torchvision = pytest.importorskip("torchvision")
    replace = {8: [False, True, True], 16: [False, False, True]}[output_stride]
    with torch.device("meta"):
        reference = torchvision.models.resnet50(replace_stride_with_dilation=replace)
    checked = sound(str(SPECS / "deeplab.yaml"), output_stride=output_stride)
    ours = {
        n.name.removeprefix("backbone."): n
        for n in checked.graph.nodes
        if n.op.name == "conv2d" and n.name.startswith("backbone.")
    }
    theirs = {k: m for k, m in reference.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert set(ours) == set(theirs) and len(ours) == 53
    for name, module in theirs.items():
        op = ours[name].op
        got = {key: getattr(op, key) for key in ("stride", "dilation", "padding", "kernel_size")}
        assert got == {key: getattr(module, key) for key in got}, name
    assert shape(checked, "backbone.layer4.2.relu").startswith("N x 2048 x ")


def test_only_the_group_is_converted() -> None:
    layers = """
    before: {op: conv2d, out_channels: 3, kernel_size: 3, stride: 2, padding: 1}
    g: {layers: {c: {op: conv2d, out_channels: 3, kernel_size: 3, stride: 2, padding: 1}}}
    after: {op: conv2d, out_channels: 3, kernel_size: 3, stride: 2, padding: 1}
    """
    text = spec(layers) + "transforms: [stride_to_dilation: {layers: g, output_stride: 1}]\n"
    strides = [n.op.values["stride"] for n in sound(text).graph.nodes]
    assert strides == [(2, 2), (1, 1), (2, 2)]


def test_padding_by_a_layer_of_its_own() -> None:
    layers = """
    conv1: {op: conv2d, out_channels: 3, kernel_size: 3, stride: 2, padding: 1}
    pad: {op: pad, padding: [1, 2, 3, 0]}
    conv2: {op: conv2d, out_channels: 3, kernel_size: 3}
    """
    strided, dense = both(layers, 1)
    checked = sound(dense)
    assert node(checked, "g.pad").op.values["padding"] == (2, 4, 6, 0)
    x = torch.rand(1, 3, 21, 20, dtype=torch.float64)
    wanted, state = outputs(strided, x, None)
    got, _ = outputs(dense, x, state)
    rows, columns = wanted.shape[2:]
    sampled = got[..., ::2, ::2][..., :rows, :columns]
    torch.testing.assert_close(sampled, wanted, rtol=1e-12, atol=1e-12)


LOSES = "conv1: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}\n"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("c: {op: conv2d, out_channels: 4, kernel_size: 3, stride: [2, 1]}", "a stride of 2 x 1"),
        ("p: {op: max_pool2d, kernel_size: 3, stride: 2, ceil_mode: true}", "`ceil_mode`"),
        (LOSES + "p: {op: avg_pool2d, kernel_size: 3, stride: 1}", "avg_pool2d has no dilation"),
        (LOSES + "u: {op: interpolate, scale_factor: 2}", "changes the resolution"),
        (LOSES + "p: {op: adaptive_avg_pool2d, output_size: 1}", "looks at where pixels are"),
        (LOSES + "p: {op: max_pool2d, kernel_size: 3, stride: 1, padding: 1}", "padding"),
        (LOSES + "t: {op: conv_transpose2d, out_channels: 4, kernel_size: 2, stride: 2}",
         "changes the resolution"),
        (LOSES + "c: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1, "
         "padding_mode: reflect}", "repeats pixels of the border"),
        (LOSES + "s: {op: softmax, dim: 2}", "looks at where pixels are"),
        (LOSES + "c: {op: crop, size: 4}", "looks at where pixels are"),
        (LOSES + "c: {op: pad, padding: 1, mode: reflect}", "looks at where pixels are"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_exactly(layers: str, words: str) -> None:
    _, dense = both(layers, 1)
    d = fault(dense, "SEG210", words)
    assert d.loc is not None and dense.splitlines()[d.loc.line - 1].startswith("  - stride_to")


def test_branches_must_be_converted_together() -> None:
    text = spec(
        "small: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}\n"
        "g: {layers: {c: {op: conv2d, from: image, out_channels: 4, kernel_size: 3, stride: 2, "
        "padding: 1}, cat: {op: add, from: [c, small]}}}"
    )
    text += "transforms: [stride_to_dilation: {layers: g, output_stride: 1}]\n"
    fault(text, "SEG203", "`g.cat` joins branches of different stride")


@pytest.mark.parametrize(
    ("transforms", "code", "words"),
    [
        ("- stride_to_dilatoin: {layers: g, output_stride: 1}", "SEG101", "`stride_to_dilation`?"),
        (
            "- stride_to_dilation: {layers: h, output_stride: 1}",
            "SEG301",
            "`h` is neither a layer nor a group",
        ),
        ("- stride_to_dilation: {layer: g, output_stride: 1}", "SEG102", "did you mean `layers`?"),
        ("- stride_to_dilation: {layers: g}", "SEG104", "needs `output_stride`"),
        ("- stride_to_dilation: {layers: g, output_stride: 0}", "SEG105", "at least 1, got 0"),
        ("- stride_to_dilation: {layers: g, output_stride: 1, first_block: x}", "SEG105", "keep"),
        ("- stride_to_dilation: {layers: g, output_stride: x}", "SEG109", "not a parameter"),
        ("- stride_to_dilation: g", "SEG103", "needs arguments, got `g`"),
        ("- stride_to_dilation", "SEG103", "a transform needs a name"),
        ("{stride_to_dilation: {layers: g}}", "SEG103", "`transforms` is a list"),
    ],
)
def test_transforms_at_fault(transforms: str, code: str, words: str) -> None:
    text = spec("g: {layers: {c: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2}}}")
    found = faults(text + f"transforms:\n  {transforms}\n")
    assert found[0].code == code
    assert words in found[0].message + (found[0].hint or "")
