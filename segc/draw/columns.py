"""The fallback layout: items in reading order, down one column and on at the top of the next.

It takes any graph. Neighbours are joined by a straight line; every other link leaves to the right,
runs in the gutter beside its column and, between columns, above them all. So no line can meet a
shape; lines may cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from segc.draw.boxes import labels_of, measure, shape_of
from segc.draw.metrics import fit, width
from segc.draw.model import Item, Link, View
from segc.draw.page import LEFT, RIGHT, TOP, Legend, header
from segc.draw.scene import CARD, Frame, Label, Point, Rect, Scene, Shape, Wire

WIDTH, HEIGHT = 1280.0, 720.0  # the least page, px
GAP = 26.0  # px between items of a column
FRAME_PAD, FRAME_TITLE = 14.0, 26.0  # px between a frame and its items; room for its title
FRAME_ITEMS = 10  # most items of one frame
TRACK = 9.0  # px between parallel lines
MIN_COLUMN = 150.0


@dataclass(slots=True)
class _Spot:
    """An item's place: its column, its top, px; `opens` and `closes` the frame of its block."""

    item: Item
    w: float
    h: float
    column: int = 0
    y: float = 0.0
    frame: str = ""  # path of the block whose frame it is in
    opens: bool = False
    closes: bool = False


def lay_out(view: View, theme: str) -> Scene:
    """A picture of any view."""
    return _Columns(view).scene(theme)


class _Columns:
    def __init__(self, view: View) -> None:
        self.view = view
        self.spots = {item.id: _spot(item) for item in view.items}
        _choose_frames(list(self.spots.values()), view.copies)
        self.columns = self._break()
        self.widths = [max([MIN_COLUMN, *(s.w for s in c)]) for c in self.columns]
        self.tracks: list[list[tuple[float, float, Link]]] = [[] for _ in self.columns]
        self.gutter_of: dict[tuple[int, int], int] = {}  # (link, gutter) -> track
        self.bus_of: dict[int, int] = {}
        self.straight = self._straight_links()
        self._assign_tracks()
        self._place()

    # --- columns ---------------------------------------------------------------------------
    def _break(self) -> list[list[_Spot]]:
        """Cuts the items into columns so that the page is about as wide as a slide."""
        spots = list(self.spots.values())
        wide = max([MIN_COLUMN, *(s.w for s in spots)]) + 110
        best = [spots]
        for count in range(1, len(spots) + 1):
            total = _total(spots)
            best = _cut(spots, max(total / count, HEIGHT - 220))
            tallest = max(map(_total, best))
            if tallest + 200 <= max(HEIGHT, 0.6 * wide * len(best)):
                break
        for i, column in enumerate(best):
            _stack(column, i)
        return best

    def _straight_links(self) -> set[int]:
        """Links between neighbours of a column (the first of several kinds)."""
        found: set[int] = set()
        seen: set[tuple[str, str]] = set()
        following = {
            (a.item.id, b.item.id) for c in self.columns for a, b in zip(c, c[1:], strict=False)
        }
        for i, link in enumerate(self.view.links):
            pair = link.src, link.dst
            if pair in following and pair not in seen:
                seen.add(pair)
                found.add(i)
        return found

    # --- tracks ----------------------------------------------------------------------------
    def _assign_tracks(self) -> None:
        """Gives each line that goes round its own track in the gutters and above the columns."""
        lanes: list[list[list[tuple[float, float, Link]]]] = [[] for _ in self.columns]
        bus: list[list[tuple[float, float, Link]]] = []
        for i, link in enumerate(self.view.links):
            if i in self.straight:
                continue
            a, b = self.spots[link.src], self.spots[link.dst]
            if a.column == b.column:
                low, high = sorted((_out_y(a), _in_y(b)))
                self.gutter_of[i, a.column] = _free(lanes[a.column], low, high, link)
                continue
            self.gutter_of[i, a.column] = _free(lanes[a.column], -1e9, _out_y(a), link)
            if not self._first(b):
                self.gutter_of[i, b.column] = _free(lanes[b.column], -1e9, _in_y(b), link)
            low, high = sorted((a.column + 0.75, b.column + (0.5 if self._first(b) else 0.75)))
            self.bus_of[i] = _free(bus, low, high, link)
        self.gutters = [len(tracks) for tracks in lanes]
        self.bus_height = TRACK * len(bus) + (12 if bus else 0)

    def _first(self, spot: _Spot) -> bool:
        return self.columns[spot.column][0] is spot

    # --- places ----------------------------------------------------------------------------
    def _place(self) -> None:
        """x of columns and gutters, y of the first row, and the size of the page."""
        gutters = [TRACK * n + 34 for n in self.gutters]
        used = sum(self.widths) + 2 * FRAME_PAD * len(self.widths) + sum(gutters)
        self.width = max(WIDTH, used + LEFT + RIGHT)
        spare = (self.width - LEFT - RIGHT - used) / len(self.columns)
        gutters = [g + min(spare, 110) for g in gutters]
        self.legend = Legend(self.view, self.width)
        self.top = TOP + self.bus_height + 8
        bottom = self.top + max(c[-1].y + c[-1].h + FRAME_PAD for c in self.columns) + 20
        self.height = max(HEIGHT, bottom + self.legend.height)
        self.lefts: list[float] = []
        x = LEFT
        for w, gutter in zip(self.widths, gutters, strict=True):
            self.lefts.append(x)
            x += w + 2 * FRAME_PAD + gutter
        self.shapes = {s.item.id: self._shape(s) for s in self.spots.values()}

    def _middle(self, column: int) -> float:
        return self.lefts[column] + FRAME_PAD + self.widths[column] / 2

    def _right(self, column: int) -> float:
        return self.lefts[column] + 2 * FRAME_PAD + self.widths[column]

    def _shape(self, spot: _Spot) -> Shape:
        x = self._middle(spot.column) - spot.w / 2
        return shape_of(spot.item, x, self.top + spot.y, spot.w, spot.h)

    # --- the scene -------------------------------------------------------------------------
    def scene(self, theme: str) -> Scene:
        labels = header(self.view, self.width)
        for spot in self.spots.values():
            labels += labels_of(spot.item, self.shapes[spot.item.id])
            labels += self._join_label(spot)
        frames = list(self._frames(labels))
        wires = [self._wire(i, link) for i, link in enumerate(self.view.links)]
        shapes, lines, words = self.legend.at(self.height)
        return Scene(
            self.width, self.height, theme, self.view.title, "columns", (), tuple(frames),
            tuple(wires), tuple(self.shapes.values()), tuple(labels), tuple(shapes),
            tuple(lines), tuple(words),
        )  # fmt: skip

    def _join_label(self, spot: _Spot) -> Iterator[Label]:
        if spot.item.kind == "circle" and spot.item.shape:
            shape = self.shapes[spot.item.id]
            room = shape.x - 6 - self.lefts[spot.column]
            text = fit(spot.item.shape, room, 12)
            yield Label(shape.x - 6, shape.cy + 4.3, text, 12, False, "shape", "end")

    def _frames(self, labels: list[Label]) -> Iterator[Frame]:
        for i, column in enumerate(self.columns):
            start = 0
            for k, spot in enumerate(column):
                if spot.opens:
                    start = k
                if not spot.closes or not spot.frame:
                    continue
                first, last = self.shapes[column[start].item.id], self.shapes[spot.item.id]
                rect = Rect(
                    self.lefts[i], first.y - FRAME_TITLE, self._right(i), last.body.y1 + FRAME_PAD
                )
                copies = self.view.copies.get(spot.frame, 1)
                title = f"{spot.frame} × {copies}" if copies > 1 else spot.frame
                room = self._middle(i) - self.lefts[i] - 16
                x, y = rect.x0 + 10, rect.y0 + 17
                labels.append(Label(x, y, _tail(title, room), 12, True, "mute"))
                yield Frame(f"{spot.frame} {i} {k}", rect)

    def _wire(self, i: int, link: Link) -> Wire:
        a, b = self.shapes[link.src], self.shapes[link.dst]
        if i in self.straight:
            points: Iterable[Point] = ((a.cx, a.y + a.h), (a.cx, b.y))
        else:
            points = self._round(i, self.spots[link.src], self.spots[link.dst])
        name = f"{link.src} -> {link.dst}"
        name = f"{name} {link.kind}" if link.kind == "index" else name
        return Wire(name, link.src, link.dst, link.kind, tuple(points), link.label or link.shape)

    def _round(self, i: int, a: _Spot, b: _Spot) -> Iterator[Point]:
        """Right into the gutter, along it, and back into the target."""
        start, end = self.shapes[a.item.id], self.shapes[b.item.id]
        x = self._track(i, a.column)
        yield start.x + start.w, self.top + _out_y(a)
        yield x, self.top + _out_y(a)
        if a.column != b.column:
            level = self.top - 14 - TRACK * self.bus_of[i]
            yield x, level
            x = end.cx if self._first(b) else self._track(i, b.column)
            yield x, level
            if self._first(b):
                yield x, end.y
                return
        yield x, self.top + _in_y(b)
        yield end.x + end.w, self.top + _in_y(b)

    def _track(self, i: int, column: int) -> float:
        return self._right(column) + 12 + TRACK * self.gutter_of[i, column]


def _spot(item: Item) -> _Spot:
    if item.kind == "pill" and item.shape:
        item = replace(item, name=f"{item.name} · {item.shape}")
    w, h = measure(item)
    cards = CARD * (min(item.count, 3) - 1) if item.kind == "box" else 0
    return _Spot(item, w, h + cards)


def _stack(column: list[_Spot], number: int) -> None:
    """Sets y of the items of a column, with room for the frames of their blocks."""
    y = 0.0
    for k, spot in enumerate(column):
        spot.column = number
        spot.opens = spot.frame != (column[k - 1].frame if k else None)
        spot.closes = spot.frame != (column[k + 1].frame if k + 1 < len(column) else None)
        y += _before(spot)
        spot.y = y
        y += spot.h + GAP + (FRAME_PAD if spot.closes and spot.frame else 0)


def _before(spot: _Spot) -> float:
    return FRAME_TITLE if spot.opens and spot.frame else 0


def _total(column: list[_Spot]) -> float:
    return sum(s.h + GAP for s in column) + 40 * len({s.frame for s in column if s.frame})


def _cut(spots: list[_Spot], limit: float) -> list[list[_Spot]]:
    """Columns no taller than the limit; a block starts a new column rather than be split."""
    columns: list[list[_Spot]] = [[]]
    for run in _frame_runs(spots):
        if columns[-1] and _total([*columns[-1], *run]) > limit >= _total(run):
            columns.append([])
        for spot in run:
            if columns[-1] and _total([*columns[-1], spot]) > limit:
                columns.append([])
            columns[-1].append(spot)
    return columns


def _frame_runs(spots: list[_Spot]) -> Iterator[list[_Spot]]:
    run: list[_Spot] = []
    for spot in spots:
        if run and (spot.frame != run[-1].frame or not spot.frame):
            yield run
            run = []
        run.append(spot)
    yield run


def _choose_frames(spots: list[_Spot], copies: Mapping[str, int]) -> None:
    """The outermost block around each item that is not too large and holds no counted block."""
    sizes: dict[str, int] = {}
    counted = {p for path, n in copies.items() if n > 1 for p in _ancestors(path) if p != path}
    for spot in spots:
        for path in _ancestors(spot.item.scope):
            sizes[path] = sizes.get(path, 0) + 1
    for spot in spots:
        around = [p for p in _ancestors(spot.item.scope) if p not in counted]
        fitting = [p for p in around if 2 <= sizes[p] <= FRAME_ITEMS]
        spot.frame = min(fitting, key=len, default="")


def _ancestors(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _tail(title: str, room: float) -> str:
    """The end of a path, which tells more than its start."""
    while width(title, 12, True) > room and "." in title:
        title = title.partition(".")[2]
    return fit(title, room, 12, True)


def _out_y(spot: _Spot) -> float:
    return spot.y + spot.h / 2 + min(spot.h / 4, 8)


def _in_y(spot: _Spot) -> float:
    return spot.y + spot.h / 2 - min(spot.h / 4, 8)


def _free(
    tracks: list[list[tuple[float, float, Link]]], low: float, high: float, link: Link
) -> int:
    """The first track where nothing foreign runs between low and high; it is taken."""
    for i, taken in enumerate(tracks):
        clear = all(
            link.src == k.src or link.dst == k.dst or high + 3 < a or b + 3 < low
            for a, b, k in taken
        )
        if clear:
            taken.append((low, high, link))
            return i
    tracks.append([(low, high, link)])
    return len(tracks) - 1
