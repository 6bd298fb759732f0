"""Labels beside things: shapes of pills and joins, names of skips. Each finds a free place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from segc.draw.metrics import width
from segc.draw.model import Item, Link, View
from segc.draw.scene import Label, Rect, Shape, Wire

SIZE = 12.0
GAP = 6.0


def place(
    view: View,
    shapes: Mapping[str, Shape],
    wires: Sequence[Wire],
    labels: Sequence[Label],
    page: Rect,
) -> list[Label]:
    """The labels outside the shapes; one without a free place is left out (it is in the tip)."""
    taken = _Taken(shapes, wires, labels, page)
    out: list[Label] = []
    for item in view.items:
        if item.kind in ("pill", "circle") and item.shape:
            out += taken.first(_around(item, shapes[item.id]))
    lines = {(w.src, w.dst, w.kind): w for w in wires}
    for link in view.links:
        wire = lines.get((link.src, link.dst, link.kind))
        if link.label and wire is not None:
            out += taken.first(_along(link, wire))
    return out


class _Taken:
    def __init__(
        self,
        shapes: Mapping[str, Shape],
        wires: Sequence[Wire],
        labels: Sequence[Label],
        page: Rect,
    ) -> None:
        self.page = page
        self.rects = [s.body.grown(2) for s in shapes.values()]
        self.rects += [x.rect for x in labels if not x.host]
        self.rects += [_segment(p, q).grown(2) for w in wires for p, q in pairwise(w.points)]

    def first(self, candidates: Iterator[Label]) -> list[Label]:
        """The first label that meets nothing, as a list of one or none."""
        for label in candidates:
            rect = label.rect
            if rect.inside(self.page) and not any(rect.meets(r) for r in self.rects):
                self.rects.append(rect.grown(1))
                return [label]
        return []


def _around(item: Item, shape: Shape) -> Iterator[Label]:
    middle = shape.cy + 4.3
    left = Label(shape.x - GAP, middle, item.shape, SIZE, False, "shape", "end")
    right = Label(shape.x + shape.w + GAP, middle, item.shape, SIZE, False, "shape", "start")
    above = Label(shape.cx, shape.y - GAP, item.shape, SIZE, False, "shape", "middle")
    below = Label(shape.cx, shape.y + shape.h + 14, item.shape, SIZE, False, "shape", "middle")
    if item.kind == "circle":
        yield from (above, right, left, below)
        for y in (shape.y - GAP, shape.y + shape.h + 14):
            yield Label(shape.cx - GAP, y, item.shape, SIZE, False, "shape", "end")
            yield Label(shape.cx + GAP, y, item.shape, SIZE, False, "shape", "start")
    elif item.arrow == "up":
        yield from (right, left, above, below)
    else:
        yield from (left, right, above, below)


def _along(link: Link, wire: Wire) -> Iterator[Label]:
    """Above (else below) the longest flat piece of a line: near its start, then its middle."""
    color = "index" if link.kind == "index" else "mute"
    flat = [(p, q) for p, q in pairwise(wire.points) if p[1] == q[1]]
    flat.sort(key=lambda piece: -abs(piece[0][0] - piece[1][0]))
    room = width(link.label, SIZE) + 20
    for (x0, y), (x1, _) in flat:
        if abs(x1 - x0) < room:
            continue
        low, high = min(x0, x1), max(x0, x1)
        for dy in (-GAP, 15):
            if link.kind != "index":
                yield Label(low + 10, y + dy, link.label, SIZE, False, color)
            yield Label((low + high) / 2, y + dy, link.label, SIZE, False, color, "middle")
            yield Label(high - 14, y + dy, link.label, SIZE, False, color, "end")


def _segment(p: tuple[float, float], q: tuple[float, float]) -> Rect:
    return Rect(min(p[0], q[0]), min(p[1], q[1]), max(p[0], q[0]), max(p[1], q[1]))
