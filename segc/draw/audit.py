"""Faults of a placed picture: what must never be seen, checked on the scene itself.

The layouts use it to choose (the first clean picture wins), the tests to prove.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

from segc.draw.page import MARGIN
from segc.draw.scene import Rect, Scene

FLOOR = 11.5  # smallest font size, px


def audit(scene: Scene) -> list[str]:
    """Every fault, in words; empty for a clean picture."""
    return [*_boxes(scene), *_texts(scene), *_wires(scene), *_margins(scene)]


def _boxes(scene: Scene) -> Iterator[str]:
    ordered = sorted((s for s in (*scene.shapes, *scene.legend_shapes)), key=lambda s: s.y)
    for a, b in _near(ordered):
        if a.body.meets(b.body):
            yield f"{a.id} overlaps {b.id}"


def _near(ordered: list) -> Iterator[tuple]:  # type: ignore[type-arg]
    """Pairs of shapes, sorted by their top, that overlap in height."""
    for i, a in enumerate(ordered):
        for b in ordered[i + 1 :]:
            if b.y >= a.body.y1:
                break
            yield a, b


def _texts(scene: Scene) -> Iterator[str]:
    shapes = {s.id: s for s in scene.shapes}
    labels = (*scene.labels, *scene.legend_labels)
    for label in labels:
        if label.size < FLOOR:
            yield f"text {label.text!r} is smaller than {FLOOR} px"
        if label.host and not label.rect.inside(shapes[label.host].rect):
            yield f"text {label.text!r} overflows {label.host}"
    free = [label for label in labels if not label.host]
    for label in free:
        rect = label.rect
        for shape in scene.shapes:
            if rect.meets(shape.body):
                yield f"text {label.text!r} lies on {shape.id}"
        for wire in scene.wires:
            if any(rect.meets(_segment(p, q)) for p, q in pairwise(wire.points)):
                yield f"text {label.text!r} lies on the line {wire.id}"
    yield from _text_pairs(scene)


def _text_pairs(scene: Scene) -> Iterator[str]:
    rects = sorted(
        ((label.rect, label.text) for label in (*scene.labels, *scene.legend_labels)),
        key=lambda pair: (pair[0].y0, pair[0].x0),
    )
    for i, (a, text) in enumerate(rects):
        for b, other in rects[i + 1 :]:
            if b.y0 >= a.y1:
                break
            if a.meets(b):
                yield f"text {text!r} overlaps {other!r}"


def _wires(scene: Scene) -> Iterator[str]:
    bodies = [(s.id, s.rect.grown(-0.5)) for s in scene.shapes]
    for wire in scene.wires:
        segments = [_segment(p, q) for p, q in pairwise(wire.points)]
        if any(s.x0 != s.x1 and s.y0 != s.y1 for s in segments):
            yield f"the line {wire.id} is slanted"
        for name, rect in bodies:
            if any(s.meets(rect) for s in segments):
                yield f"the line {wire.id} runs through {name}"
    yield from _shared(scene)


def _shared(scene: Scene) -> Iterator[str]:
    """Lines of different ends drawn on top of each other."""
    for a, b in combinations(scene.wires, 2):
        if a.src == b.src or a.dst == b.dst:
            continue
        for p, q in pairwise(a.points):
            for r, s in pairwise(b.points):
                if _collinear(_segment(p, q), _segment(r, s)):
                    yield f"the lines {a.id} and {b.id} lie on each other"


def _collinear(a: Rect, b: Rect) -> bool:
    if (a.x0 == a.x1) != (b.x0 == b.x1):
        return False
    return a.grown(1.5).meets(b)


def _margins(scene: Scene) -> Iterator[str]:
    page = Rect(MARGIN, MARGIN, scene.width - MARGIN, scene.height - MARGIN)
    rects = [(s.id, s.body) for s in (*scene.shapes, *scene.legend_shapes)]
    rects += [(label.text, label.rect) for label in (*scene.labels, *scene.legend_labels)]
    rects += [(w.id, _segment(p, q)) for w in scene.wires for p, q in pairwise(w.points)]
    rects += [(f.id, f.rect) for f in scene.frames] + [("a lane", b.rect) for b in scene.bands]
    for name, rect in rects:
        if not rect.inside(page):
            yield f"{name} leaves the page"


def crossings(scene: Scene) -> int:
    """How often two lines of different source and target cross."""
    count = 0
    for a, b in combinations(scene.wires, 2):
        if a.src == b.src or a.dst == b.dst:
            continue
        for p, q in pairwise(a.points):
            for r, s in pairwise(b.points):
                count += _crosses(_segment(p, q), _segment(r, s))
    return count


def _crosses(a: Rect, b: Rect) -> bool:
    if (a.x0 == a.x1) == (b.x0 == b.x1):
        return False
    return a.x0 <= b.x1 and b.x0 <= a.x1 and a.y0 <= b.y1 and b.y0 <= a.y1


def _segment(p: tuple[float, float], q: tuple[float, float]) -> Rect:
    return Rect(min(p[0], q[0]), min(p[1], q[1]), max(p[0], q[0]), max(p[1], q[1]))
