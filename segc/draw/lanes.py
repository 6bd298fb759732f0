"""The stride-lane layout: rows are output strides, so a U-Net is a U.

Gives up (None) where it does not fit: one stride only, more than seven, too many boxes, or no
attempt whose picture is free of faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from segc.draw import tags
from segc.draw.audit import audit
from segc.draw.boxes import labels_of, labels_of_row, measure, shape_of
from segc.draw.metrics import fit as cut
from segc.draw.model import Fan, Link, View
from segc.draw.page import TOP, Legend, header
from segc.draw.plan import FAN_PAD, ROW, ROW_GAP, Cell, Fit, Plan, make_plan, place_x
from segc.draw.route import Port, Router
from segc.draw.scene import Band, Frame, Label, Rect, Scene, Shape, Wire

MAX_LANES, MAX_ITEMS = 7, 60
PATIENCE = 4  # pictures with faults before the lanes are given up
LEFT, RIGHT = 118.0, 36.0  # px left of the first cell (the lane's own label) and right of the last
PAGE_HEIGHT = 720.0
BEND_ROOM = 42.0  # px from the side of a box to a line that bends into it, inset included
ROW_GAP_Y = 24.0  # px between the rows of a lane
NOTE = "rows are output strides"
TRACK = 16.0  # px per line that passes above the cells of a lane
SPARE = 110.0  # most px of spare height a lane takes


def _dense(indent: float, gap: float, details: str = "full") -> Fit:
    """The page of a slide, filled to the brim."""
    return Fit(indent, gap, details, pill_pad=19, plain_pad=11)


def _tall(indent: float, gap: float, page: float = 1280) -> Fit:
    """A page larger than a slide."""
    return Fit(indent, gap, "full", page, pill_pad=20, plain_pad=12, tallest=1000)


FITS = (
    Fit(),
    _dense(57, 28),
    _dense(48, 24),
    _dense(36, 22),
    _dense(36, 22, "brief"),
    _dense(20, 20, "brief"),
    _dense(20, 20, "none"),
    _tall(57, 28),
    _tall(36, 22),
    _tall(36, 22, 1440),
    _tall(36, 22, 1680),
)


def lay_out(view: View, theme: str) -> Scene | None:
    """The first attempt without a fault, or None."""
    lanes = {item.stride for item in view.items}
    if len(lanes) > MAX_LANES or len(view.items) > MAX_ITEMS or None in lanes:
        return None
    failed = 0
    for fit in FITS if len(lanes) > 1 else FITS[:1]:
        scene = attempt(view, theme, fit)
        if scene is not None and not audit(scene):
            return scene
        failed += scene is not None
        if failed == PATIENCE:
            break
    return None


def attempt(view: View, theme: str, fit: Fit) -> Scene | None:
    """One picture with these distances, faults or not; None when the page is too small."""
    plan = make_plan(view, fit)
    if not place_x(plan, LEFT, fit.page - RIGHT):
        return None
    picture = _Picture(plan, Legend(view, fit.page))
    if picture.height > fit.tallest:
        return None
    return picture.scene(theme)


class _Picture:
    """Heights, places, lines and labels of one attempt, in this order."""

    def __init__(self, plan: Plan, legend: Legend) -> None:
        self.plan, self.view, self.legend = plan, plan.view, legend
        self.tops: list[float] = []  # y of each lane's upper boundary, and the end of the last
        self.levels: list[float] = []
        self.shapes: dict[str, Shape] = {}
        self.frames: list[Frame] = []
        self.wires: list[Wire] = []
        self.labels: list[Label] = []
        self.height = self._place_y()
        self._place_cells()
        self._place_pills()

    def scene(self, theme: str) -> Scene:
        self._route()
        width = self.plan.fit.page
        shapes, wires, labels = self.legend.at(self.height)
        note = NOTE if len(self.plan.strides) > 1 else ""
        self.labels += [*header(self.view, width, note), *self._lane_labels()]
        self.labels += tags.place(self.view, self.shapes, self.wires, self.labels, self._page())
        return Scene(
            width, self.height, theme, self.view.title, "lanes", tuple(self._bands()),
            tuple(self.frames), tuple(self.wires), tuple(self.shapes.values()),
            tuple(self.labels), tuple(shapes), tuple(wires), tuple(labels),
        )  # fmt: skip

    def _page(self) -> Rect:
        return Rect(14, TOP - 12, self.plan.fit.page - 14, self.height - self.legend.height + 8)

    # --- heights -----------------------------------------------------------------------------
    def _place_y(self) -> float:
        """Sets the lanes' boundaries and every cell's y; returns the height of the page."""
        count = len(self.plan.strides)
        needs = [self._lane_needs(i) for i in range(count)]
        total = TOP + sum(sum(need) for need in needs)
        height = max(PAGE_HEIGHT, total + self.legend.height)
        height = min(height, total + count * SPARE + self.legend.height)
        spare = min(SPARE, (height - self.legend.height - total) / count)
        y = TOP
        for i, (above, inner, below) in enumerate(needs):
            self.tops.append(y)
            self._place_rows(i, y + above + spare / 2)
            y += above + inner + below + spare
        self.tops.append(y)
        self.levels += self.tops[1:-1]
        return height

    def _lane_needs(self, lane: int) -> tuple[float, float, float]:
        """px above the cells of a lane, of its rows, and below."""
        rows = self.plan.rows.get(lane, [])
        above, below = self._row_offsets(rows)
        tracks = TRACK * self._tracks(rows)
        return self._pad(lane - 1) + tracks, above + below, self._pad(lane)

    def _row_offsets(self, rows: list[list[Cell]]) -> tuple[float, float]:
        """Sets y of the cells against the first row; px the cells reach above and below it."""
        placed: list[Cell] = []
        for row in rows:
            y = max([_apart(a, b) for a in placed for b in row if _beneath(a, b)], default=0.0)
            for cell in row:
                cell.y = y
            placed += row
        above = max([c.above - c.y for c in placed], default=12.0)
        return above, max([c.below + c.y for c in placed], default=12.0)

    def _pad(self, boundary: int) -> float:
        fit = self.plan.fit
        return fit.pill_pad if boundary in self.plan.boundary.values() else fit.plain_pad

    def _tracks(self, rows: list[list[Cell]]) -> int:
        """Lines that must pass above the cells of a lane, one on another."""
        place = {c.id: (r, i) for r, row in enumerate(rows) for i, c in enumerate(row)}
        spans = []
        for a, b in self.plan.hops:
            if a in place and b in place:
                (ra, i), (rb, j) = place[a], place[b]
                if ra == rb and j > i + 1:
                    spans.append((i, j))
        return max((sum(a <= i < b for a, b in spans) for i, _ in spans), default=0)

    def _place_rows(self, lane: int, y: float) -> None:
        rows = self.plan.rows.get(lane, [])
        above, below = self._row_offsets(rows)
        for cell in (c for row in rows for c in row):
            cell.y += y + above
            self.levels += [cell.y - cell.above - 12, cell.y + cell.below + 12]
        self.levels += [y - 10 - TRACK * k for k in range(4)] + [y + above + below + 10]

    # --- places ------------------------------------------------------------------------------
    def _place_cells(self) -> None:
        details = self.plan.fit.details
        fans = {fan.id: fan for fan in self.view.fans}
        for cell in self.plan.cells.values():
            if cell.id in fans:
                self._place_fan(fans[cell.id], cell)
                continue
            item = self.view.by_id[cell.id]
            w, h = measure(item, details)
            shape = shape_of(item, cell.x, cell.y - h / 2, w, h)
            self.shapes[item.id] = shape
            self.labels += labels_of(item, shape, details)

    def _place_fan(self, fan: Fan, cell: Cell) -> None:
        rect = _frame(cell)
        self.frames.append(Frame(fan.id, rect))
        title = cut(fan.title, cell.w, 13, True)
        cx = (rect.x0 + rect.x1) / 2
        self.labels.append(Label(cx, rect.y0 - 6, title, 13, True, "ink", "middle"))
        for i, branch in enumerate(fan.branches):
            y = rect.y0 + FAN_PAD + i * (ROW + ROW_GAP)
            item = self.view.by_id[branch]
            shape = shape_of(item, rect.x0 + FAN_PAD, y, cell.w - 2 * FAN_PAD, ROW)
            self.shapes[branch] = shape
            self.labels += labels_of_row(item, shape)

    def _place_pills(self) -> None:
        for item_id, boundary in self.plan.boundary.items():
            item = self.view.by_id[item_id]
            w, h = measure(item)
            x, y = self._pill_x(item_id), self.tops[boundary + 1]
            self.shapes[item_id] = shape_of(item, x - w / 2, y - h / 2, w, h)
            self.labels += labels_of(item, self.shapes[item_id])

    def _pill_x(self, item_id: str) -> float:
        """x of a pill: where one vertical line meets what is above and what is below."""
        source = next(k.src for k in self.view.before[item_id] if k.kind != "index")
        low, high = self._span(source)
        targets = [k.dst for k in self.view.after[item_id] if k.kind != "index"]
        spans = [s for s in map(self._target_span, targets) if s is not None]
        for a, b in spans:
            if max(low, a) <= min(high, b):
                return (max(low, a) + min(high, b)) / 2
        down = self.view.by_id[item_id].arrow == "down"
        if not spans:
            return high
        if down:  # straight down, then a bend into the target's left side
            return max(low, min(high, spans[0][0] - BEND_ROOM))
        return min(max(high + BEND_ROOM, spans[0][0]), spans[0][1])

    def _span(self, item_id: str) -> tuple[float, float]:
        if item_id not in self.shapes:  # a branch of a fan that is placed later cannot be
            return 0.0, 0.0
        return self._port(item_id).span

    def _target_span(self, item_id: str) -> tuple[float, float] | None:
        """Where a pill's target can be met from above or below; None for a fan's branch."""
        while item_id in self.plan.boundary:
            links = [k for k in self.view.after[item_id] if k.kind != "index"]
            if not links:
                return None
            item_id = links[0].dst
        return None if self._in_fan(item_id) else self._span(item_id)

    def _in_fan(self, item_id: str) -> bool:
        return self.plan.cell_of.get(item_id, item_id) != item_id

    # --- lines -------------------------------------------------------------------------------
    def _route(self) -> None:
        frames = [(f.id, f.rect) for f in self.frames]
        solid = [(s.id, s.body) for s in self.shapes.values() if not self._in_fan(s.id)]
        titles = [(x.text, x.rect) for x in self.labels if not x.host]
        router = Router([*frames, *solid, *titles], self.levels)
        inner = {f.id: f for f in self.view.fans}
        for link in sorted(self.view.links, key=self._difficulty):
            a, b = self._port(link.src, link, True), self._port(link.dst, link, False)
            if a.id == b.id:
                continue
            line = router.route(a, b)
            if a.id in inner and not self._in_fan(link.dst) or b.id in inner:
                line = self._through_fan(link, line)
            name = f"{link.src} -> {link.dst}"
            tip = link.label or link.shape
            head = link.kind == "index" or link.dst not in self.plan.boundary
            self.wires.append(Wire(name, link.src, link.dst, link.kind, line, tip, head))

    def _difficulty(self, link: Link) -> tuple[int, float]:
        """Near neighbours first, long ways round last."""
        a, b = self.shapes[link.src], self.shapes[link.dst]
        late = {"flow": 0, "index": 1, "skip": 2, "train": 3}[link.kind]
        return late, abs(a.cx - b.cx) + abs(a.cy - b.cy)

    def _port(self, item_id: str, link: Link | None = None, leaving: bool = False) -> Port:
        shape = self.shapes[item_id]
        if self._in_fan(item_id):
            cell = self.plan.cells[self.plan.cell_of[item_id]]
            return Port(cell.id, _frame(cell), True, "r" if leaving else "l")
        sides = "lrtb"
        if item_id in self.plan.boundary and link is not None and link.kind != "index":
            down = self.view.by_id[item_id].arrow == "down"
            if not leaving:
                sides = "t" if down else "b"
            else:
                sides = ("b" if down else "t") + ("lr" if link.kind == "skip" else "")
        elif item_id in self.plan.boundary and link is not None:
            sides = "lr"
        return Port(item_id, shape.rect, shape.kind != "box", sides)

    def _through_fan(self, link: Link, line: tuple[tuple[float, float], ...]) -> tuple:  # type: ignore[type-arg]
        """The line to (or from) a fan's frame, led on to its branch."""
        if self._in_fan(link.dst):
            shape = self.shapes[link.dst]
            bend = line[-1][0] - 9
            tail = [(bend, line[-1][1]), (bend, shape.cy), (shape.x, shape.cy)]
            return _merge([*line[:-1], *tail])
        shape = self.shapes[link.src]
        bend = line[0][0] + 9
        head = [(shape.x + shape.w, shape.cy), (bend, shape.cy), (bend, line[0][1])]
        return _merge([*head, *line[1:]])

    # --- lanes -------------------------------------------------------------------------------
    def _bands(self) -> Iterator[Band]:
        for i, (y0, y1) in enumerate(pairwise(self.tops)):
            yield Band(Rect(14, y0, self.plan.fit.page - 14, y1), i % 2 == 0)

    def _lane_labels(self) -> Iterator[Label]:
        for i, stride in enumerate(self.plan.strides):
            cells = self.plan.rows.get(i, [[]])[0]
            y = cells[0].y if cells else (self.tops[i] + self.tops[i + 1]) / 2
            sizes = {x.size for x in self.view.items if x.stride == stride and x.size}
            one = stride >= 1 and len(sizes) == 1
            text = f"1/{stride}" if stride.denominator == 1 else f"×{1 / stride}"
            yield Label(28, y - 3 if one else y + 6, text, 17, True)
            if one:
                h, w = sizes.pop()
                yield Label(28, y + 15, f"{h} × {w}", 13, False, "mute")


def _frame(cell: Cell) -> Rect:
    return Rect(cell.x, cell.y - cell.h / 2, cell.x + cell.w, cell.y + cell.h / 2)


def _beneath(a: Cell, b: Cell) -> bool:
    """True when b, in a later row, would stand under a."""
    return a.x < b.x + b.w + 20 and b.x < a.x + a.w + 20


def _apart(a: Cell, b: Cell) -> float:
    return a.y + a.below + ROW_GAP_Y + b.above


def _merge(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Without points repeated or in the middle of a straight piece."""
    out: list[tuple[float, float]] = []
    for p in points:
        if out and p == out[-1]:
            continue
        if len(out) > 1 and (out[-2][0] == out[-1][0] == p[0] or out[-2][1] == out[-1][1] == p[1]):
            out.pop()
        out.append(p)
    return tuple(out)
