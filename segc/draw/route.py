"""Orthogonal routing: for each link a few candidate lines, the cheapest that hits nothing wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from segc.draw.scene import Point, Rect

CLEAR = 4.0  # px between a line and a shape it passes
INSET = 14.0  # px between a line's end and the corner of a box
REACH = 170.0  # px a bracket may reach above and below its ends
NEAR = 0.05  # px: nearer places are the same
STUB = 14.0  # px a line runs straight before it bends near a shape
HIT, SHARE, CROSS, BEND, SIDEWAYS, PER_PX = 1e6, 4e3, 300.0, 40.0, 12.0, 0.1


@dataclass(frozen=True, slots=True)
class Port:
    """A shape as the router sees it: where lines may leave or enter.

    `centred` allows the top and bottom only at the middle (pills, circles); `sides` names the
    sides in use, some of "lrtb".
    """

    id: str
    rect: Rect
    centred: bool = False
    sides: str = "lrtb"

    @property
    def cx(self) -> float:
        return (self.rect.x0 + self.rect.x1) / 2

    @property
    def cy(self) -> float:
        return (self.rect.y0 + self.rect.y1) / 2

    @property
    def span(self) -> tuple[float, float]:
        """The x at which its top and bottom may be met."""
        if self.centred:
            return self.cx, self.cx
        return self.rect.x0 + INSET, self.rect.x1 - INSET


Line = tuple[Point, ...]


class Router:
    """Routes links one by one around obstacles and around each other."""

    def __init__(self, obstacles: Iterable[tuple[str, Rect]], levels: Iterable[float]) -> None:
        self.obstacles = [(name, rect.grown(CLEAR)) for name, rect in obstacles]
        self.levels = _apart(sorted(levels))  # y of horizontal channels free of boxes
        self.lines: list[tuple[str, str, list[Rect]]] = []

    def add(self, src: str, dst: str, line: Line) -> None:
        """A line drawn otherwise, which later ones take care not to cross."""
        self.lines.append((src, dst, [_segment(p, q) for p, q in pairwise(line)]))

    def route(self, a: Port, b: Port) -> Line:
        """The cheapest line from a to b."""
        best: tuple[float, Line] = float("inf"), ((a.cx, a.cy), (b.cx, b.cy))
        for least, stage in enumerate(_STAGES):
            if best[0] <= BEND * least:
                break  # more bends cannot be cheaper
            best = self._best(_lines(stage(a, b, self), a, b), a, b, best)
        self.add(a.id, b.id, best[1])
        return best[1]

    def _best(
        self, lines: Iterator[Line], a: Port, b: Port, best: tuple[float, Line]
    ) -> tuple[float, Line]:
        for base, _, line in sorted((_length_cost(x), i, x) for i, x in enumerate(lines)):
            if base >= best[0]:
                break
            cost = base + self._cost(line, a, b)
            if cost < best[0]:
                best = cost, line
        return best

    def _cost(self, line: Line, a: Port, b: Port) -> float:
        segments = [_segment(p, q) for p, q in pairwise(line)]
        cost = 0.0
        for name, rect in self.obstacles:
            if name != a.id and name != b.id:
                cost += HIT * sum(s.meets(rect) for s in segments)
        for own in (a.rect.grown(-1), b.rect.grown(-1)):
            cost += HIT * sum(s.meets(own) for s in segments)
        for src, dst, other in self.lines:
            related = src == a.id or dst == b.id
            for segment in other:
                cost += _conflict(segments, segment, related)
        return cost


def _conflict(segments: list[Rect], other: Rect, related: bool) -> float:
    cost = 0.0
    for s in segments:
        flat_s, flat_o = s.y0 == s.y1, other.y0 == other.y1
        if flat_s != flat_o:
            cross = s.x0 <= other.x1 and other.x0 <= s.x1 and s.y0 <= other.y1 and other.y0 <= s.y1
            cost += CROSS * cross
        elif not related and s.grown(5).meets(other):
            cost += SHARE
    return cost


def _segment(p: Point, q: Point) -> Rect:
    return Rect(min(p[0], q[0]), min(p[1], q[1]), max(p[0], q[0]), max(p[1], q[1]))


def _length_cost(line: Line) -> float:
    """Bends and length; a line that leaves sideways to go up or down blocks those that go on."""
    sideways = len(line) == 3 and line[0][1] == line[1][1]
    length = sum(abs(p[0] - q[0]) + abs(p[1] - q[1]) for p, q in pairwise(line))
    return BEND * (len(line) - 2) + PER_PX * length + SIDEWAYS * sideways


def _lines(candidates: Iterator[Line], a: Port, b: Port) -> Iterator[Line]:
    """Candidates without needless points that leave and enter their shapes properly."""
    for line in candidates:
        tidy = _tidy(line)
        if len(tidy) > 1 and _leaves(tidy, a.rect) and _leaves(tidy[::-1], b.rect):
            yield tidy


def _tidy(line: Line) -> Line:
    """Without repeated points and without points in the middle of a straight piece."""
    out: list[Point] = []
    for p in line:
        if out and abs(p[0] - out[-1][0]) < NEAR and abs(p[1] - out[-1][1]) < NEAR:
            continue
        if len(out) > 1 and (out[-2][0] == out[-1][0] == p[0] or out[-2][1] == out[-1][1] == p[1]):
            out.pop()
        out.append(p)
    return tuple(out)


def _leaves(line: Line, rect: Rect) -> bool:
    """True when the first step goes away from the shape, at least half a stub."""
    (x, y), (nx, ny) = line[0], line[1]
    need = STUB if len(line) > 2 else 8
    if y == ny:
        return nx >= x + need if x == rect.x1 else x == rect.x0 and nx <= x - need
    return ny >= y + need if y == rect.y1 else y == rect.y0 and ny <= y - need


def _straight(a: Port, b: Port, router: Router) -> Iterator[Line]:
    if abs(a.cy - b.cy) < NEAR and b.rect.x0 > a.rect.x1 and "r" in a.sides and "l" in b.sides:
        yield (a.rect.x1, a.cy), (b.rect.x0, a.cy)
    low, high = max(a.span[0], b.span[0]), min(a.span[1], b.span[1])
    if low <= high + NEAR:
        for x in _distinct((low + high) / 2, low, high) if low < high else [low]:
            if b.rect.y0 > a.rect.y1 and "b" in a.sides and "t" in b.sides:
                yield (x, a.rect.y1), (x, b.rect.y0)
            if b.rect.y1 < a.rect.y0 and "t" in a.sides and "b" in b.sides:
                yield (x, a.rect.y0), (x, b.rect.y1)


def _side_exits(p: Port) -> Iterator[tuple[float, float]]:
    if "r" in p.sides:
        yield p.rect.x1, p.cy
    if "l" in p.sides:
        yield p.rect.x0, p.cy


def _flat_exits(p: Port, towards: float) -> Iterator[tuple[float, float]]:
    """Points on top and bottom: near `towards`, and near the corners."""
    low, high = p.span
    for x in _distinct(min(max(towards, low), high), p.cx, low, high):
        if "b" in p.sides:
            yield x, p.rect.y1
        if "t" in p.sides:
            yield x, p.rect.y0


def _one_bend(a: Port, b: Port, router: Router) -> Iterator[Line]:
    for x, y in _side_exits(a):
        for bx, by in _flat_exits(b, x):
            yield (x, y), (bx, y), (bx, by)
    for x, y in _flat_exits(a, b.cx):
        for bx, by in _side_exits(b):
            yield (x, y), (x, by), (bx, by)


def _two_bends(a: Port, b: Port, router: Router) -> Iterator[Line]:
    yield from _brackets(a, b, router)
    for x, y in _side_exits(a):
        for bx, by in _side_exits(b):
            for mid in _distinct(bx - 18, x + 18, (x + bx) / 2, bx + 18):
                yield (x, y), (mid, y), (mid, by), (bx, by)


def _brackets(a: Port, b: Port, router: Router) -> Iterator[Line]:
    """Out of a's top or bottom, along a free level, into b's top or bottom."""
    near = min(a.rect.y0, b.rect.y0) - REACH, max(a.rect.y1, b.rect.y1) + REACH
    levels = [y for y in router.levels if near[0] < y < near[1]]
    outs, ins = list(_flat_exits(a, b.cx)), list(_flat_exits(b, a.cx))
    for level in levels:
        for x, y in outs:
            for bx, by in ins:
                if (level < y) == (y == a.rect.y0) and (level < by) == (by == b.rect.y0):
                    yield (x, y), (x, level), (bx, level), (bx, by)
        for x, y in _side_exits(a):
            mid = x + 16 if x == a.rect.x1 else x - 16
            for bx, by in ins:
                if (level < by) == (by == b.rect.y0):
                    yield (x, y), (mid, y), (mid, level), (bx, level), (bx, by)
        for bx, by in _side_exits(b):
            mid = bx - 18 if bx == b.rect.x0 else bx + 18
            for x, y in outs:
                if (level < y) == (y == a.rect.y0):
                    yield (x, y), (x, level), (mid, level), (mid, by), (bx, by)


def _apart(values: list[float]) -> list[float]:
    """Without those within 3 px of the one before."""
    out: list[float] = []
    for y in values:
        if not out or y - out[-1] >= 3:
            out.append(y)
    return out


_STAGES = (_straight, _one_bend, _two_bends)  # a line of stage n has n bends or more


def _distinct(*values: float) -> list[float]:
    return list(dict.fromkeys(values))
