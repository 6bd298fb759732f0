"""The layouts on any graph: nothing overlaps, no line runs through a box, judged by a raster."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from draw_kit import encoder_decoder, network, views
from hypothesis import HealthCheck, given, settings

from segc.draw import columns, draw, lanes
from segc.draw.audit import audit
from segc.draw.model import View
from segc.draw.scene import Label, Rect, Scene, Shape, Wire
from segc.draw.svg import write_svg

LOOSE = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def raster_faults(scene: Scene) -> list[str]:
    """Overlaps of shapes, and lines inside them, found by painting everything into pixels."""
    page = np.zeros((int(scene.height) + 1, int(scene.width) + 1), dtype=np.int32)
    faults = []
    for number, shape in enumerate(scene.shapes, 1):
        x0, y0, x1, y1 = (
            round(v) for v in (shape.x, shape.y, shape.x + shape.w, shape.y + shape.h)
        )
        if min(x0, y0) < 0 or x1 >= page.shape[1] or y1 >= page.shape[0]:
            faults.append(f"{shape.id} off the page")
        area = page[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
        if area.any():
            faults.append(f"{shape.id} overlaps")
        area[:] = number
    for wire in scene.wires:
        for (ax, ay), (bx, by) in pairwise(wire.points):
            ys = slice(round(min(ay, by)), round(max(ay, by)) + 1)
            xs = slice(round(min(ax, bx)), round(max(ax, bx)) + 1)
            inner = np.unique(page[ys, xs])
            if inner[inner > 0].size:
                faults.append(f"{wire.id} runs through {scene.shapes[inner[-1] - 1].id}")
    return faults


@given(views())
@LOOSE
def test_columns_take_any_graph(view: View) -> None:
    scene = columns.lay_out(view, "light")
    assert audit(scene) == []
    assert raster_faults(scene) == []
    assert len(scene.shapes) == len(view.items) and len(scene.wires) == len(view.links)


@given(views(14))
@LOOSE
def test_lanes_are_clean_or_give_up(view: View) -> None:
    scene = lanes.lay_out(view, "light")
    if scene is not None:
        assert raster_faults(scene) == []
        assert len(scene.shapes) == len(view.items) and len(scene.wires) == len(view.links)


@pytest.mark.parametrize(
    ("depth", "boxes"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (1, 2), (2, 2), (3, 2)]
)
def test_lanes_take_encoder_decoders(depth: int, boxes: int) -> None:
    scene = lanes.lay_out(encoder_decoder(depth, boxes), "light")
    assert scene is not None and audit(scene) == [] and raster_faults(scene) == []


def test_lanes_give_up_on_what_does_not_fit() -> None:
    assert lanes.lay_out(encoder_decoder(7, 1), "light") is None  # eight lanes
    assert lanes.lay_out(encoder_decoder(5, 6), "light") is None  # more than sixty items


def test_two_hundred_items_take_less_than_a_tenth_of_a_second() -> None:
    view = encoder_decoder(6, 15)
    assert 190 < len(view.items) < 230

    def once() -> float:
        start = time.process_time()
        write_svg(lanes.lay_out(view, "light") or columns.lay_out(view, "light"))
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.1


def test_a_huge_graph_is_drawn_coarsely() -> None:
    layers = "".join(f"  c{i}: {{op: add, from: [c{i - 1}, c{i // 2}]}}\n" for i in range(2, 2000))
    text = (
        "segc: 1\nmodel: Huge\ninputs: {image: [N, 3, H, W]}\nlayers:\n"
        "  c0: {op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}\n"
        f"  c1: {{op: conv2d, out_channels: 4, kernel_size: 3, padding: 1}}\n{layers}"
        "outputs: {y: c1999}\n"
    )
    checked = network(text)
    start = time.process_time()
    drawing = draw(checked)
    assert len(drawing.scene.shapes) < 8 and audit(drawing.scene) == []
    assert drawing.dot().count("[label=") > 4000
    assert time.process_time() - start < 5


# --- the audit itself: each kind of fault, planted, is found ------------------------------------
def clean() -> Scene:
    scene = lanes.lay_out(encoder_decoder(2, 1), "light")
    assert scene is not None and audit(scene) == []
    return scene


def moved(scene: Scene, name: str, **changes: float) -> Scene:
    shapes = tuple(replace(s, **changes) if s.id == name else s for s in scene.shapes)
    return replace(scene, shapes=shapes)


def test_the_audit_finds_shapes_on_shapes() -> None:
    scene = clean()
    other = next(s for s in scene.shapes if s.id == "enc0_0")
    assert any("overlaps" in f for f in audit(moved(scene, "cat0", x=other.x, y=other.y)))


def test_the_audit_finds_shapes_off_the_page() -> None:
    assert any("leaves the page" in f for f in audit(moved(clean(), "image", x=5)))


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        (Label(300, 48, "far too long for the box it is in" * 3, 15, host="enc0_0"), "overflows"),
        (Label(300, 300, "tiny", 9), "smaller"),
        (Label(45, 48, "on the title", 15), "overlaps"),
        (Label(1270, 300, "beyond", 15), "leaves the page"),
    ],
)
def test_the_audit_finds_bad_text(label: Label, fault: str) -> None:
    scene = clean()
    assert any(fault in f for f in audit(replace(scene, labels=(*scene.labels, label))))


def test_the_audit_finds_text_on_shapes_and_lines() -> None:
    scene = clean()
    box = next(s for s in scene.shapes if s.id == "enc0_0")
    label = Label(box.x + 2, box.y + 14, "stray", 12)
    assert any("lies on enc0_0" in f for f in audit(replace(scene, labels=(label,))))
    skip = next(w for w in scene.wires if w.kind == "skip")
    (x, y), _ = skip.points
    label = Label(x + 40, y + 4, "struck", 12)
    assert any("lies on the line" in f for f in audit(replace(scene, labels=(label,))))


def test_the_audit_finds_lines_through_boxes_slanted_and_shared() -> None:
    scene = clean()
    box: Shape = next(s for s in scene.shapes if s.id == "enc1_0")
    through = Wire("w", "image", "cat0", "flow", ((box.x - 20, box.cy), (box.x + 300, box.cy)))
    assert any("runs through enc1_0" in f for f in audit(replace(scene, wires=(through,))))
    slanted = Wire("w", "image", "cat0", "flow", ((100, 600), (140, 640)))
    assert any("slanted" in f for f in audit(replace(scene, wires=(slanted,))))
    one = Wire("one", "a", "b", "flow", ((700, 640), (900, 640)))
    two = Wire("two", "c", "d", "flow", ((800, 641), (1000, 641)))
    assert any("lie on each other" in f for f in audit(replace(scene, wires=(one, two))))


def test_rectangles() -> None:
    a = Rect(0, 0, 10, 10)
    assert a.meets(Rect(5, 5, 6, 6)) and not a.meets(Rect(10, 0, 20, 10))
    assert Rect(1, 1, 2, 2).inside(a) and not Rect(1, 1, 11, 2).inside(a)
