"""How large an item is, and the shape and labels it becomes once its place is known."""

from __future__ import annotations

import re
from collections.abc import Iterator

from segc.draw.metrics import fit, width
from segc.draw.model import Item
from segc.draw.scene import Label, Shape

NAME, DETAIL, VALUE, PILL = 15.0, 12.0, 12.0, 12.0  # font sizes, px
ROOM = 190.0  # longest line inside a box, px
PAD = 11.0  # between a line and the side of its box, px
CIRCLE = 30.0  # diameter of a join, px
PILL_HEIGHT = 22.0
_LEADING = {NAME: 17.0, DETAIL: 15.0}


def caption(item: Item) -> str:
    """The name as shown: `layer3 × 6` for a repeat."""
    return f"{item.name} × {item.count}" if item.count > 1 else item.name


def lines(item: Item, details: str = "full") -> list[tuple[str, float, bool, str]]:
    """The lines of a box: text, font size, bold, colour token. details: full | brief | none."""
    rows = [(fit(caption(item), ROOM, NAME, True), NAME, True, "ink")]
    detail = {"full": item.detail, "brief": brief(item.detail), "none": ""}[details]
    if detail:
        rows.append((fit(detail, ROOM, DETAIL), DETAIL, False, "mute"))
    if item.shape:
        rows.append((fit(item.shape, ROOM, VALUE, True), VALUE, True, "shape"))
    return rows


def brief(detail: str) -> str:
    """`2 × [conv 3×3 · BN · ReLU]` as `2 × conv 3×3`."""
    return re.sub(r"\[([^\]·]+?) ·[^\]]*\]", r"\1", detail).split(" · ")[0]


def measure(item: Item, details: str = "full") -> tuple[float, float]:
    """Width and height of an item in px."""
    if item.kind == "circle":
        return CIRCLE, CIRCLE
    if item.kind == "pill":
        triangle = 13 if item.arrow else 0
        return width(fit(item.name, ROOM, PILL, True), PILL, True) + 22 + triangle, PILL_HEIGHT
    rows = lines(item, details)
    w = max(width(text, size, bold) for text, size, bold, _ in rows)
    h = sum(_LEADING[size] for _, size, _, _ in rows)
    return max(70.0, w + 2 * PAD), h + 10


def measure_row(item: Item) -> float:
    """Width of an item as one branch of a fan: name left, shape right."""
    name = width(fit(item.name, ROOM, 14, True), 14, True)
    return name + 8 + width(_row_detail(item), DETAIL) + 18 + width(item.shape, VALUE, True) + 20


def _row_detail(item: Item) -> str:
    """The first layer of a branch; what follows is left to the hover text."""
    return fit(item.detail.split(" · ")[0], ROOM, DETAIL)


def shape_of(item: Item, x: float, y: float, w: float, h: float) -> Shape:
    """The outline of an item with its top left corner at (x, y)."""
    cards = min(item.count - 1, 2) if item.kind == "box" else 0
    return Shape(
        item.id, item.kind, x, y, w, h, item.family, cards, item.only, item.arrow, item.tip
    )


def labels_of(item: Item, shape: Shape, details: str = "full") -> Iterator[Label]:
    """The texts inside an item."""
    if item.kind == "circle":
        yield Label(shape.cx, shape.cy + 5, item.symbol, 15, True, "ink", "middle", item.id)
    elif item.kind == "pill":
        text = fit(item.name, ROOM, PILL, True)
        x = shape.cx + (6.5 if item.arrow else 0)
        color = f"{item.family}.text"
        yield Label(x, shape.cy + 4.3, text, PILL, True, color, "middle", item.id)
    else:
        rows = lines(item, details)
        y = shape.cy - sum(_LEADING[size] for _, size, _, _ in rows) / 2
        for text, size, bold, color in rows:
            y += _LEADING[size]
            yield Label(shape.cx, y - 4, text, size, bold, color, "middle", item.id)


def labels_of_row(item: Item, shape: Shape) -> Iterator[Label]:
    """The texts of a branch of a fan."""
    name = fit(item.name, ROOM, 14, True)
    yield Label(shape.x + 10, shape.cy + 5, name, 14, True, "ink", "start", item.id)
    after = shape.x + 18 + width(name, 14, True)
    if item.detail:
        text = _row_detail(item)
        yield Label(after, shape.cy + 4.5, text, DETAIL, False, "mute", "start", item.id)
    x = shape.x + shape.w - 10
    yield Label(x, shape.cy + 4.5, item.shape, VALUE, True, "shape", "end", item.id)
