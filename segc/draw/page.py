"""What every page has: title, subtitle and, bottom left, a legend of what is present."""

from __future__ import annotations

from collections.abc import Iterator

from segc.draw.metrics import fit, width
from segc.draw.model import View
from segc.draw.scene import Label, Shape, Wire
from segc.draw.theme import LEGEND, paint_name

MARGIN = 10.0  # nothing may be nearer to the page's edge, px
LEFT, RIGHT = 40.0, 40.0
TOP, BOTTOM = 88.0, 54.0  # heights of the title and of one row of the legend, px
ROW = 28.0  # height of each further row of the legend, px
SIZE = 13.0

WIRE_WORDS = {"skip": "skip", "index": "pooling indices", "train": "training only"}
SYMBOL_WORDS = {"+": "add", "C": "concatenate", "×": "multiply"}


def header(view: View, page_width: float, note: str = "") -> list[Label]:
    """Title and subtitle, cut to the page."""
    room = page_width - LEFT - RIGHT
    title = Label(LEFT, 48, fit(view.title, room, 27, True), 27, True)
    text = f"{view.subtitle} · {note}" if note else view.subtitle
    subtitle = Label(LEFT, 73, fit(text, room, 15), 15, False, "mute")
    return [title, subtitle]


class Legend:
    """Lays the entries from left to right, wrapping; place it with `at(bottom)`."""

    def __init__(self, view: View, page_width: float) -> None:
        self.entries = list(_entries(view))
        self.rows: list[list[tuple[float, str, str, str]]] = [[]]
        x = LEFT
        self.entries.append(("text", "", f"blue text = tensor shape, {_shape_words(view)}"))
        for kind, key, words in self.entries:
            w = _sample_width(kind) + 7 + width(words, SIZE) + 26
            if x + w - 26 > page_width - RIGHT and self.rows[-1]:
                if kind == "text":
                    break  # a help that is not worth a row of its own
                self.rows.append([])
                x = LEFT
            self.rows[-1].append((x, kind, key, words))
            x += w

    @property
    def height(self) -> float:
        return BOTTOM + ROW * (len(self.rows) - 1)

    def at(self, bottom: float) -> tuple[list[Shape], list[Wire], list[Label]]:
        """Shapes, wires and labels of the legend on a page of that height."""
        shapes: list[Shape] = []
        wires: list[Wire] = []
        labels: list[Label] = []
        for i, row in enumerate(self.rows):
            cy = bottom - 30 - ROW * (len(self.rows) - 1 - i)
            for x, kind, key, words in row:
                _sample(kind, key, x, cy, shapes, wires, labels)
                start = x + _sample_width(kind) + (7 if kind != "text" else 0)
                labels.append(Label(start, cy + 4.5, words, SIZE, False, "mute"))
        return shapes, wires, labels


def _entries(view: View) -> Iterator[tuple[str, str, str]]:
    """(kind of sample, family or symbol, words) in the fixed order."""
    paints = {(i.kind, paint_name(i.family)): i for i in view.items if i.family != "input"}
    families = {paint for _, paint in paints}
    for paint, words in LEGEND.items():
        if paint in families:
            pill = all(kind == "pill" for kind, p in paints if p == paint)
            yield "pill" if pill else "box", paint, words
    for symbol, words in SYMBOL_WORDS.items():
        if any(i.symbol == symbol for i in view.items):
            yield "circle", symbol, words
    if any(i.count > 1 for i in view.items):
        yield "cards", "conv", "repeated block"
    for kind, words in WIRE_WORDS.items():
        if any(link.kind == kind for link in view.links):
            yield "wire", kind, words


def _shape_words(view: View) -> str:
    square = any("²" in item.shape for item in view.items)
    return "C × H²" if square else "C × H × W"


def _sample_width(kind: str) -> float:
    return {"box": 22.0, "pill": 26.0, "circle": 18.0, "cards": 24.0, "wire": 30.0, "text": 0.0}[
        kind
    ]


def _sample(
    kind: str,
    key: str,
    x: float,
    cy: float,
    shapes: list[Shape],
    wires: list[Wire],
    labels: list[Label],
) -> None:
    name = f"legend {key}"
    if kind == "wire":
        wires.append(Wire(name, "", "", key, ((x, cy), (x + 30, cy))))
    elif kind == "circle":
        shapes.append(Shape(name, "circle", x, cy - 9, 18, 18, "merge"))
        labels.append(Label(x + 9, cy + 4.3, key, 12, True, "ink", "middle"))
    elif kind == "pill":
        arrow = key if key in ("up", "down") else ""
        shapes.append(Shape(name, "pill", x, cy - 8, 26, 16, key, arrow=arrow))
    elif kind == "cards":
        shapes.append(Shape(name, "box", x, cy - 9, 18, 13, key, cards=2))
    elif kind == "box":
        shapes.append(Shape(name, "box", x, cy - 8, 22, 16, key))
