"""The placed picture: flat lists in px, drawn alike by every writer.

The order of drawing is bands, frames, wires, shapes, labels. y grows downwards; (x, y) of a shape
is its top left corner, that of a label its baseline at the anchor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from segc.draw.metrics import width

Point = tuple[float, float]
CARD = 3.5  # px each card of a repeated block is shifted by, right and down
RISE, DROP = 0.74, 0.22  # of the font size: a label's extent above and below its baseline


@dataclass(frozen=True, slots=True)
class Rect:
    """left, top, right, bottom."""

    x0: float
    y0: float
    x1: float
    y1: float

    def grown(self, d: float) -> Rect:
        return Rect(self.x0 - d, self.y0 - d, self.x1 + d, self.y1 + d)

    def meets(self, other: Rect) -> bool:
        """True when the two share more than a border."""
        return (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )

    def inside(self, other: Rect) -> bool:
        return (
            other.x0 <= self.x0
            and self.x1 <= other.x1
            and other.y0 <= self.y0
            and self.y1 <= other.y1
        )


@dataclass(frozen=True, slots=True)
class Label:
    """One line of text. `color` is a token of the theme; `host` the id of the shape it is in."""

    x: float
    y: float
    text: str
    size: float
    bold: bool = False
    color: str = "ink"
    anchor: str = "start"  # start | middle | end
    host: str = ""

    @property
    def rect(self) -> Rect:
        w = width(self.text, self.size, self.bold)
        x0 = self.x - {"start": 0.0, "middle": w / 2, "end": w}[self.anchor]
        return Rect(x0, self.y - RISE * self.size, x0 + w, self.y + DROP * self.size)


@dataclass(frozen=True, slots=True)
class Shape:
    """A box, pill or circle. `cards` more outlines lie behind it, below right: a repeat."""

    id: str
    kind: str  # box | pill | circle
    x: float
    y: float
    w: float
    h: float
    family: str
    cards: int = 0
    dashed: bool = False
    arrow: str = ""  # "" | up | down: the triangle of a pill
    tip: str = ""  # the text a viewer shows on hover

    @property
    def rect(self) -> Rect:
        return Rect(self.x, self.y, self.x + self.w, self.y + self.h)

    @property
    def body(self) -> Rect:
        """The rectangle with its cards."""
        d = CARD * self.cards
        return Rect(self.x, self.y, self.x + self.w + d, self.y + self.h + d)

    @property
    def cx(self) -> float:
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        return self.y + self.h / 2


@dataclass(frozen=True, slots=True)
class Wire:
    """An orthogonal line from `src` to `dst` with rounded corners and an arrow at its end."""

    id: str
    src: str
    dst: str
    kind: str  # flow | skip | index | train
    points: tuple[Point, ...]
    tip: str = ""
    arrow: bool = True


@dataclass(frozen=True, slots=True)
class Band:
    """The background of a lane."""

    rect: Rect
    tinted: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """A thin rounded frame around the shapes of a block; its title is a label."""

    id: str
    rect: Rect


@dataclass(frozen=True)
class Scene:
    """A page. `legend` holds the samples of the legend, `notes` every label that is not in it."""

    width: float
    height: float
    theme: str
    title: str
    layout: str  # lanes | columns
    bands: tuple[Band, ...] = ()
    frames: tuple[Frame, ...] = ()
    wires: tuple[Wire, ...] = ()
    shapes: tuple[Shape, ...] = ()
    labels: tuple[Label, ...] = ()
    legend_shapes: tuple[Shape, ...] = ()
    legend_wires: tuple[Wire, ...] = ()
    legend_labels: tuple[Label, ...] = field(default=())
