"""Classical image operators: computed, not learned, and without a gradient."""

from __future__ import annotations

from segc.code import Call, Helper, X
from segc.op import Example, Field, Need, Op, Problem, Style, attr, op
from segc.ops.common import feature_map, whole
from segc.types import Tensor


@op("canny")
class Canny(Op):
    """Canny's edges, pixel for pixel those of cv2.Canny (3x3 Sobel, |dx| + |dy|); no gradient.

    y[i,j] = 255 on an edge, 0 elsewhere; of several channels the one with the steepest slope counts
    x: [N, C, H, W] -> [N, 1, H, W]
    Values become bytes as C casts them: cut off towards zero, then modulo 256 (-1.7 is 255). An
    edge begins above `high` and goes on above `low`; how many steps it takes to follow the longest
    one depends on the image, so the network cannot be traced by torch.export.
    Canny, A Computational Approach to Edge Detection, PAMI 1986.
    """

    low: int = attr("an edge goes on while the slope is above (cv2's threshold1)", min=0)
    high: int = attr("an edge begins where the slope is above (cv2's threshold2)", min=0)
    examples = (
        Example({"low": 10, "high": 100}, ((2, 3, 6, 7),)),
        Example({"low": 0, "high": 0}, ((1, 1, 4, 5),)),
    )
    helpers = (
        Helper(
            "canny",
            '''\
def canny(image: Tensor, low: int, high: int) -> Tensor:
    """Edges as cv2.Canny finds them, 255 on an edge: [N, C, H, W] -> [N, 1, H, W], no gradient."""
    pixels = (image.detach().long() % 256).float()  # bytes, as C casts them
    p = F.pad(pixels, (1, 1, 1, 1), mode="replicate").long()
    rows = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx = rows[..., 2:] - rows[..., :-2]
    dy = columns[:, :, 2:] - columns[:, :, :-2]
    slope, channel = (dx.abs() + dy.abs()).max(dim=1, keepdim=True)
    ridge = canny_ridge(slope, dx.gather(1, channel), dy.gather(1, channel))
    edges = canny_follow(ridge & (slope > low), ridge & (slope > high))
    return 255 * edges.to(image.dtype)
''',
        ),
        Helper(
            "canny_ridge",
            '''\
def canny_ridge(slope: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the slope is largest across the edge, in one of four directions 45 degrees apart."""
    height, width = slope.shape[-2:]
    around = F.pad(slope, (1, 1, 1, 1))

    def beside(down: int, right: int) -> Tensor:
        return around[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x, y = dx.abs(), dy.abs() << 15
    flat = y < 13573 * x  # below 22.5 degrees; the tangent in units of 2^-15
    steep = y > 13573 * x + (x << 16)  # above 67.5 degrees: its tangent is larger by 2
    rising = (dx ^ dy) >= 0  # of the same sign
    along_row = (slope > beside(0, -1)) & (slope >= beside(0, 1))
    along_column = (slope > beside(-1, 0)) & (slope >= beside(1, 0))
    falling_diagonal = (slope > beside(-1, -1)) & (slope > beside(1, 1))
    rising_diagonal = (slope > beside(-1, 1)) & (slope > beside(1, -1))
    diagonal = torch.where(rising, falling_diagonal, rising_diagonal)
    return torch.where(flat, along_row, torch.where(steep, along_column, diagonal))
''',
        ),
        Helper(
            "canny_follow",
            '''\
def canny_follow(weak: Tensor, edges: Tensor) -> Tensor:
    """The pixels of `weak` that touch `edges`, directly or through others (8 neighbours)."""
    for _ in range(edges[0].numel()):
        grown = weak & (F.max_pool2d(edges.float(), 3, stride=1, padding=1) > 0)
        if grown.is_meta or torch.equal(grown, edges):  # without values there is nothing to follow
            return grown
        edges = grown
    return edges
''',
        ),
    )

    def validate(self) -> None:
        if self.low > self.high:
            message = f"an edge cannot begin above {self.high} and end above {self.low}"
            hint = "`low` is the smaller of the two thresholds"
            raise Problem("SEG210", message, attr="low", hint=hint)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, _, h, w = feature_map(x, self.name)
        return Tensor((n, 1, h, w), x.dtype)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[0])  # an edge is followed wherever it leads

    def expr(self, x: Tensor) -> Call:
        return Call("canny", (X(0), self.low, self.high))

    @property
    def style(self) -> Style:
        return Style("input", f"Canny {self.low}/{self.high}")
