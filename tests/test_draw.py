"""What a picture shows: the right items, numbers and places, for the sample networks."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from draw_kit import ATTENTION, PYRAMID, SAMPLES, network, spec

from segc.analyse import reference_sizes, shapes, table
from segc.diag import Fail
from segc.draw import Drawing, draw
from segc.draw.audit import audit, crossings
from segc.draw.facts import gather
from segc.draw.scene import Scene
from segc.draw.theme import LEGEND, paint_name
from segc.ir import Ref
from segc.summary import facts


def texts(scene: Scene) -> list[str]:
    return [label.text for label in scene.labels]


def place(drawing: Drawing, name: str) -> tuple[float, float]:
    shape = next(s for s in drawing.scene.shapes if s.id == name)
    return shape.cx, shape.cy


# --- acceptance: every sample is a clean slide --------------------------------------------------
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_fit_a_slide(name: str, theme: str) -> None:
    scene = draw(spec(name), theme=theme).scene
    assert scene.layout == "lanes"
    assert (scene.width, scene.height) == (1280, 720)
    assert audit(scene) == []
    assert crossings(scene) == 0
    assert min(label.size for label in (*scene.labels, *scene.legend_labels)) >= 11.5


@pytest.mark.parametrize("level", ["system", "block", "layer"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_level_is_clean(name: str, level: str) -> None:
    drawing = draw(spec(name), level=level)
    assert audit(drawing.scene) == []
    if level == "system":
        assert 3 <= len(drawing.view.items) <= 7


@pytest.mark.parametrize("name", SAMPLES)
def test_every_item_and_link_is_drawn_once(name: str) -> None:
    drawing = draw(spec(name))
    ids = re.findall(r' data-id="([^"]*)"', drawing.svg())
    wanted = [item.id for item in drawing.view.items]
    assert sorted(i for i in ids if "-&gt;" not in i) == sorted(wanted)
    assert len(ids) - len(wanted) == len(drawing.view.links)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_shape_is_written(name: str) -> None:
    drawing = draw(spec(name))
    written = texts(drawing.scene)
    for item in drawing.view.items:
        assert item.shape in written, item.id


@pytest.mark.parametrize("name", SAMPLES)
def test_legend_tells_what_is_present(name: str) -> None:
    drawing = draw(spec(name))
    words = [label.text for label in drawing.scene.legend_labels]
    present = {paint_name(s.family) for s in drawing.scene.shapes}
    for family, word in LEGEND.items():
        assert (word in words) == (family in present)
    for kind, word in (("index", "pooling indices"), ("skip", "skip"), ("train", "training only")):
        assert (word in words) == any(w.kind == kind for w in drawing.scene.wires)


# --- acceptance: every number is the compiler's -------------------------------------------------
@pytest.mark.parametrize("name", SAMPLES)
def test_numbers_are_the_compilers(name: str) -> None:
    checked = spec(name)
    drawing = draw(checked)
    sizes = drawing.facts.sizes
    known = shapes(checked, {"N": 1, "H": sizes["image"][2], "W": sizes["image"][3]})
    for item in drawing.view.items:
        if item.members:
            c, h, w = known[Ref(item.members[-1])][1:]
            assert item.shape == (f"{c} × {h}²" if h == w else f"{c} × {h} × {w}")
    count = f"{table(checked).totals.params:,} parameters"
    assert count in drawing.view.subtitle
    assert count in facts(checked, table(checked))[0]


def test_input_size_is_the_recipes_crop_or_what_is_asked() -> None:
    assert reference_sizes(spec("segnet")) == {"image": (1, 3, 360, 480)}
    asked = draw(spec("unet"), sizes={"image": (1, 3, 64, 96)})
    assert "input 3 × 64 × 96" in asked.view.subtitle
    with pytest.raises(Fail) as refused:
        draw(spec("unet"), sizes={"image": (1, 3, 65, 64)})
    assert refused.value.diagnostics[0].code == "SEG213"


def test_input_sizes_that_depend_on_each_other_are_found() -> None:
    checked = network(
        "segc: 1\nmodel: Tied\ninputs: {a: [N, 3, H, W], b: [N, 3, P, Q]}\nlayers:\n"
        "  c: {op: conv2d, from: a, out_channels: 3, kernel_size: 3}\n"
        "  d: {op: max_pool2d, from: b, kernel_size: 2}\n"
        "  add: {op: add, from: [c, d]}\noutputs: {y: add}\n"
    )
    _, _, h, w = reference_sizes(checked)["a"]
    _, _, p, q = reference_sizes(checked)["b"]
    assert h - 2 == p // 2 and w - 2 == q // 2


# --- acceptance: the networks look as their papers draw them ------------------------------------
def test_a_unet_is_a_u() -> None:
    drawing = draw(spec("unet"))
    down = [place(drawing, f"enc{i}") for i in (1, 2, 3, 4)] + [place(drawing, "bridge")]
    up = [place(drawing, "bridge")] + [place(drawing, f"dec{i}.conv") for i in (4, 3, 2, 1)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(down))
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(up))
    for i in (1, 2, 3, 4):
        assert place(drawing, f"enc{i}")[1] == place(drawing, f"dec{i}.conv")[1]
        skip = next(w for w in drawing.scene.wires if w.src == f"enc{i}" and w.kind == "skip")
        assert skip.dst == f"dec{i}.concat" and len(skip.points) == 2
    names = {item.id: item.name for item in drawing.view.items}
    assert names["dec1.conv"] == "dec1" and names["pool1"] == "max 2×2"
    assert names["dec1.upconv"] == "up-conv ×2"


def test_equal_crops_vanish_and_others_name_the_line() -> None:
    padded, valid = draw(spec("unet")), draw(spec("unet", padding=0))
    assert [x.label.split()[0] for x in padded.view.links if x.kind == "skip"] == ["copy"] * 4
    assert [x.label.split()[0] for x in valid.view.links if x.kind == "skip"] == ["crop"] * 4
    assert not [i for i in (*padded.view.items, *valid.view.items) if i.name == "crop"]
    assert audit(valid.scene) == []


def test_segnet_passes_indices_and_nothing_else() -> None:
    drawing = draw(spec("segnet"))
    passed = [(w.src, w.dst) for w in drawing.scene.wires if w.kind == "index"]
    assert sorted(passed) == [(f"pool{i}", f"upsample{i}") for i in (1, 2, 3, 4, 5)]
    assert not [w for w in drawing.scene.wires if w.kind == "skip"]
    names = [item.name for item in drawing.view.items]
    assert "conv3" in names and "conv3_D" in names
    detail = {item.name: item.detail for item in drawing.view.items}
    assert detail["conv3"] == "3 × [conv 3×3 · BN · ReLU]"


def test_fcn_fuses_scores_of_two_poolings() -> None:
    drawing = draw(spec("fcn8s"))
    family = {item.id: item.family for item in drawing.view.items}
    assert [k for k, v in family.items() if v == "predict"] == [
        "score_fr", "score_pool4", "score_pool3", "output logits",
    ]  # fmt: skip
    skips = {(w.src, w.dst) for w in drawing.scene.wires if w.kind == "skip"}
    assert skips == {("pool4", "score_pool4"), ("pool3", "score_pool3")}
    assert {i.stride for i in drawing.view.items if i.id.startswith("fc")} == {32}


def test_deeplab_counts_repeats_names_rates_and_stacks_branches() -> None:
    drawing = draw(spec("deeplab"))
    items = {item.id: item for item in drawing.view.items}
    assert [items[f"backbone.layer{i}"].count for i in (1, 2, 3, 4)] == [3, 4, 6, 3]
    assert "layer3 × 6" in texts(drawing.scene)
    assert next(s.cards for s in drawing.scene.shapes if s.id == "backbone.layer3") == 2
    for item in items.values():
        assert (item.family == "dilated") == ("rate" in item.detail), item.id
    (fan,) = drawing.view.fans
    assert [items[b].name for b in fan.branches] == [
        "conv1x1", "atrous1", "atrous2", "atrous3", "pooling",
    ]  # fmt: skip
    assert [items[b].detail for b in fan.branches][2].startswith("conv 3×3, rate 12")
    assert "aspp" in texts(drawing.scene)


def test_rows_are_output_strides() -> None:
    for output_stride, deepest in ((16, 16), (8, 8)):
        view = draw(spec("deeplab", output_stride=output_stride)).view
        strides = {item.id: item.stride for item in view.items}
        assert strides["backbone.layer4"] == deepest and max(strides.values()) == deepest
        assert strides["aspp.pooling"] == deepest and strides["low"] == 4
    assert [x.text for x in draw(spec("fcn8s")).scene.labels if x.size == 17] == [
        "1/1", "1/2", "1/4", "1/8", "1/16", "1/32",
    ]  # fmt: skip


def test_training_only_parts_are_dashed_and_said() -> None:
    drawing = draw(network(PYRAMID))
    aux = next(s for s in drawing.scene.shapes if s.id == "aux")
    assert aux.dashed and "training only" in texts(drawing.scene)
    assert [w.dst for w in drawing.scene.wires if w.kind == "train"] == ["aux"]
    assert audit(drawing.scene) == []


def test_a_value_that_passes_by_the_branches_is_a_branch() -> None:
    drawing = draw(network(PYRAMID))
    (fan,) = drawing.view.fans
    assert fan.branches == ("p1", "p2", "p3", "concat identity")
    assert {i.family for i in drawing.view.items if i.id in ("p1", "p2", "p3")} == {"context"}


def test_pooled_branches_end_where_they_are_enlarged() -> None:
    """PSPNet's pooled maps live in a block of their own and are enlarged outside of it."""
    drawing = draw(spec("pspnet50"))
    assert drawing.scene.layout == "lanes"
    (fan,) = drawing.view.fans
    assert fan.title == "ppm" and len(fan.branches) == 5
    items = [drawing.view.by_id[branch] for branch in fan.branches]
    pooled = [f"features.{i}" for i in range(4)]
    assert [item.name for item in items] == [*pooled, "identity"]
    assert [item.detail.split(" · ")[0] for item in items[:4]] == [
        f"avg pool to {n}×{n}" for n in (1, 2, 3, 6)
    ]
    assert all(item.detail.endswith("bilinear to x") for item in items[:4])
    (fan,) = draw(spec("deeplabv3_resnet50")).view.fans
    assert fan.title == "classifier.0" and len(fan.branches) == 5


def test_strides_survive_a_global_pooling() -> None:
    view = draw(network(ATTENTION)).view
    strides = {item.id: item.stride for item in view.items}
    assert [strides[n] for n in ("gate1", "conv2", "gate2", "conv3")] == [1, 2, 2, 4]


# --- levels -------------------------------------------------------------------------------------
def test_layer_level_shows_every_layer_once() -> None:
    drawing = draw(spec("unet"), level="layer")
    shown = [m for item in drawing.view.items for m in item.members]
    absent = {f"dec{i}.crop" for i in (1, 2, 3, 4)}
    assert sorted(shown) == sorted({n.name for n in spec("unet").graph.nodes} - absent)


def test_layer_level_draws_equal_members_once_and_counts_them() -> None:
    drawing = draw(spec("deeplab"), level="layer")
    counted = {k: v for k, v in drawing.view.copies.items() if v > 1}
    assert counted == {f"backbone.layer{i}.1": n for i, n in ((1, 2), (2, 3), (3, 5), (4, 2))}
    assert "layer3.1 × 5" in texts(drawing.scene)


def test_expand_and_fold() -> None:
    plain = draw(spec("deeplab"))
    opened = draw(spec("deeplab"), expand=["backbone.layer3"])
    assert [i.count for i in opened.view.items if i.scope == "backbone.layer3"] == [1, 5]
    folded = draw(spec("deeplab"), fold=["aspp"])
    assert [i.detail.split(",")[0] for i in folded.view.items if i.id == "aspp"] == ["aspp"]
    assert len(folded.view.items) < len(plain.view.items) < len(opened.view.items)
    assert audit(opened.scene) == [] and audit(folded.scene) == []


@pytest.mark.parametrize("option", ["expand", "fold"])
def test_an_unknown_block_is_named(option: str) -> None:
    with pytest.raises(Fail) as refused:
        draw(spec("deeplab"), **{option: ["backbone.layer5"]})
    (fault,) = refused.value.diagnostics
    assert fault.code == "SEG404" and "backbone.layer5" in fault.message
    assert fault.hint is not None and "backbone.layer" in fault.hint


def test_system_level_adds_up() -> None:
    for name in SAMPLES:
        drawing = draw(spec(name), level="system")
        counts = [int(i.detail.split()[0].replace(",", "")) for i in drawing.view.items if i.detail]
        assert sum(counts) == table(spec(name)).totals.params


def test_a_sample_takes_milliseconds() -> None:
    facts_of = gather(spec("deeplab"))

    def once() -> float:
        start = time.process_time()
        Drawing(facts_of, "block", "light").svg()
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.1
