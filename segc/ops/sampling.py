"""Rows drawn for training: a share of those that match an object, and of background."""

from __future__ import annotations

from itertools import pairwise

from segc.code import Call, Helper, X
from segc.dim import DimLike
from segc.op import Floats, Need, Operand, Problem, attr, op
from segc.ops.assign_code import IMAGES
from segc.ops.common import sizes as printed
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Match, Pick, Tensor, Type

DRAWN = Helper(
    "drawn",
    '''\
def drawn(rows: Tensor, count: int, again: bool = False) -> Tensor:
    """At most `count` of the rows, at random; again: some of them several times if there are less.

    rows: [R] -> [S]
    """
    if again and 0 < len(rows) < count:
        return rows[torch.randint(len(rows), (count,), device=rows.device)]
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]
''',
)
SAMPLE = Helper(
    "sample_rows",
    '''\
def sample_rows(
    boxes: Tensor, match: Tensor, count: int, positive: int, again: bool = False
) -> tuple[Tensor, Tensor]:
    """Rows drawn at random from each image, and which of these match an object.

    boxes: [R, 5], match: [R], rows of an image together -> rows of R in their order, [S], and rows
    of S, [P]
    count: rows of an image, of which at most `positive` match an object; the others are background
    again: background is drawn several times if there is too little
    """
    parts, start = [match[:0]], 0
    for part in match.split(rows_per_image(boxes)):
        found = drawn(torch.where(part >= 0)[0], positive)
        others = drawn(torch.where(part == -1)[0], count - len(found), again)
        parts.append(start + torch.cat([found, others]).sort().values)
        start += len(part)
    rows = torch.cat(parts)
    return rows, torch.where(match[rows] >= 0)[0]
''',
)
SAMPLE_BANDS = Helper(
    "sample_bands",
    '''\
def sample_bands(
    boxes: Tensor,
    match: Tensor,
    overlap: Tensor,
    count: int,
    positive: int,
    bands: tuple[float, ...],
    shares: tuple[float, ...],
) -> tuple[Tensor, Tensor]:
    """Rows drawn at random from each image, background by how much it overlaps an object.

    boxes: [R, 5], match, overlap: [R], rows of an image together -> rows of R in their order, [S],
    and which of these match an object, rows of S, [P]
    bands: the least overlap of each band of background, falling; shares: of the rows that those on
    objects leave of `count`, how many come from each
    """
    parts, start = [match[:0]], 0
    images = rows_per_image(boxes)
    for part, near in zip(match.split(images), overlap.split(images)):
        found = drawn(torch.where(part >= 0)[0], positive)
        chosen, free, left = [found], part == -1, count - len(found)
        for least, share in zip(bands, shares):
            band = free & (near >= least)
            chosen.append(drawn(torch.where(band)[0], round(share * left)))
            free = free & ~band
        parts.append(start + torch.cat(chosen).sort().values)
        start += len(part)
    rows = torch.cat(parts)
    return rows, torch.where(match[rows] >= 0)[0]
''',
)
HARDEST = Helper(
    "hardest_negatives",
    '''\
def hardest_negatives(
    boxes: Tensor, match: Tensor, losses: Tensor, ratio: float
) -> tuple[Tensor, Tensor]:
    """Of each image the rows that match an object, and `ratio` times as many of the background with
    the largest losses.

    boxes: [R, 5], match, losses: [R], rows of an image together -> rows of R in their order, [S],
    and which of these match an object, rows of S, [P]
    """
    parts, start = [match[:0]], 0
    images = rows_per_image(boxes)
    for part, loss in zip(match.split(images), losses.detach().split(images)):
        found = torch.where(part >= 0)[0]
        others = torch.where(part == -1)[0]
        hardest = loss[others].sort(descending=True, stable=True).indices
        others = others[hardest[: math.ceil(ratio * len(found))]]
        parts.append(start + torch.cat([found, others]).sort().values)
        start += len(part)
    rows = torch.cat(parts)
    return rows, torch.where(match[rows] >= 0)[0]
''',
)
ASSIGNED = Helper(
    "assigned_rows",
    '''\
def assigned_rows(match: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that are not left out, and which of these match an object.

    match: [R] -> rows of R, [S], and rows of S, [P]
    """
    rows = torch.where(match >= -1)[0]
    return rows, torch.where(match[rows] >= 0)[0]
''',
)
SHARES = Helper(
    "positive_shares",
    '''\
def positive_shares(boxes: Tensor, match: Tensor) -> Tensor:
    """1 / the number of rows of its image that match an object, at least 1, for each row.

    boxes: [R, 5], match: [R], rows of an image together -> [R]
    """
    parts = [boxes.new_zeros(0)]
    for part in match.split(rows_per_image(boxes)):
        found = (part >= 0).sum().clamp(min=1)
        parts.append((1 / found).to(boxes.dtype).expand(len(part)))
    return torch.cat(parts)
''',
)


class Draw(RowOp):
    """Base of operators that choose rows for training: a choice, and its rows on objects."""

    random = True

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "positive")

    def picks(self, need: Need, match: Match, most: DimLike | None = None) -> tuple[Pick, Pick]:
        """A choice of at most so many rows, and the rows of these that match an object."""
        rows = match.shape[0]
        if isinstance(most, int) and isinstance(rows, int):
            most = min(most, rows)
        drawn = need.rows(rows if most is None else most, of=rows)
        found = need.rows(drawn, of=drawn, port="positive")
        return Pick((drawn,), rows), Pick((found,), drawn)


@op("sample")
class Sample(Draw):
    """Rows drawn at random from each image: some on objects, filled up with background.

    out: rows with match >= 0, at most positive * count of them, and rows with match -1, together
    at most count an image, in the order of the rows; positive: which of these match an object
    boxes: [R, 5], match: [R] -> out: S of R, positive: P of S
    Drawn as torchvision's BalancedPositiveNegativeSampler does, image by image, objects first.
    With `bands` background is drawn by its overlap (MNC).
    """

    operands = ("boxes", "match")
    kinds = {"boxes": "boxes", "match": "match"}
    helpers = (IMAGES, DRAWN, SAMPLE, SAMPLE_BANDS)

    count: int = attr("rows of an image", min=1)
    positive: float = attr("share of them on objects, at most", min=0, max=1)
    replacement: bool = attr(
        "background is drawn several times where there is too little (DenseCap)", False
    )
    overlap: Operand | None = attr(
        "overlap of each row with an object (`max_overlaps`), for `bands`", None
    )
    bands: Floats | None = attr(
        "the least overlap of each band of background, falling: [0.1, 0]", None, min=0, max=1
    )
    shares: Floats | None = attr(
        "the share of each band in the background: [0.85, 0.15]; nothing fills up a band that is "
        "short",
        None,
        min=0,
        max=1,
    )

    def validate(self) -> None:
        self._together()
        if not self.bands or not self.shares:
            return
        if len(self.bands) != len(self.shares):
            message = f"{len(self.bands)} bands of background have {len(self.shares)} shares"
            raise Problem("SEG210", message, attr="shares", hint="one share for each band")
        if any(low >= high for high, low in pairwise(self.bands)):
            message = "bands of background stand in falling order, each by its least overlap"
            hint = f"bands: {sorted(self.bands, reverse=True)}"
            raise Problem("SEG210", message, attr="bands", hint=hint)
        if sum(self.shares) > 1 + 1e-9:
            message = f"the bands are {sum(self.shares):g} times the background"
            raise Problem("SEG210", message, attr="shares", hint="shares add up to 1 at most")
        if self.replacement:
            message = "with `bands` no row is drawn again"
            raise Problem("SEG210", message, attr="replacement", hint="leave `replacement` out")

    def _together(self) -> None:
        """`overlap`, `bands` and `shares` are given together or not at all."""
        parts = {"overlap": "overlap" in self.values, "bands": self.bands, "shares": self.shares}
        given = [name for name, value in parts.items() if value]
        lacking = [name for name in parts if name not in given]
        if given and lacking:
            message = f"`{given[0]}` is of use with `{lacking[0]}` only"
            hint = "bands of background need `overlap`, `bands` and `shares`"
            raise Problem("SEG210", message, attr=given[0], hint=hint)

    def infer(
        self, need: Need, boxes: Boxes, match: Match, overlap: Tensor | None = None
    ) -> tuple[Type, ...]:
        same_rows(need, boxes.shape[0], match.shape[0], "sample takes boxes and their match")
        if overlap is not None:
            row_values(need, boxes, overlap, "sample", 2)
        most = None if boxes.images is None else boxes.images * self.count
        return self.picks(need, match, most)

    def expr(self, boxes: Boxes, match: Match, overlap: Tensor | None = None) -> Call:
        positive = int(self.count * self.positive)
        if overlap is not None:
            given = (X(0), X(1), X(2), self.count, positive, self.bands, self.shares)
            return Call("sample_bands", given)
        again = {"again": self.replacement}
        return Call("sample_rows", (X(0), X(1), self.count, positive), again, {"again": False})


@op("hard_negatives")
class HardNegatives(Draw):
    """Rows on objects, and those of the background that the network is most wrong about (SSD).

    out: of each image all rows with match >= 0 and, of those with match -1, `ratio` times as many
    with the largest losses, in the order of the rows; positive: which of these match an object
    boxes: [R, 5], match: [R], losses: [R] (`ce_loss` with `reduction: none`) -> out: S of R,
    positive: P of S
    """

    operands = ("boxes", "match", "losses")
    kinds = {"boxes": "boxes", "match": "match"}
    helpers = (IMAGES, HARDEST)

    ratio: float = attr("rows of background for each on an object", 3.0, min=0)

    def infer(self, need: Need, boxes: Boxes, match: Match, losses: Tensor) -> tuple[Type, ...]:
        what = "hard_negatives takes boxes and their match"
        same_rows(need, boxes.shape[0], match.shape[0], what)
        row_values(need, boxes, losses, self.name, 2)
        return self.picks(need, match)

    def expr(self, boxes: Boxes, match: Match, losses: Tensor) -> Call:
        return Call("hardest_negatives", (X(0), X(1), X(2), self.ratio))


@op("assigned")
class Assigned(Draw):
    """All rows that are not left out: what `sample` answers, without drawing (RetinaNet).

    out: rows with match >= -1; positive: which of these match an object
    match: [R] -> out: S of R, positive: P of S
    """

    operands = ("match",)
    kinds = {"match": "match"}
    helpers = (ASSIGNED,)

    def infer(self, need: Need, match: Match) -> tuple[Type, ...]:
        return self.picks(need, match)

    def expr(self, match: Match) -> Call:
        return Call("assigned_rows", (X(0),))


@op("positive_shares")
class PositiveShares(RowOp):
    """Weights of rows that average a loss over the objects of each image (RetinaNet).

    y[r] = 1 / max(1, the rows of r's image that match an object)
    boxes: [R, 5], match: [R] -> [R]
    """

    operands = ("boxes", "match")
    kinds = {"boxes": "boxes", "match": "match"}
    helpers = (IMAGES, SHARES)

    def infer(self, need: Need, boxes: Boxes, match: Match) -> Tensor:
        what = "positive_shares takes boxes and their match"
        same_rows(need, boxes.shape[0], match.shape[0], what)
        return Tensor(match.shape)

    def expr(self, boxes: Boxes, match: Match) -> Call:
        return Call("positive_shares", (X(0), X(1)))


def row_values(need: Need, boxes: Boxes, x: Tensor, op: str, operand: int) -> None:
    """Demand one real number for each box."""
    if x.dtype != "float" or len(x.shape) != 1:
        message = f"{op} takes one number for each box, this has {printed(x.shape)} {x.dtype}"
        raise Problem("SEG201", f"{message} values", operand=operand)
    same_rows(need, boxes.shape[0], x.shape[0], f"{op} takes boxes and their values", operand)
