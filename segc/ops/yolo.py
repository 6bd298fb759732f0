"""The boxes that YOLO's cells say."""

from __future__ import annotations

from segc.code import Call, Helper, SizeOf, X
from segc.op import Need, Problem, Style, attr, op
from segc.ops.common import feature_map, known, ranked, sizes
from segc.ops.rows import RowOp
from segc.types import Boxes, Tensor, Type

YOLO_BOXES = Helper(
    "yolo_boxes",
    '''\
def yolo_boxes(
    x: Tensor, side: int, per_cell: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The boxes of all cells in images of this height and width, and their scores.

    x: [N, side * side * (C + 5 * per_cell)], classes of all cells, then confidences of all boxes,
    then their x, y (within the cell) and roots of width and height (shares of the image)
    Returns boxes [N * side * side * per_cell, 5] and, for each, 0 for background and confidence
    times class for all others, [.., 1 + C].
    """
    cells = side * side
    classes = x.shape[1] // cells - 5 * per_cell
    parts = [cells * classes, cells * per_cell, cells * per_cell * 4]
    scores, confidence, coordinates = x.split(parts, 1)
    scores = scores.reshape(-1, 1, classes) * confidence.reshape(-1, per_cell, 1)
    steps = torch.arange(side, dtype=x.dtype, device=x.device)
    corner = torch.stack([steps.repeat(side), steps.repeat_interleave(side)], 1)[:, None]
    coordinates = coordinates.reshape(-1, cells, per_cell, 4)
    scale = x.new_tensor([size[1], size[0]])
    centre = (coordinates[..., :2] + corner) / side * scale
    half = coordinates[..., 2:].square() / 2 * scale
    number = torch.arange(len(x), dtype=x.dtype, device=x.device)[:, None, None, None]
    number = number.expand(-1, cells, per_cell, 1)
    boxes = torch.cat([number, centre - half, centre + half], -1).flatten(0, 2)
    return boxes, F.pad(scores.flatten(0, 1), (1, 0))
''',
)


@op("yolo_boxes")
class YoloBoxes(RowOp):
    """The boxes that the cells of an image say, and the score of each class (Redmon et al. 2016).

    box(cell, b) = ((column + x) / side, (row + y) / side, w^2, h^2) of the image, by its centre
    score(cell, b, c) = confidence[cell, b] * class[cell, c]; the first column, background's, is 0
    x: [N, side^2 (C + 5 per_cell)], image: [N, 3, H, W] -> boxes [N side^2 per_cell, 5], scores
    [.., 1 + C]
    x is laid out as `yolo_loss` takes it.
    """

    operands = ("x", "image")

    side: int = attr("cells along each side of the image", 7, min=1)
    per_cell: int = attr("boxes of a cell", 2, min=1)
    helpers = (YOLO_BOXES,)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "scores")

    def infer(self, need: Need, x: Tensor, image: Tensor) -> tuple[Type, ...]:
        ranked(x, self.name, (2,), "what the cells of each image say, [N, values]")
        n = feature_map(image, self.name, 1)[0]
        need.equal(n, x.shape[0], Problem("SEG203", "these are other images", operand=1))
        cells = self.side * self.side
        classes, rest = divmod(known(x.shape[1], self.name, "values"), cells)
        if rest or classes <= 5 * self.per_cell:
            message = f"{cells} cells of {self.per_cell} boxes say {cells} x (classes + "
            message += f"{5 * self.per_cell}) values, this has {sizes(x.shape[1:])}"
            hint = f"with 20 classes there are {cells * (20 + 5 * self.per_cell)}"
            raise Problem("SEG203", message, operand=0, hint=hint)
        rows = n * (cells * self.per_cell)
        found = Boxes((rows, 5), images=n)
        return found, Tensor((rows, 1 + classes - 5 * self.per_cell))

    def expr(self, x: Tensor, image: Tensor) -> Call:
        return Call("yolo_boxes", (X(0), self.side, self.per_cell, SizeOf(1)))

    @property
    def style(self) -> Style:
        return Style("region", "YOLO boxes")
