"""The lanes of a picture: which item lies on which output stride, what stands beside what, and x.

Rows are output strides, the finest on top. Items that change the resolution are not cells: they
sit on the boundary between two lanes, on the line they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from segc.draw.boxes import CIRCLE, measure, measure_row
from segc.draw.model import Fan, Item, View
from segc.draw.scene import CARD

FAN_PAD, FAN_TITLE = 9.0, 20.0  # px between frame and branches; room for the title above
ROW, ROW_GAP = 27.0, 6.0  # branches of a fan, px


@dataclass(frozen=True, slots=True)
class Fit:
    """One attempt: px of indent per lane and between neighbours, and what boxes tell."""

    indent: float = 57.0
    gap: float = 28.0
    details: str = "full"  # what boxes tell: full | brief | none
    page: float = 1280.0
    pill_pad: float = 25.0  # px between a boundary with pills and the cells
    plain_pad: float = 15.0  # px between a boundary without pills and the cells
    tallest: float = 720.0  # most px of the page's height


@dataclass(slots=True)
class Cell:
    """A box, circle or fan in a lane: x is its left edge, y the line its links meet it at, px."""

    id: str
    lane: int
    w: float
    h: float
    order: int
    kind: str  # box | pill | circle | fan
    train: bool = False
    last: bool = False  # nothing follows it
    t: Fraction = Fraction(0)  # 0 as far left as can be, 1 as far right
    row: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def above(self) -> float:
        """px it reaches above y."""
        if self.kind == "fan":
            return self.h / 2 + FAN_TITLE
        return max(self.h / 2, 26.0) if self.kind == "circle" else self.h / 2

    @property
    def below(self) -> float:
        """px it reaches below y."""
        return self.h / 2


@dataclass(slots=True)
class Plan:
    """Cells by id in topological order, hops between them, and the items on lane boundaries."""

    view: View
    fit: Fit
    strides: list[Fraction]
    cells: dict[str, Cell]
    cell_of: dict[str, str]  # item or fan -> cell
    boundary: dict[str, int]  # item -> index of the upper of the two lanes it sits between
    hops: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[int, list[list[Cell]]] = field(default_factory=dict)

    def lane(self, item: Item) -> int:
        return self.strides.index(_stride(item))


def make_plan(view: View, fit: Fit) -> Plan:
    """Everything about the lanes that does not depend on the page's size."""
    strides = sorted({_stride(item) for item in view.items})
    plan = Plan(view, fit, strides, {}, {}, {})
    for item in view.items:
        source = _source(view, item)
        if source is not None and item.kind == "pill" and item.arrow:
            here, there = plan.lane(source), plan.lane(item)
            if here != there:
                plan.boundary[item.id] = here if there > here else here - 1
    _make_cells(plan)
    plan.hops = list(dict.fromkeys(_hops(plan)))
    for cell in plan.cells.values():
        cell.last = all(a != cell.id for a, _ in plan.hops)
    _lean(plan)
    _make_rows(plan)
    return plan


def _stride(item: Item) -> Fraction:
    return item.stride if item.stride is not None else Fraction(1)


def _source(view: View, item: Item) -> Item | None:
    links = [link for link in view.before[item.id] if link.kind != "index"]
    return view.by_id[links[0].src] if links else None


def _make_cells(plan: Plan) -> None:
    member = {b: fan for fan in plan.view.fans for b in fan.branches}
    for order, item in enumerate(plan.view.items):
        if item.id in plan.boundary:
            continue
        fan = member.get(item.id)
        if fan is None:
            w, h = measure(item, plan.fit.details)
            cards = CARD * (min(item.count, 3) - 1) if item.kind == "box" else 0
            cell = Cell(item.id, plan.lane(item), w + cards, h, order, item.kind, item.only)
        elif fan.id in plan.cells:
            plan.cell_of[item.id] = fan.id
            continue
        else:
            w, h = fan_size(plan.view, fan)
            cell = Cell(fan.id, plan.lane(item), w, h, order, "fan", item.only)
        plan.cells[cell.id] = cell
        plan.cell_of[item.id] = cell.id


def fan_size(view: View, fan: Fan) -> tuple[float, float]:
    """Width and height of a fan's frame; its title stands above."""
    inner = max(measure_row(view.by_id[b]) for b in fan.branches)
    rows = len(fan.branches)
    height = rows * ROW + (rows - 1) * ROW_GAP + 2 * FAN_PAD
    return max(inner, 120.0) + 2 * FAN_PAD, height


def _hops(plan: Plan) -> Iterator[tuple[str, str]]:
    """Pairs of cells a value flows between, pills passed over."""
    for link in plan.view.links:
        if link.kind == "index" or link.dst in plan.boundary:
            continue
        target = plan.cell_of[link.dst]
        for source in _cells_behind(plan, link.src):
            if source != target:
                yield source, target


def _cells_behind(plan: Plan, item: str) -> Iterator[str]:
    if item not in plan.boundary:
        yield plan.cell_of[item]
        return
    for link in plan.view.before[item]:
        if link.kind != "index":
            yield from _cells_behind(plan, link.src)


def _lean(plan: Plan) -> None:
    """t of each cell: 0 on the way down, growing along the deepest lane, 1 on the way up."""
    deepest = max(cell.lane for cell in plan.cells.values())
    floor = [cell for cell in plan.cells.values() if cell.lane == deepest and not cell.train]
    reach = reachable(plan)
    rank = {cell.id: i + 1 for i, cell in enumerate(floor)}
    before: dict[str, list[str]] = {name: [] for name in plan.cells}
    for a, b in plan.hops:
        before[b].append(a)
    for cell in plan.cells.values():
        behind = max((plan.cells[a].t for a in before[cell.id]), default=Fraction(0))
        if cell.id in rank:
            wish = Fraction(rank[cell.id], len(floor) + 1)
        else:
            leads = cell.train or any(f.id in reach[cell.id] for f in floor)
            wish = Fraction(0) if leads else Fraction(1)
        cell.t = max(behind, wish)


def reachable(plan: Plan) -> dict[str, set[str]]:
    """The cells each cell leads to."""
    after: dict[str, list[str]] = {name: [] for name in plan.cells}
    for a, b in plan.hops:
        after[a].append(b)
    table: dict[str, set[str]] = {}
    for name in reversed(plan.cells):
        table[name] = set(after[name]).union(*(table[b] for b in after[name]))
    return table


def _make_rows(plan: Plan) -> None:
    """Splits each lane into rows of cells that follow one another."""
    reach = reachable(plan)
    for cell in sorted(plan.cells.values(), key=lambda c: (c.t, c.order)):
        rows = plan.rows.setdefault(cell.lane, [])
        for i, row in enumerate(rows):
            last = row[-1]
            follows = last.t < cell.t or cell.id in reach[last.id]
            if follows and not (cell.train and i == 0):
                row.append(cell)
                cell.row = i
                break
        else:
            if cell.train and not rows:
                rows.append([])
            cell.row = len(rows)
            rows.append([cell])


def place_x(plan: Plan, left: float, right: float) -> bool:
    """Sets x of every cell between `left` and `right`; False when there is not enough room.

    Longest paths over the differences give the leftmost and the rightmost x; each cell stands
    between them at its t, which grows along every hop, so all differences are kept.
    """
    rules = list(_differences(plan))
    ordered = sorted(plan.cells.values(), key=lambda c: (c.t, c.order))
    into: dict[str, list[tuple[Cell, float]]] = {name: [] for name in plan.cells}
    out: dict[str, list[tuple[Cell, float]]] = {name: [] for name in plan.cells}
    for a, b, d in rules:
        into[b.id].append((a, d))
        out[a.id].append((b, d))
    first: dict[str, float] = {}
    for cell in ordered:
        first[cell.id] = max([left, *(first[a.id] + d for a, d in into[cell.id])])
    last: dict[str, float] = {}
    for cell in reversed(ordered):
        ends = [right - cell.w, *(last[b.id] - d for b, d in out[cell.id])]
        last[cell.id] = min(ends)
        if last[cell.id] < first[cell.id] - 1e-6:
            return False
    for cell in ordered:
        cell.x = round(first[cell.id] + float(cell.t) * (last[cell.id] - first[cell.id]), 1)
    for cell in ordered:
        if cell.train:
            cell.x = max([left, *(a.x + d for a, d in into[cell.id])])
    _straighten(plan, last, out)
    return True


def _straighten(
    plan: Plan, last: dict[str, float], out: dict[str, list[tuple[Cell, float]]]
) -> None:
    """Moves the end of the deepest lane right where that makes its line up a straight one."""
    for row in plan.rows.get(len(plan.strides) - 1, []):
        cell = row[-1]
        for target, _ in out[cell.id]:
            wish = target.x + target.w / 2 - cell.w + 26
            if cell.kind == "box" and target.lane < cell.lane and 0 < wish - cell.x < 90:
                cell.x = min(wish, last[cell.id])


def _differences(plan: Plan) -> Iterator[tuple[Cell, Cell, float]]:
    """x(b) >= x(a) + d for cells that are joined or stand side by side."""
    for a_id, b_id in plan.hops:
        a, b = plan.cells[a_id], plan.cells[b_id]
        yield a, b, _difference(a, b, plan.fit)
    for rows in plan.rows.values():
        for row in rows:
            for a, b in _neighbours(row):
                yield a, b, _beside(a, b, plan.fit)


def _neighbours(row: list[Cell]) -> Iterable[tuple[Cell, Cell]]:
    return zip(row, row[1:], strict=False)


def _beside(a: Cell, b: Cell, fit: Fit) -> float:
    fans = 12 * ((a.kind == "fan") + (b.kind == "fan"))
    return a.w + fit.gap + fans


def _difference(a: Cell, b: Cell, fit: Fit) -> float:
    if a.lane == b.lane:
        return 8.0 if b.train and b.row != a.row else _beside(a, b, fit)
    if a.kind == "fan" or b.kind == "fan":
        return (a.w + 20 if a.kind == "fan" else a.w / 2) + (36 if b.kind == "fan" else 0)
    if a.kind == "circle":
        return CIRCLE / 2 - (0 if b.kind == "circle" else b.w / 2) - (b.kind == "circle") * 15
    if b.kind == "circle":
        return 20 - CIRCLE / 2
    if b.lane > a.lane:
        return fit.indent
    return a.w - b.w + (0.0 if b.last else fit.indent)
