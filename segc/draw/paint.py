"""A scene as primitive marks (paths and texts with colours): what the SVG and PDF writers print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from segc.draw.scene import CARD, Label, Point, Rect, Scene, Shape, Wire
from segc.draw.theme import THEMES, Theme, paint_name

KAPPA = 0.5523  # a quarter circle as one cubic: control points at this part of the radius
CORNER = 9.0  # radius of a wire's bends, px
ARROW = 8.0  # length of an arrow head, px

Command = tuple[str, tuple[float, ...]]  # M L C Z and their coordinates

WIRE_STYLE = {  # colour token, width in px, dash pattern in px
    "flow": ("edge", 2.0, ()),
    "skip": ("skip", 2.0, ()),
    "index": ("index", 1.8, (6.0, 4.0)),
    "train": ("train", 1.5, (2.0, 4.0)),
}


@dataclass(frozen=True, slots=True)
class Path:
    """A filled and/or stroked outline; an empty colour paints nothing."""

    commands: tuple[Command, ...]
    fill: str = ""
    stroke: str = ""
    width: float = 0.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, its anchor at (x, y) on the baseline."""

    x: float
    y: float
    text: str
    size: float
    bold: bool
    fill: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Group:
    """The marks of one node or edge; `data` become `data-…` attributes, `tip` the hover text."""

    marks: tuple[Path | Text, ...]
    data: tuple[tuple[str, str], ...] = ()
    tip: str = ""


def groups(scene: Scene) -> Iterator[Group]:
    """The marks of a scene in drawing order."""
    theme = THEMES[scene.theme]
    yield Group((Path(box(Rect(0, 0, scene.width, scene.height)), theme.page),))
    backdrop = [Path(box(b.rect, 10), theme.lane) for b in scene.bands if b.tinted]
    frames = [Path(box(f.rect, 9), theme.page, theme.frame, 1.2) for f in scene.frames]
    yield Group((*backdrop, *frames))
    for wire in scene.wires:
        data = (("id", wire.id), ("src", wire.src), ("dst", wire.dst), ("kind", wire.kind))
        yield Group(tuple(_wire(wire, theme)), data, wire.tip)
    hosted: dict[str, list[Label]] = {}
    for label in scene.labels:
        hosted.setdefault(label.host, []).append(label)
    for shape in scene.shapes:
        texts = [_text(label, theme) for label in hosted.pop(shape.id, [])]
        yield Group((*_shape(shape, theme), *texts), (("id", shape.id),), shape.tip)
    rest = [_text(label, theme) for labels in hosted.values() for label in labels]
    yield Group(tuple(rest))
    yield Group(tuple(_legend(scene, theme)))


def _legend(scene: Scene, theme: Theme) -> Iterator[Path | Text]:
    for wire in scene.legend_wires:
        yield from _wire(wire, theme)
    for shape in scene.legend_shapes:
        yield from _shape(shape, theme)
    for label in scene.legend_labels:
        yield _text(label, theme)


def _text(label: Label, theme: Theme) -> Text:
    color = theme.color(label.color)
    return Text(label.x, label.y, label.text, label.size, label.bold, color, label.anchor)


def _shape(shape: Shape, theme: Theme) -> Iterator[Path]:
    paint = theme.paints[paint_name(shape.family)]
    dash = (5.0, 3.0) if shape.dashed else ()
    radius = min(7.0, shape.h / 4) if shape.kind == "box" else shape.h / 2
    for i in range(shape.cards, -1, -1):
        d = CARD * i
        r = shape.rect
        outline = box(Rect(r.x0 + d, r.y0 + d, r.x1 + d, r.y1 + d), radius)
        yield Path(outline, paint.fill, paint.stroke, 1.6 if i == 0 else 1.1, dash)
    if shape.arrow:
        yield Path(triangle(shape), paint.text)


def triangle(shape: Shape) -> tuple[Command, ...]:
    """The small triangle at the left end of a pill, pointing where the resolution goes."""
    x = shape.x + shape.h / 2 if shape.w > 30 else shape.cx - 4
    up = 1 if shape.arrow == "up" else -1
    y = shape.cy + 3.5 * up
    return _polygon([(x, y), (x + 8, y), (x + 4, y - 7 * up)])


def _wire(wire: Wire, theme: Theme) -> Iterator[Path]:
    token, thickness, dash = WIRE_STYLE[wire.kind]
    color = theme.color(token)
    points = list(wire.points)
    head = points[-1]
    if wire.arrow:
        points[-1] = _towards(points[-1], points[-2], ARROW - 1)
    yield Path(tuple(_rounded(points)), "", color, thickness, dash)
    if wire.arrow:
        yield Path(_head(wire.points[-2], head), color)


def _head(before: Point, tip: Point) -> tuple[Command, ...]:
    base = _towards(tip, before, ARROW)
    nx, ny = (tip[1] - base[1]) / ARROW * 4, (tip[0] - base[0]) / ARROW * 4
    return _polygon([tip, (base[0] + nx, base[1] - ny), (base[0] - nx, base[1] + ny)])


def _towards(a: Point, b: Point, d: float) -> Point:
    """The point `d` px from a on the (horizontal or vertical) line to b."""
    length = abs(b[0] - a[0]) + abs(b[1] - a[1])
    if length == 0:
        return a
    return a[0] + (b[0] - a[0]) / length * d, a[1] + (b[1] - a[1]) / length * d


def _rounded(points: Sequence[Point]) -> Iterator[Command]:
    yield "M", points[0]
    for (a, b), (_, c) in zip(pairwise(points[:-1]), pairwise(points[1:]), strict=True):
        r = min(CORNER, _length(a, b) / 2, _length(b, c) / 2)
        start, end = _towards(b, a, r), _towards(b, c, r)
        yield "L", start
        near, far = _towards(b, a, r * (1 - KAPPA)), _towards(b, c, r * (1 - KAPPA))
        yield "C", (*near, *far, *end)
    yield "L", points[-1]


def _length(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _polygon(points: Sequence[Point]) -> tuple[Command, ...]:
    return (("M", points[0]), *(("L", p) for p in points[1:]), ("Z", ()))


def box(rect: Rect, radius: float = 0.0) -> tuple[Command, ...]:
    """A rectangle with round corners; a circle when the radius is half its sides."""
    x0, y0, x1, y1 = rect.x0, rect.y0, rect.x1, rect.y1
    if radius == 0:
        return _polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    r, k = radius, radius * (1 - KAPPA)
    return (
        ("M", (x0 + r, y0)),
        ("L", (x1 - r, y0)),
        ("C", (x1 - k, y0, x1, y0 + k, x1, y0 + r)),
        ("L", (x1, y1 - r)),
        ("C", (x1, y1 - k, x1 - k, y1, x1 - r, y1)),
        ("L", (x0 + r, y1)),
        ("C", (x0 + k, y1, x0, y1 - k, x0, y1 - r)),
        ("L", (x0, y0 + r)),
        ("C", (x0, y0 + k, x0 + k, y0, x0 + r, y0)),
        ("Z", ()),
    )
