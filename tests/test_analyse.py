"""Tables: costs, memory, receptive fields, each against a computation of its own."""

from __future__ import annotations

import random
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from emit_kit import emit, network
from spec_kit import sound, spec

from segc.analyse import bind, is_view, peak_bytes, reference_sizes, shapes, table
from segc.check import Checked
from segc.diag import Fail
from segc.ir import Ref
from segc.types import Index

SPECS = Path(__file__).parent.parent / "specs"
CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"


# --- costs -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["unet", "segnet_basic", "deeplab"])
def test_macs_are_those_torch_counts(name: str) -> None:
    """FlopCounterMode counts a multiplication and an addition as two."""
    from torch.utils.flop_counter import FlopCounterMode

    path = str(SPECS / f"{name}.yaml")
    with torch.device("meta"):
        model = network(emit(path))().eval()
    x = torch.empty(2, 3, 96, 160, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(x)
    totals = table(sound(path), {"image": (2, 3, 96, 160)}).totals
    assert totals.macs is not None and 2 * totals.macs == counter.get_total_flops()


def test_rows_of_a_small_network() -> None:
    layers = f"""
    a: {CONV}
    r: relu
    p: {{op: max_pool2d, kernel_size: 2}}
    b: {{op: conv2d, out_channels: 2, kernel_size: 1, groups: 2, bias: false, freeze: true}}
    """
    found = table(sound(spec(layers)), {"image": (2, 3, 8, 6)})
    rows = {row.node.name: row for row in found.rows}
    assert rows["a"].size == (2, 4, 8, 6) and rows["a"].shape == ("N", "4", "H", "W")
    assert rows["a"].macs == 2 * 4 * 8 * 6 * 3 * 9
    assert rows["a"].params == 4 * 3 * 9 + 4
    assert rows["b"].macs == 2 * 2 * 4 * 3 * 2
    assert (rows["b"].params, rows["b"].trainable) == (4, 0)
    assert rows["p"].activation_bytes == 2 * 4 * 4 * 3 * 4
    assert rows["b"].stride == (2, 2) and rows["b"].receptive_field == (4, 4)
    assert (found.totals.params, found.totals.trainable) == (112 + 4, 112)
    assert found.totals.macs == rows["a"].macs + rows["b"].macs


def test_without_sizes_there_are_no_costs() -> None:
    found = table(sound(spec(f"a: {CONV}")))
    assert found.totals.params == 112
    assert found.totals.macs is found.totals.peak_bytes is found.rows[0].size is None


# --- sizes -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"depth": (1,)}, "input `image` needs a size like Nx3xHxW"),
        ({"image": (1, 3, 8)}, "needs a size like"),
        ({"image": (1, 4, 8, 8)}, "3 is 3, not 4"),
        ({"image": (1, 3, 9, 8)}, "does not accept"),
        ({"image": (1, 3, 8, 8), "depth": (1, 3, 8, 8)}, "there is no input `depth`"),
    ],
)
def test_sizes_that_are_refused(sizes: dict[str, tuple[int, ...]], words: str) -> None:
    layers = "p: {op: max_pool2d, kernel_size: 2}\nu: {op: interpolate, scale_factor: 2}\n"
    checked = sound(spec(layers + "s: {op: add, from: [u, image]}"))
    assert bind(checked, {"image": (1, 3, 8, 10)}) == {"N": 1, "H": 8, "W": 10}
    with pytest.raises(Fail) as refused:
        table(checked, sizes)
    assert refused.value.exit == 1
    assert words in refused.value.diagnostics[0].message


def test_one_symbol_is_one_size() -> None:
    inputs = "inputs: {a: [N, 3, H, W], b: [N, 3, H, W]}\n"
    checked = sound(spec("s: {op: add, from: [a, b]}", inputs=inputs))
    with pytest.raises(Fail) as refused:
        bind(checked, {"a": (1, 3, 8, 8), "b": (1, 3, 8, 9)})
    assert "input `b`: W is 8, not 9" in refused.value.diagnostics[0].message


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda p: p.stem)
def test_reference_sizes_are_accepted(path: Path) -> None:
    checked = sound(str(path))
    sizes = reference_sizes(checked)
    assert bind(checked, sizes)["N"] == 1


def test_reference_sizes_of_tied_inputs() -> None:
    """Sizes that only together make an accepted input."""
    inputs = "inputs: {a: [N, 3, H, W], b: [N, 3, h, w]}\n"
    layers = "p: {op: max_pool2d, from: a, kernel_size: 2}\ns: {op: add, from: [p, b]}"
    checked = sound(spec(layers, inputs=inputs))
    bind(checked, reference_sizes(checked))


# --- memory ------------------------------------------------------------------------------------
def simulated_peak(checked: Checked, sizes: dict[str, tuple[int, ...]]) -> int:
    """Runs the network as a machine would: values are kept while somebody later reads them.

    A brute force over steps: before each layer, everything that a later layer or an output still
    needs is alive, together with what the layer makes.
    """
    env = bind(checked, sizes)
    concrete = shapes(checked, env)
    graph = checked.graph
    nodes = [n for n in graph.nodes if n.only is None]

    def storage(ref: Ref) -> Ref:
        """The value whose memory this is: views share that of their operand."""
        while ref.node in graph.by_name and ref.port == "out":
            n = graph.by_name[ref.node]
            if not n.inputs or not is_view(checked, n):
                break
            ref = n.inputs[0]
        return ref

    def size(ref: Ref) -> int:
        return prod(concrete[ref]) * (8 if isinstance(checked.types[ref], Index) else 4)

    outputs = {storage(r) for r in graph.outputs.values()}
    inputs = {Ref(name) for name in graph.inputs}
    peak = sum(size(r) for r in inputs)
    made = set(inputs)
    for step, n in enumerate(nodes):
        produced = {storage(Ref(n.name, port)) for port in n.op.ports}
        made |= produced
        needed = {storage(r) for later in nodes[step:] for r in later.inputs} | outputs
        unread = inputs if step == 0 else set()
        peak = max(peak, sum(size(r) for r in made & (needed | produced | unread)))
        still = {storage(r) for later in nodes[step + 1 :] for r in later.inputs} | outputs
        made &= still
    return peak


def random_net(seed: int) -> str:
    """A random graph of layers of different sizes with long and short skips."""
    rng = random.Random(seed)
    lines, scale = ["l0: " + CONV], {"l0": 0}
    for i in range(1, rng.randint(4, 14)):
        name, before = f"l{i}", f"l{i - 1}"
        kind = rng.choice(("conv", "conv", "pool", "up", "add", "concat", "dropout", "indices"))
        mates = [n for n in scale if scale[n] == scale[before] and n != before]
        scale[name] = scale[before]
        if kind in ("pool", "indices") and scale[before] < 3:
            more = ", return_indices: true" if kind == "indices" else ""
            lines.append(f"{name}: {{op: max_pool2d, kernel_size: 2{more}}}")
            scale[name] += 1
        elif kind == "up" and scale[before] > 0:
            lines.append(f"{name}: {{op: interpolate, scale_factor: 2}}")
            scale[name] -= 1
        elif kind in ("add", "concat") and mates:
            lines.append(f"{name}: {{op: concat, from: [{before}, {rng.choice(mates)}]}}")
        elif kind == "dropout":
            lines.append(f"{name}: identity")
        else:
            lines.append(f"{name}: {{op: conv2d, out_channels: {rng.randint(1, 9)}, "
                         "kernel_size: 3, padding: 1}")  # fmt: skip
    return spec("\n".join(lines))


@pytest.mark.parametrize("seed", range(60))
def test_peak_is_that_of_a_simulation(seed: int) -> None:
    checked = sound(random_net(seed))
    sizes = {"image": (2, 3, 32, 24)}
    got = table(checked, sizes).totals.peak_bytes
    assert got == simulated_peak(checked, sizes)


@pytest.mark.parametrize("name", ["unet", "segnet_basic", "deeplab"])
def test_peak_of_the_specs(name: str) -> None:
    checked = sound(str(SPECS / f"{name}.yaml"))
    sizes = {"image": (1, 3, 64, 96)}
    got = peak_bytes(checked, shapes(checked, bind(checked, sizes)))
    assert got == simulated_peak(checked, sizes)


def test_peak_by_hand() -> None:
    """Image 3, a 8 channels kept for the skip, p a quarter, b 16, u 16 at full size."""
    layers = """
    a: {op: conv2d, out_channels: 8, kernel_size: 1}
    p: {op: max_pool2d, kernel_size: 2}
    b: {op: conv2d, out_channels: 16, kernel_size: 1}
    u: {op: interpolate, scale_factor: 2}
    s: {op: concat, from: [a, u]}
    """
    plane = 4 * 16 * 16
    found = table(sound(spec(layers)), {"image": (1, 3, 16, 16)})
    assert found.totals.peak_bytes == (8 + 16 + 24) * plane


def test_training_branches_do_not_count() -> None:
    layers = f"a: {CONV}\naux: {{op: conv2d, out_channels: 500, kernel_size: 1, only: train}}\n"
    layers += "b: {op: relu, from: a}"
    text = spec(layers).replace("{y: b}", "{y: b, aux: aux}")
    found = table(sound(text), {"image": (1, 3, 10, 10)})
    assert found.totals.peak_bytes == (4 + 4) * 400


# --- receptive fields --------------------------------------------------------------------------
def reached(model: Any, size: tuple[int, int], at: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the input pixels an output pixel depends on, by gradient."""
    x = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    y = model(x)
    y[0, :, at[0], at[1]].sum().backward()
    assert x.grad is not None
    rows, columns = (x.grad.abs().sum((0, 1)).sum(axis).nonzero()[:, 0] for axis in (1, 0))
    return (
        int(rows[0]), int(columns[0]),
        int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1),
    )  # fmt: skip


def field_of(text: str, size: tuple[int, int]) -> tuple[Any, Any, tuple[int, ...]]:
    checked = sound(text)
    row = table(checked, {"image": (1, 3, *size)}).rows[-1]
    assert row.size is not None
    return row.receptive_field, row.stride, row.size


def positive(text: str) -> Any:
    """The emitted network with positive weights, so that no gradient cancels."""
    model = network(emit(text))().double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.rand(p.shape, dtype=torch.float64) + 0.5)
    return model


FIELDS = {
    "one convolution": "a: {op: conv2d, out_channels: 2, kernel_size: [3, 5], padding: [1, 2]}",
    "a chain": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        b: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1, stride: 2}
        c: {op: conv2d, out_channels: 2, kernel_size: 5, padding: 2}
        """,
    "dilation": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 2, dilation: 2}
        b: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 4, dilation: 4}
        """,
    "mean pooling": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        b: {op: avg_pool2d, kernel_size: 4}
        c: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        """,
    "branches": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        b: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 3, dilation: 3}
        c: {op: conv2d, from: image, out_channels: 2, kernel_size: 5, padding: 2}
        d: {op: concat, from: [a, b, c]}
        """,
    "a residual block": """
        a: {op: conv2d, out_channels: 3, kernel_size: 3, padding: 1, stride: 2}
        b: {op: conv2d, out_channels: 3, kernel_size: 3, padding: 1}
        c: {op: add, from: [a, b]}
        """,
    "branches of different stride": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        b: {op: avg_pool2d, kernel_size: 2}
        c: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        d: {op: bed_of_nails, scale_factor: 2}
        e: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1}
        f: {op: add, from: [a, e]}
        """,
    "spatial pyramid pooling": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 1, stride: 2}
        b: {op: conv2d, from: a, out_channels: 2, kernel_size: 3, padding: 2, dilation: 2}
        c: {op: conv2d, from: a, out_channels: 2, kernel_size: 3, padding: 4, dilation: 4}
        d: {op: concat, from: [a, b, c]}
        """,
    "a crop": """
        a: {op: conv2d, out_channels: 2, kernel_size: 3, padding: 10}
        b: {op: crop, size: [20, 20], offset: [4, 7]}
        c: {op: conv2d, out_channels: 2, kernel_size: 3}
        """,
}  # fmt: skip


@pytest.mark.parametrize("layers", FIELDS.values(), ids=FIELDS)
def test_field_is_what_gradients_reach(layers: str) -> None:
    """Far from the border the union over all positions is the derived field; at one position it
    is never larger (different positions of an upsampling see different pixels)."""
    import textwrap

    text = spec(textwrap.dedent(layers))
    size = (64, 72)
    field, stride, out = field_of(text, size)
    model = positive(text)
    seen = []
    for step in range(4):
        row, column = out[2] // 2 + step, out[3] // 2 + step
        top, left, height, width = reached(model, size, (row, column))
        assert top > 0 and left > 0 and top + height < size[0] and left + width < size[1]
        assert height <= field[0] and width <= field[1]
        seen.append((height, width))
    assert max(h for h, _ in seen) == field[0]
    assert max(w for _, w in seen) == field[1]
    assert all(isinstance(s, (int, Fraction)) for s in stride)


@pytest.mark.parametrize("name", ["stride 4", "stride 1/2"])
def test_stride_is_how_far_the_field_moves(name: str) -> None:
    down = "a: {op: conv2d, out_channels: 2, kernel_size: 3, stride: 2, padding: 1}\n"
    down += "b: {op: avg_pool2d, kernel_size: 2}"
    up = "a: {op: conv_transpose2d, out_channels: 2, kernel_size: 2, stride: 2}"
    text = spec(down if name == "stride 4" else up)
    _, stride, out = field_of(text, (64, 64))
    model = positive(text)
    first = reached(model, (64, 64), (out[2] // 2, out[3] // 2))
    then = reached(model, (64, 64), (out[2] // 2 + 4, out[3] // 2))
    assert then[0] - first[0] == 4 * stride[0]


def test_field_of_the_whole_map() -> None:
    layers = "a: {op: adaptive_avg_pool2d, output_size: 1}\nb: {op: interpolate, like: image}"
    field, _, _ = field_of(spec(layers), (32, 32))
    assert field in ((None, None), (32, 32))


def test_field_of_unet_is_the_published() -> None:
    """The deepest layer of the valid U-Net sees 140 pixels (two 3x3 convolutions a level)."""
    checked = sound(str(SPECS / "unet.yaml"), padding=0)
    rows = {r.node.name: r for r in table(checked, {"image": (1, 3, 572, 572)}).rows}
    size, jump = 1, 1
    for level in range(5):
        size, jump = (size + jump, jump * 2) if level else (size, jump)
        size += 2 * 2 * jump
    assert rows["bridge.relu2"].receptive_field == (size, size) == (140, 140)
    assert rows["bridge.relu2"].stride == (16, 16)
    assert rows["logits"].size == (1, 2, 388, 388)
    assert rows["logits"].stride == (1, 1)
