"""Rules that remove what changes nothing: dropouts, identities, duplicates, cuts before crops."""

from __future__ import annotations

from random import Random

import pytest
from rules_kit import Case, compared, fired, image, layer_text, only, placed, proved, spec

DROPOUTS = ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout")
KEEPING = ("relu", "batch_norm2d", "{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}")


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropouts_go(name: str) -> None:
    def drawn(rng: Random) -> Case:
        drop = layer_text(name, p=rng.choice((None, 0.1, 0.9)))
        chain = [rng.choice((drop, *KEEPING)) for _ in range(rng.randint(1, 3))]
        chain.insert(rng.randint(0, len(chain)), drop)
        layers, out = placed(rng, chain)
        return Case(layers, out, True)

    assert proved("drop_dropout", drawn, 70)["fired"] == 70


def test_no_dropout_is_left() -> None:
    layers = "\n".join(f"  part{n}: {name}" for n, name in enumerate(DROPOUTS))
    done, _ = compared(spec(f"{layers}\n  out: relu", "out"), only("drop_dropout"), [image(2, 3)])
    assert [n.name for n in done.checked.graph.nodes if not n.absent] == ["out"]


# --- layers that hand on what they read -------------------------------------------------------


def test_identities_go() -> None:
    """Crops to the own size, under every name the size may have, and the operator `identity`."""

    def drawn(rng: Random) -> Case:
        same = rng.choice(("a", "b", "image"))
        kinds = {
            "identity": "identity",
            "crop": layer_text("crop", like=same),
            "moved": layer_text("crop", size=(2, 2), offset=(rng.randint(0, 1), rng.randint(0, 1))),
            "center": f"{{op: center_crop, from: [mid, {same}]}}",
        }
        kind = rng.choice(list(kinds))
        window = rng.choice((1, 3))
        mid = layer_text("conv2d", out_channels=3, kernel_size=window, padding=window // 2)
        layers = f"  a: relu\n  b: {{op: sigmoid}}\n  mid: {mid}\n  out: {kinds[kind]}"
        tail = rng.choice(("", "\n  end: relu", "\n  end: {op: add, from: [out, mid]}"))
        if kind == "moved" and "add" in tail:
            tail = ""
        return Case(layers + tail, "end" if tail else "out", kind != "moved", ((3, 5), (4, 4)))

    assert proved("drop_identity", drawn, 150)["fired"] > 90


def test_a_crop_goes_where_the_accepted_sizes_make_it_one() -> None:
    """A U-Net's map is as large as its skip only where both halves are even, and others it
    refuses."""
    layers = """
  c: {op: conv2d, out_channels: 4, kernel_size: 1}
  down: {op: max_pool2d, kernel_size: 2}
  up: {op: conv_transpose2d, out_channels: 4, kernel_size: 2, stride: 2}
  cut: {op: crop, like: image}
  sum: {op: add, from: [cut, c]}"""
    done, error = compared(spec(layers, "sum"), only("drop_identity"), [image(4, 6), image(2, 2)])
    assert error == 0 and fired(done) == {"drop_identity": 1}


# --- equal layers -----------------------------------------------------------------------------

PLAIN = (
    "relu",
    "sigmoid",
    "{op: scale, value: 0.5}",
    "{op: leaky_relu, negative_slope: 0.2}",
    "{op: leaky_relu, negative_slope: 0.3}",
    "{op: max_pool2d, kernel_size: 3, stride: 1, padding: 1}",
    "{op: avg_pool2d, kernel_size: 3, stride: 1, padding: 1}",
    "{op: adaptive_avg_pool2d, output_size: 1}",
    "{op: interpolate, scale_factor: 2}",
)
WEIGHTS = ("batch_norm2d", "{op: conv2d, out_channels: 4, kernel_size: 1}", "prelu")


def test_duplicates_go() -> None:
    """Two chains over one input: as far as they are equal they become one."""

    def drawn(rng: Random) -> Case:
        kinds = [rng.choice(PLAIN + WEIGHTS) for _ in range(3)]
        others = [rng.choice((k, rng.choice(PLAIN))) for k in kinds]
        lines = [chained("a", kinds), chained("b", others)]
        layers = "\n".join((*lines, "  out: {op: concat, from: [a2, b2]}"))
        fires = kinds[0] == others[0] and kinds[0] in PLAIN
        return Case(layers, "out", fires, ((5, 7), (4, 4)))

    assert 40 < proved("drop_duplicate", drawn)["fired"] < 230


def chained(name: str, kinds: list[str]) -> str:
    """`name0`, `name1`, … over the image."""
    lines = []
    for n, kind in enumerate(kinds):
        body = kind if kind.startswith("{") else f"{{op: {kind}}}"
        source = "image" if n == 0 else f"{name}{n - 1}"
        lines.append(f"  {name}{n}: {body[:-1]}, from: {source}}}")
    return "\n".join(lines)


def test_operands_in_another_order_are_another_value() -> None:
    layers = """
  a: relu
  ab: {op: concat, from: [a, image]}
  ba: {op: concat, from: [image, a]}
  out: {op: add, from: [ab, ba]}"""
    done, error = compared(spec(layers, "out"), only("drop_duplicate"), [image(3, 4)])
    assert error == 0 and not done.fired


def test_a_duplicate_that_is_an_output_is_read_from_the_first() -> None:
    layers = "  a: relu\n  b: {op: relu, from: image}"
    done, error = compared(spec(layers, "a, z: b"), only("drop_duplicate"), [image(3, 4)])
    assert error == 0 and fired(done) == {"drop_duplicate": 1}
    assert {ref.node for ref in done.checked.graph.outputs.values()} == {"a"}


# --- cuts before crops --------------------------------------------------------------------------


def test_cuts_and_crops() -> None:
    def drawn(rng: Random) -> Case:
        low = rng.choice((-3, -3, -3, 1))
        padding = tuple(rng.randint(min(low, -1), max(low, 0)) for _ in range(4))
        offset = (rng.randint(0, 2), rng.randint(0, 2))
        mode = rng.choice((None, "constant", "reflect", "replicate"))
        cut = layer_text("pad", padding=padding, mode=mode)
        if rng.random() < 0.5:
            crop = layer_text("crop", size=(rng.randint(1, 3), rng.randint(1, 3)), offset=offset)
            lines = [f"cut: {cut}", f"out: {crop}"]
        else:
            small = "{op: pad, padding: -4}"
            crop = layer_text("crop", like="small", offset=offset)
            lines = [f"small: {small}", f"cut: {cut[:-1]}, from: image}}", f"out: {crop}"]
        if rng.random() < 0.3:
            lines.append("end: {op: concat, from: [out, again]}")
            lines.insert(-1, f"again: {crop[:-1]}, from: cut}}")
        layers = "\n".join(f"  {line}" for line in lines)
        fires = max(padding) <= 0
        return Case(layers, lines[-1].split(":")[0], fires, ((9, 11), (13, 10)))

    seen = proved("merge_crops", drawn)
    assert seen["fired"] > 100
    assert seen["`cut` adds pixels"] > 30


def test_a_merged_crop_still_reads_its_reference() -> None:
    layers = """
  small: {op: max_pool2d, kernel_size: 3, stride: 1}
  cut: {op: pad, padding: [-1, 0, 0, -1], from: image}
  out: {op: crop, like: small, offset: [1, 0]}"""
    done, error = compared(spec(layers, "out"), only("merge_crops"), [image(5, 7)])
    assert error == 0
    crop = done.checked.graph.by_name["out"]
    assert crop.op.values["offset"] == (1, 1)
    assert [r.node for r in crop.inputs] == ["image", "small"]
