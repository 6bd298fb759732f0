"""The loss of YOLO: squares of all it says of the cells of an image."""

from __future__ import annotations

from segc.code import Call, Expr, Helper, Infix, SizeOf, X
from segc.op import Need, Operand, Problem, Style, attr, op
from segc.ops.assign import integers
from segc.ops.common import feature_map, known, ranked
from segc.ops.common import sizes as printed
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Tensor

CELLS = Helper(
    "yolo_cells",
    '''\
def yolo_cells(
    boxes: Tensor, images: int, side: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The objects that cells have to find: the first whose centre lies in the cell.

    boxes: [G, 5] in images of this height and width -> rows of G, [P]; their cell, image by image
    and row by row, [P]; centre within the cell, width and height as shares of the image, [P, 4]
    """
    scale = boxes.new_tensor([size[1], size[0]])
    centre = (boxes[:, 1:3] + boxes[:, 3:]) / 2 / scale * side
    corner = centre.floor().clamp(0, side - 1)
    place = torch.cat([centre - corner, (boxes[:, 3:] - boxes[:, 1:3]) / scale], 1)
    column, row = corner.long().unbind(1)
    cell = (boxes[:, 0].long() * side + row) * side + column
    order = torch.arange(len(cell), device=cell.device)
    first = cell.new_full((images * side * side,), len(cell))
    first = first.scatter_reduce(0, cell, order, "amin")
    rows = first[first < len(cell)]
    return rows, cell[rows], place[rows]
''',
)
RESPONSIBLE = Helper(
    "yolo_responsible",
    '''\
def yolo_responsible(found: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the boxes of its cell answers for an object, and how much the two overlap.

    found: [P, B, 4], place: [P, 4], centre, width and height -> [P], [P]
    The box that overlaps it most, the one nearest by squares of the four if none does.
    """
    place = place[:, None]
    start, end = (found[..., :2] - found[..., 2:] / 2, found[..., :2] + found[..., 2:] / 2)
    first, last = (place[..., :2] - place[..., 2:] / 2, place[..., :2] + place[..., 2:] / 2)
    common = (torch.minimum(end, last) - torch.maximum(start, first)).clamp(min=0).prod(-1)
    union = found[..., 2:].prod(-1) + place[..., 2:].prod(-1) - common
    overlap = torch.where(common > 0, common / union, 0)
    distance = (found - place).square().sum(-1)
    best = torch.where((overlap > 0).any(1), overlap.argmax(1), distance.argmin(1))
    return best, overlap.gather(1, best[:, None])[:, 0]
''',
)
LOSS = Helper(
    "yolo_loss",
    '''\
def yolo_loss(
    x: Tensor,
    boxes: Tensor,
    labels: Tensor,
    side: int,
    per_cell: int,
    size: tuple[int, int] = (1, 1),
    box_weight: float = 5.0,
    object_weight: float = 1.0,
    empty_weight: float = 0.5,
    class_weight: float = 1.0,
    rescore: bool = True,
) -> Tensor:
    """Squares of all that side x side cells say of their objects, added up.

    x: [N, side * side * (C + 5 * per_cell)], classes of all cells, then confidences of all boxes,
    then their x, y (within the cell) and roots of width and height (shares of the image)
    boxes: [G, 5] in images of this height and width, labels: [G], classes from 1
    rescore: the confidence of a box is to be its overlap with the object, not 1
    """
    x = x.to(torch.promote_types(x.dtype, boxes.dtype))  # half precision is too coarse for places
    cells = side * side
    classes = x.shape[1] // cells - 5 * per_cell
    parts = [cells * classes, cells * per_cell, cells * per_cell * 4]
    scores, confidence, coordinates = x.split(parts, 1)
    scores = scores.reshape(-1, classes)
    confidence = confidence.reshape(-1, per_cell)
    coordinates = coordinates.reshape(-1, per_cell, 4)
    rows, cell, place = yolo_cells(boxes.to(x.dtype), len(x), side, size)
    shares = place.new_tensor([side, side, 1, 1])  # of the image, not of the cell
    found = coordinates[cell].detach()
    found = torch.cat([found[..., :2], found[..., 2:].square()], -1)
    best, overlap = yolo_responsible(found / shares, place / shares)
    target, weight = torch.zeros_like(confidence), torch.full_like(confidence, empty_weight)
    target[cell, best] = overlap if rescore else 1.0
    weight[cell, best] = object_weight
    loss = (weight * (confidence - target).square()).sum()
    label = F.one_hot(labels[rows] - 1, classes)
    loss = loss + class_weight * (scores[cell] - label).square().sum()
    goal = torch.cat([place[:, :2], place[:, 2:].sqrt()], 1)
    return loss + box_weight * (coordinates[cell, best] - goal).square().sum()
''',
)


@op("yolo_loss")
class YoloLoss(RowOp):
    """Squared errors of all that the cells of an image say (Redmon et al. 2016).

    Each cell that has the centre of an object in it: squares of its classes against the object's,
    and of x, y, sqrt w, sqrt h of the responsible box, the one that overlaps the object most (the
    nearest if none does); the confidence of that box against the overlap, of all others against 0
    x: [N, side^2 (C + 5 per_cell)], boxes: [G, 5], labels: [G], classes from 1 -> a number
    x holds the classes of all cells (row by row), the confidences of all boxes, then their boxes
    (darknet's detection_layer.c, whose gradient is half of this one's). Two objects in one cell:
    the first counts.
    """

    operands = ("x", "boxes", "labels")
    kinds = {"boxes": "boxes"}
    helpers = (CELLS, RESPONSIBLE, LOSS)

    side: int = attr("cells along each side of the image", 7, min=1)
    per_cell: int = attr("boxes of a cell", 2, min=1)
    image: Operand | None = attr(
        "the image, whose height and width boxes in pixels are divided by", None
    )
    box_weight: float = attr("factor of the errors of boxes", 5.0, min=0)
    object_weight: float = attr("of confidences of boxes that answer for an object", 1.0, min=0)
    empty_weight: float = attr("of confidences of all other boxes", 0.5, min=0)
    class_weight: float = attr("of classes, in cells with an object", 1.0, min=0)
    rescore: bool = attr("such a confidence is to be the overlap with the object, not 1", True)
    reduction: str = attr(
        "mean (divided by the number of images) or sum", "mean", choices=("mean", "sum")
    )

    def infer(
        self, need: Need, x: Tensor, boxes: Boxes, labels: Tensor, image: Tensor | None = None
    ) -> Tensor:
        self._layout(x)
        integers(labels, self.name, 2)
        what = "yolo_loss takes boxes and their labels"
        same_rows(need, boxes.shape[0], labels.shape[0], what, operand=2)
        if boxes.legacy:
            message = "yolo_loss is for boxes without their last pixel (x2 - x1 wide)"
            raise Problem("SEG206", message, operand=1, hint="leave out `legacy`")
        if boxes.frame == "image" and image is None:
            message = "these boxes are in pixels, the cells say shares of the image"
            raise Problem("SEG206", message, operand=1, hint="add `image: image`")
        if boxes.frame != "image" and image is not None:
            message = "these boxes are shares of the image already"
            raise Problem("SEG206", message, attr="image", hint="leave `image` out")
        if image is not None:
            n = feature_map(image, self.name, 3)[0]
            need.equal(n, x.shape[0], Problem("SEG203", "these are other images", attr="image"))
        return Tensor(())

    def _layout(self, x: Tensor) -> None:
        ranked(x, self.name, (2,), "what the cells of each image say, [N, values]")
        cells = self.side * self.side
        values = known(x.shape[1], self.name, "values")
        classes, rest = divmod(values, cells)
        if rest or classes <= 5 * self.per_cell:
            message = f"{cells} cells of {self.per_cell} boxes say {cells} x (classes + "
            message += f"{5 * self.per_cell}) values, this has {printed((values,))}"
            hint = f"with 20 classes there are {cells * (20 + 5 * self.per_cell)}"
            raise Problem("SEG203", message, operand=0, hint=hint)

    def expr(self, x: Tensor, boxes: Boxes, labels: Tensor, image: Tensor | None = None) -> Expr:
        names = ("box_weight", "object_weight", "empty_weight", "class_weight", "rescore")
        given = {"size": (1, 1) if image is None else SizeOf(3)}
        given |= {name: getattr(self, name) for name in names}
        defaults = {"size": (1, 1)} | {name: self.attrs[name].default for name in names}
        loss = Call("yolo_loss", (X(0), X(1), X(2), self.side, self.per_cell), given, defaults)
        return loss if self.reduction == "sum" else Infix("/", (loss, Call("len", (X(0),))))

    @property
    def style(self) -> Style:
        return Style("predict", "YOLO loss")
