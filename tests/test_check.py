"""Types and sizes of a whole network: what is accepted, what is refused, and where it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from emit_kit import emit, network
from spec_kit import check, fault, faults, pointed, shape, sound, spec

from segc.check import verify
from segc.diag import Report
from segc.ir import Ref
from segc.read import read
from segc.source import Source
from segc.types import Index

SPECS = Path(__file__).parent.parent / "specs"
UNET = (SPECS / "unet.yaml").read_text(encoding="utf-8")
CONV = "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"


# --- accepted sizes ----------------------------------------------------------------------------
def described(text: str, **params: object) -> tuple[str, ...]:
    return sound(text, **params).domain.constraints()


def test_unet_padded_and_valid() -> None:
    assert described(UNET) == ("H % 16 == 0", "W % 16 == 0")
    domain = sound(UNET, padding=0).domain
    assert domain.inside("H", 4) == [188, 204, 220, 236]
    assert "(188, 204, 220, …)" in domain.describe("H")


PYRAMID = """
stem: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
pool: {op: max_pool2d, kernel_size: 3, stride: 2, padding: 1}
body: {op: conv2d, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
up: {op: interpolate, grow: 8, mode: bilinear, align_corners: true}
logits: {op: add, from: [up, image]}
"""


def test_heads_that_interpolate_between_corners() -> None:
    """PSPNet's rule, (H - 1) % 8 == 0, from the geometry alone."""
    text = spec(PYRAMID, inputs="inputs: {image: [N, 4, H, W]}\n")
    assert described(text) == ("(H - 1) % 8 == 0", "(W - 1) % 8 == 0")


@pytest.mark.parametrize("padding", [0, 1])
def test_accepted_sizes_are_those_torch_computes(padding: int) -> None:
    """U-Net of width 1 on the meta device, all heights up to 250."""
    checked = sound(UNET, padding=padding, width=1)
    with torch.device("meta"):
        model = network(emit(UNET, padding=padding, width=1))()

    def runs(height: int) -> bool:
        try:
            y = model(
                torch.empty(1, 3, height, 256 - 16 * padding - 4 * (1 - padding), device="meta")
            )
        except (RuntimeError, ValueError):
            return False
        # a centred crop of an odd difference runs in torch, but is half a pixel off
        return y.shape[2] == (height if padding else height - 184)

    width = 240 if padding else 252
    accepted = [h for h in range(1, 251) if checked.domain.contains({"N": 1, "H": h, "W": width})]
    if padding:
        assert accepted == [h for h in range(1, 251) if runs(h)]
    else:
        assert accepted == [188, 204, 220, 236]
        assert all(runs(h) for h in accepted)


@pytest.mark.parametrize("name", ["unet", "segnet_basic", "fcn32s", "deeplab"])
def test_symbolic_and_fixed_inputs_agree(name: str) -> None:
    """The same network with the size written in the spec: accepted or refused alike, and every
    shape the same number."""
    from segc.analyse import bind, shapes

    text = (SPECS / f"{name}.yaml").read_text(encoding="utf-8")
    text = text.partition("\nrecipe:")[0] + "\n"
    symbolic, found = check(text.replace("[N, ", "[1, "), file=str(SPECS / "x.yaml"))
    assert symbolic is not None and found == []
    for size in (32, 33, 47, 64, 65, 188):
        fixed = text.replace("[N, ", "[1, ").replace("H, W]", f"{size}, {size}]")
        concrete, refused = check(fixed, file=str(SPECS / "x.yaml"))
        assert concrete is not None
        accepted = symbolic.domain.contains({"H": size, "W": size})
        assert accepted == (refused == []), (size, refused)
        if accepted:
            env = bind(symbolic, {"image": (1, 3, size, size)})
            assert shapes(symbolic, env) == {r: t.shape for r, t in concrete.types.items()}


# --- joins -------------------------------------------------------------------------------------
def unet(**changes: str) -> str:
    text = UNET
    for name, inputs in changes.items():
        line = next(row for row in text.splitlines() if row.startswith(f"  {name}:"))
        before, _, rest = line.partition("from: [")
        text = text.replace(line, f"{before}from: [{inputs}]{rest.partition(']')[2]}")
    return text


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("layer", "inputs", "wrong", "right"),
    [
        ("dec3", "dec4, enc2", "enc2", "enc3"),
        ("dec3", "dec4, enc1", "enc1", "enc3"),
        ("dec2", "dec3, enc1", "enc1", "enc2"),
        ("dec1", "dec2, enc2", "enc2", "enc1"),
        ("dec4", "bridge, enc3", "enc3", "enc4"),
    ],
)
def test_a_skip_from_the_wrong_scale(
    layer: str, inputs: str, wrong: str, right: str, padding: int
) -> None:
    """Shown where the skip is chosen, with the layer that has the right scale."""
    text = unet(**{layer: inputs})
    d = fault(text, "SEG203", f"`{layer}.crop`", "the scales differ", padding=padding)
    assert pointed(d, text) == wrong
    assert d.hint == f"`{right}` would fit: did you mean that?"
    assert d.notes[0].text == f"`{layer}.crop` reads it here"


def test_operands_of_a_join_are_named_with_their_sizes() -> None:
    layers = f"a: {CONV}\np: {{op: max_pool2d, kernel_size: 2}}\nj: {{op: concat, from: [a, p]}}"
    d = fault(spec(layers), "SEG203")
    texts = [n.text for n in d.notes]
    assert texts[:2] == ["`a` is 4 x H x W", "`p` is 4 x floor(H / 2) x floor(W / 2)"]
    assert texts[2:] == ["layers above accept only H >= 2, W >= 2"]
    assert [n.loc.line if n.loc else 0 for n in d.notes] == [5, 6, 0]


def test_channels_that_do_not_add_up() -> None:
    layers = f"a: {CONV}\nj: {{op: add, from: [a, image]}}"
    d = fault(spec(layers), "SEG203", "add joins maps of 4 channels and 3 channels")
    assert d.hint is not None and "conv2d` makes them agree" in d.hint


def test_sizes_before_channels() -> None:
    """Of two reasons the one that no 1x1 convolution cures."""
    layers = (
        "p: {op: max_pool2d, kernel_size: 2}\na: {op: conv2d, out_channels: 4, kernel_size: 1}\n"
    )
    fault(spec(layers + "j: {op: add, from: [a, image]}"), "SEG203", "maps of different size")


def test_one_mistake_is_one_message() -> None:
    """What follows a layer at fault is silent, and so are its other uses."""
    layers = f"""
    a: {CONV}
    b: {{op: conv2d, out_channels: 6, kernel_size: 3, groups: 4}}
    c: relu
    d: {{op: add, from: [c, a]}}
    e: {{op: max_pool2d, kernel_size: 2}}
    """
    fault(spec(layers), "SEG202", "6 output channels do not divide into 4 groups")


BLOCK = """\
blocks:
  mix:
    inputs: [x, y]
    layers:
      small: {op: max_pool2d, from: x, kernel_size: 2}
      join: {op: add, from: [small, y]}
"""


def test_a_block_that_is_wrong_in_every_use_is_told_once() -> None:
    layers = "\n".join(f"m{i}: {{block: mix, from: [image, image]}}" for i in range(3))
    text = spec(layers, before=BLOCK, output="s").replace(
        "outputs", "  s: {op: concat, from: [m0, m1, m2]}\noutputs"
    )
    d = fault(text, "SEG203", "the same in 2 more uses of the block")
    assert d.loc is not None and text.splitlines()[d.loc.line - 1].strip().startswith("join:")


def test_a_block_that_is_wrong_in_one_use_is_shown_there() -> None:
    layers = """
    p: {op: max_pool2d, kernel_size: 2}
    m0: {block: mix, from: [image, p]}
    m1: {block: mix, from: [image, image]}
    """
    text = spec(layers, before=BLOCK).replace("{y: m1}", "{y: m1, z: m0}")
    d = fault(text, "SEG203", "`p` would fit")
    assert d.loc is not None
    assert text.splitlines()[d.loc.line - 1].strip().startswith("m1:")
    assert pointed(d, text) == "m1"  # it is given the image twice, so which one is not said


def test_demands_no_size_meets_together() -> None:
    """Even for one join, odd for the other."""
    layers = """
    small: {op: max_pool2d, kernel_size: 2}
    up: {op: interpolate, scale_factor: 2}
    even: {op: add, from: [up, image]}
    cut: {op: conv2d, from: image, out_channels: 3, kernel_size: 2}
    halved: {op: max_pool2d, kernel_size: 2}
    twice: {op: interpolate, scale_factor: 2}
    odd: {op: add, from: [twice, cut]}
    out: {op: crop, from: even, like: odd}
    both: {op: add, from: [odd, out]}
    """
    d = fault(spec(layers), "SEG209", "`odd`: add joins maps of different size")
    assert "with all sizes that the layers above accept" in d.message
    assert any("H % 2 == 0" in n.text for n in d.notes)


def test_reasons_say_which_layer_demands_what() -> None:
    checked = sound(UNET)
    assert [r.node for r in checked.reasons if "margins" in r.text][:1] == ["dec4.crop"]
    assert all(r.loc.line for r in checked.reasons)


@pytest.mark.parametrize(
    ("inputs", "code", "hint"),
    [
        ("[1, 3, 33, 64]", "SEG203", "input sizes that fit: 32 or 34 instead of 33"),
        ("[N, 3, 33, W]", "SEG203", "input sizes that fit: 32 or 34 instead of 33"),
        ("[1, 3, 33, 35]", "SEG203", "32 or 34 instead of 33, 34 or 36 instead of 35"),
        ("[1, 3, 1, 64]", "SEG205", "2 instead of 1"),
    ],
)
def test_a_fixed_size_that_does_not_fit(inputs: str, code: str, hint: str) -> None:
    layers = """
    pool: {op: max_pool2d, kernel_size: 2}
    up: {op: interpolate, scale_factor: 2}
    join: {op: add, from: [image, up]}
    """
    d = fault(spec(layers, inputs=f"inputs: {{image: {inputs}}}\n"), code)
    assert d.hint is not None and hint in d.hint


# --- kinds of values ---------------------------------------------------------------------------
POOL = "p: {op: max_pool2d, kernel_size: 2, return_indices: true}\n"


def test_indices_are_typed_to_their_pool() -> None:
    checked = sound(spec(POOL + "u: {op: max_unpool2d, from: [p, p.indices], size: p.input}"))
    indices = checked.types[Ref("p", "indices")]
    assert isinstance(indices, Index) and indices.pool == "p"
    assert shape(checked, "u") == "N x 3 x H x W"


@pytest.mark.parametrize(
    ("layers", "code", "words"),
    [
        (POOL + "c: {op: add, from: [p, p.indices]}", "SEG206", "indices of `p`"),
        (POOL + "u: {op: max_unpool2d, from: [p, p]}", "SEG208", "`from: [x, pool1.indices]`"),
        (POOL + "u: {op: max_unpool2d, from: [p.indices, p.indices]}", "SEG206", "`p`"),
        (POOL + "q: {op: max_pool2d, kernel_size: 2}\n"
         "u: {op: max_unpool2d, from: [q, p.indices]}", "SEG207", "the indices of p"),
        ("f: flatten\nc: {op: conv2d, out_channels: 2, kernel_size: 1}", "SEG201", "`c`"),
    ],
)  # fmt: skip
def test_kinds_at_fault(layers: str, code: str, words: str) -> None:
    fault(spec(layers), code, words)


# --- what nobody reads -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layers", "output", "what"),
    [
        ("a: relu\nb: {op: tanh, from: image}", "b", "`a`"),
        ("g: {layers: {c: tanh, r: relu}}\nb: {op: tanh, from: image}", "b", "`g`"),
        ("g: {repeat: 3, layers: {r: relu}}\nb: {op: tanh, from: image}", "b", "`g`"),
        ("g: {layers: {c: tanh, r: {op: relu, from: image}}}", "g", "`g.c`"),
        (
            POOL + "q: {op: max_unpool2d, from: [p, p.indices]}\nb: {op: tanh, from: image}",
            "b",
            "`q`",
        ),
    ],
)
def test_unread_layers(layers: str, output: str, what: str) -> None:
    fault(spec(layers, output=output), "SEG304", f"nothing reads {what}")


def test_unread_inputs() -> None:
    text = spec("a: relu", inputs="inputs: {image: [N, 3, H, W], depth: [N, 1, H, W]}\n")
    d = fault(text, "SEG304", "nothing reads the input `depth`")
    assert pointed(d, text) == "depth"


def test_read_in_any_way_is_read() -> None:
    layers = (
        POOL
        + "u: {op: max_unpool2d, from: [p, p.indices], size: image}\ns: {op: crop, like: image}"
    )
    sound(spec(layers))


# --- sizes beyond all machines -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("{op: conv2d, out_channels: 10 ** 9, kernel_size: 99}", "29,404,000,000,000 parameters"),
        ("{op: conv2d, out_channels: 2 ** 41, kernel_size: 1, bias: false}", "the limit is 2^40"),
        ("{op: conv2d, out_channels: 3, kernel_size: 3, padding: 10 ** 6}", "the smallest input"),
        ("{op: max_pool2d, kernel_size: 10 ** 6}", "accepts no `image` of less than 2^40"),
        ("{op: interpolate, scale_factor: 10 ** 9}", "the smallest input"),
        ("{op: interpolate, size: [2 ** 20, 2 ** 20]}", "the limit is 2^40"),
    ],
)
def test_too_large(layer: str, words: str) -> None:
    fault(spec(f"a: {layer}"), "SEG313", words)


def test_too_large_together() -> None:
    """No layer alone passes the limit on parameters, all of them do."""
    layer = "{op: conv2d, out_channels: 10 ** 5, kernel_size: 3, padding: 1}"
    first = f"a: {layer}\n"
    more = "\n".join(f"b{i}: {layer}" for i in range(13))
    d = fault(spec(first + more), "SEG313", "parameters, the limit is 2^40")
    assert "`b12`" in d.message


def test_large_but_possible() -> None:
    sound(spec("a: {op: conv2d, out_channels: 10 ** 5, kernel_size: 3}"))
    sound(spec("a: {op: max_pool2d, kernel_size: 10 ** 5}"))


# --- parameters --------------------------------------------------------------------------------
def test_parameters_are_those_of_torch() -> None:
    for name in ("unet", "segnet_basic"):
        text = (SPECS / f"{name}.yaml").read_text(encoding="utf-8")
        checked = sound(text)
        with torch.device("meta"):
            model = network(emit(text))()
        counted: dict[str, int] = {}
        for key, tensor in model.named_parameters():
            layer = key.rpartition(".")[0]
            counted[layer] = counted.get(layer, 0) + tensor.numel()
        assert {n: c for n, c in checked.params.items() if c} == counted


def test_a_graph_without_outputs() -> None:
    report = Report()
    graph = read(Source.from_text(spec("a: relu").replace("{y: a}", "{}"), "x.yaml"), {}, report)
    assert graph is not None
    verify(graph, report)
    assert [d.code for d in report.diagnostics] == ["SEG309"]


def test_notes_never_name_what_is_not_there() -> None:
    """Every note's place is a line of the file."""
    for text in (unet(dec3="dec4, enc2"), spec("a: {op: conv2d, out_channels: 2, kernel_size: 9}",
                 inputs="inputs: {image: [1, 3, 4, 4]}\n")):  # fmt: skip
        for d in faults(text):
            for n in d.notes:
                assert n.loc is None or 1 <= n.loc.line <= len(text.splitlines())
