"""Boxes and points in the frame of other boxes: localisation, cascades of poses."""

from __future__ import annotations

from segc.code import Call, Helper, X
from segc.dim import text
from segc.op import Example, Ints, Need, Problem, Style, attr, op
from segc.ops.common import feature_map, known, ranked, sizes
from segc.ops.region import in_pixels
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Pick, Tensor, Type

FRAME = Helper(
    "box_frame",
    '''\
def box_frame(boxes: Tensor, axes: int = 2) -> tuple[Tensor, Tensor]:
    """Centre and size of each box, [R, 5] -> [R, 2] each, with axes put in for points of rows."""
    centre, size = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
    shape = (len(boxes), *[1] * (axes - 2), 2)
    return centre.reshape(shape), size.reshape(shape)
''',
)
WITHIN = Helper(
    "points_within",
    '''\
def points_within(points: Tensor, boxes: Tensor) -> Tensor:
    """Points [R, K, 2 or more] from the centre of their row's box [R, 5], in shares of its sides:
    [R, K, 2]."""
    centre, size = box_frame(boxes, points.dim())
    return (points[..., :2] - centre) / size.clamp(min=1)
''',
)
CORNERS_WITHIN = Helper(
    "corners_within",
    '''\
def corners_within(x: Tensor, boxes: Tensor) -> Tensor:
    """Corners of boxes x [R, 5] from the centre of their row's box [R, 5], in shares of its sides:
    [R, 4]."""
    return points_within(x[:, 1:].unflatten(1, (2, 2)), boxes).flatten(1)
''',
)
OUTSIDE = Helper(
    "points_outside",
    '''\
def points_outside(points: Tensor, boxes: Tensor) -> Tensor:
    """Points [R, ..., 2] in shares of their row's box [R, 5], as pixels of the image."""
    centre, size = box_frame(boxes, points.dim())
    return points * size + centre
''',
)
CORNERS_OUTSIDE = Helper(
    "boxes_outside",
    '''\
def boxes_outside(corners: Tensor, boxes: Tensor) -> Tensor:
    """Boxes [R, 5] in the image, of corners [R, 4] in shares of their row's box [R, 5]."""
    corners = points_outside(corners.unflatten(1, (2, 2)), boxes).flatten(1)
    return torch.cat([boxes[:, :1], corners], dim=1)
''',
)


@op("whole_image")
class WholeImage(RowOp):
    """One box an image: all of it.

    image: [N, C, H, W] -> boxes [N, 5]
    """

    operands = ("image",)
    helpers = (
        Helper(
            "whole_image",
            '''\
def whole_image(image: Tensor) -> Tensor:
    """The box around each image, [N, 5]."""
    height, width = image.shape[-2:]
    boxes = image.new_tensor([0, 0, 0, width, height]).repeat(len(image), 1)
    boxes[:, 0] = torch.arange(len(image), device=image.device)
    return boxes
''',
        ),
    )

    def infer(self, need: Need, image: Tensor) -> Boxes:
        n = feature_map(image, self.name)[0]
        return Boxes((n, 5), images=n)

    def expr(self, image: Tensor) -> Call:
        return Call("whole_image", (X(0),))


@op("normalise")
class Normalise(RowOp):
    """Points, or the corners of boxes, in the frame of each row's box (DeepPose, equation 1).

    y = (x - centre) / (width, height) of the box
    x: boxes [R, 5], or points [R, K, 2] or more values, of which the first two count, boxes: [R, 5]
    -> [R, 4], or [R, K, 2]
    Toshev, Szegedy: DeepPose. CVPR 2014.
    """

    operands = ("x", "boxes")
    kinds = {"x": "any", "boxes": "boxes"}
    helpers = (FRAME, WITHIN, CORNERS_WITHIN)

    def infer(self, need: Need, x: Tensor | Boxes, boxes: Boxes) -> Tensor:
        in_pixels(boxes, self.name, 1)
        if isinstance(x, Boxes):
            in_pixels(x, self.name)
            same_rows(need, x.shape[0], boxes.shape[0], "normalise pairs boxes with boxes")
            return Tensor((x.shape[0], 4))
        points(x, self.name)
        same_rows(need, x.shape[0], boxes.shape[0], "normalise pairs points with boxes")
        return Tensor((*x.shape[:2], 2))

    def expr(self, x: Tensor | Boxes, boxes: Boxes) -> Call:
        if isinstance(x, Boxes):
            return Call("corners_within", (X(0), X(1)))
        return Call("points_within", (X(0), X(1)))


@op("denormalise")
class Denormalise(RowOp):
    """Points, or boxes by their corners, out of the frame of each row's box into the image.

    y = x * (width, height) + centre of the box
    x: [R, 4] or [R, K, 2], boxes: [R, 5] -> boxes [R, 5], or points [R, K, 2]
    """

    operands = ("x", "boxes")
    kinds = {"boxes": "boxes"}
    helpers = (FRAME, OUTSIDE, CORNERS_OUTSIDE)

    def infer(self, need: Need, x: Tensor, boxes: Boxes) -> Tensor | Boxes:
        in_pixels(boxes, self.name, 1)
        same_rows(need, x.shape[0], boxes.shape[0], "denormalise pairs points with boxes")
        if len(x.shape) == 2 and x.shape[1] == 4:
            return Boxes((x.shape[0], 5), boxes.legacy, images=boxes.images)
        points(x, self.name, 2)
        return Tensor(x.shape)

    def expr(self, x: Tensor, boxes: Boxes) -> Call:
        whole = len(x.shape) == 2
        return Call("boxes_outside" if whole else "points_outside", (X(0), X(1)))


@op("joint_boxes")
class JointBoxes(RowOp):
    """A square around each joint of a pose, as large as the pose makes it (DeepPose, section 3.2).

    centre = the joint, side = factor * the distance of the two joints named
    joints: [R, K, 2], boxes: [R, 5] -> boxes [R*K, 5], joint by joint, on the images of the R boxes
    """

    operands = ("joints", "boxes")
    kinds = {"boxes": "boxes"}
    helpers = (
        Helper(
            "joint_boxes",
            '''\
def joint_boxes(joints: Tensor, boxes: Tensor, factor: float, ends: tuple[int, int]) -> Tensor:
    """A square around each of the joints [R, K, 2] of the boxes [R, 5]: [R * K, 5].

    Its side is `factor` times the distance of two joints, those of these numbers, a pixel at least.
    """
    a, b = ends
    side = factor * (joints[:, a] - joints[:, b]).norm(dim=1).clamp(min=1)
    half = side[:, None, None] / 2
    image = boxes[:, None, :1].expand(-1, joints.shape[1], 1)
    return torch.cat([image, joints - half, joints + half], dim=2).flatten(0, 1)
''',
        ),
    )

    factor: float = attr("side of a square over the size of the pose", 1.0, min=0)
    ends: Ints = attr("numbers of the two joints whose distance is that size", min=0)
    examples = (Example({"ends": (0, 1)}, ()),)

    def validate(self) -> None:
        if len(self.ends) != 2:
            message = f"the size of a pose is the distance of two joints, got {len(self.ends)}"
            raise Problem("SEG210", message, attr="ends", hint="a shoulder and the opposite hip")

    def infer(self, need: Need, joints: Tensor, boxes: Boxes) -> Boxes:
        in_pixels(boxes, self.name, 1)
        points(joints, self.name, 2)
        same_rows(need, joints.shape[0], boxes.shape[0], "joint_boxes pairs poses with boxes")
        number = known(joints.shape[1], self.name, "joints")
        if max(self.ends) >= number:
            message = f"joint {max(self.ends)} of {number}, which are counted from 0"
            raise Problem("SEG210", message, attr="ends")
        return Boxes((joints.shape[0] * number, 5), boxes.legacy, images=boxes.images)

    def expr(self, joints: Tensor, boxes: Boxes) -> Call:
        return Call("joint_boxes", (X(0), X(1), self.factor, self.ends))


@op("own_joint")
class OwnJoint(RowOp):
    """Of the joints found around each joint, that joint (DeepPose's later stages).

    y[r * K + k] = x[r * K + k, k]
    x: [R*K, 2K], a row for each joint of R poses -> [R*K, 1, 2]
    """

    helpers = (
        Helper(
            "own_joint",
            '''\
def own_joint(x: Tensor) -> Tensor:
    """The point k of every row r * K + k of x [R * K, 2 * K]: [R * K, 1, 2]."""
    points = x.unflatten(1, (-1, 2))
    joint = torch.arange(len(x), device=x.device) % points.shape[1]
    return points[torch.arange(len(x), device=x.device), joint][:, None]
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, (2,), "the joints found around each joint, [R*K, 2K]")
        number, rest = divmod(known(x.shape[1], self.name, "values"), 2)
        if rest or not number:
            message = f"joints have two coordinates each, this has {text(x.shape[1])} values"
            raise Problem("SEG202", message, operand=0)
        need.multiple(x.shape[0], number, Problem("SEG203", "other rows than joints", operand=0))
        return Tensor((x.shape[0], 1, 2))

    def expr(self, x: Tensor) -> Call:
        return Call("own_joint", (X(0),))


@op("best_classes")
class BestClasses(RowOp):
    """The classes with the best scores of each row: ILSVRC's five guesses.

    out, scores, columns, labels = (r, scores[r, c], c, c + first) of the k best c, best first
    scores: [R, C] -> a choice of R*k rows of R, scores [R*k], columns [R*k], labels [R*k]
    """

    operands = ("scores",)
    helpers = (
        Helper(
            "best_classes",
            '''\
def best_classes(
    scores: Tensor, k: int, first: int = 1, skip: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The k best columns of each row of scores [R, C]: rows, scores, columns and labels, [R * k].

    first: the label of the first column; skip: columns at the start that do not count.
    """
    best, columns = scores[:, skip:].topk(k, dim=1)
    columns = columns + skip
    rows = torch.arange(len(scores), device=scores.device).repeat_interleave(k)
    return rows, best.flatten(), columns.flatten(), columns.flatten() + first
''',
        ),
    )

    k: int = attr("how many of each row", 1, min=1)
    first: int = attr("label of the first column", 1, min=0)
    skip: int = attr("columns at the start that do not count: 1 for the background's", 0, min=0)

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "scores", "columns", "labels")

    def infer(self, need: Need, scores: Tensor) -> tuple[Type, ...]:
        ranked(scores, self.name, (2,), "a score for each class, [R, C]")
        number = known(scores.shape[1], self.name, "classes") - self.skip
        if self.k > number:
            message = f"the {self.k} best of {number} classes"
            raise Problem("SEG210", message, attr="k")
        rows = scores.shape[0] * self.k
        whole = Tensor((rows,), "int")
        return Pick((rows,), scores.shape[0]), Tensor((rows,)), whole, whole

    def expr(self, scores: Tensor) -> Call:
        how = {"first": self.first, "skip": self.skip}
        return Call("best_classes", (X(0), self.k), how, {"first": 1, "skip": 0})

    @property
    def style(self) -> Style:
        return Style("region", f"best {self.k}")


def points(x: Tensor | Type, op: str, values: int | None = None) -> None:
    """Demand points of rows, [R, K, 2] or more values of each unless their number is given."""
    shape = x.shape if isinstance(x, Tensor) else ()
    last = shape[2] if len(shape) == 3 else 0
    if not isinstance(last, int) or last < 2 or values not in (None, last):
        message = f"{op} takes points of rows, [R, K, 2], got {sizes(shape)}"
        raise Problem("SEG201", message, operand=0)


@op("area_weights")
class AreaWeights(RowOp):
    """A weight for each box that is smaller than a square: its share of the square's area.

    y[r] = min(width * height / side**2, 1)
    boxes: [R, 5] -> [R]
    Hariharan et al., Hypercolumns, CVPR 2015 (the code for Fast R-CNN).
    """

    operands = ("boxes",)
    kinds = {"boxes": "boxes"}

    side: float = attr("of the square whose area counts in full, pixels", 224.0, min=1)
    helpers = (
        Helper(
            "area_weights",
            '''\
def area_weights(boxes: Tensor, side: float, border: int = 0) -> Tensor:
    """The area of each box [R, 5] over that of a square of this side, 1 at most: [R].

    border: 1 for boxes of inclusive pixels.
    """
    return ((boxes[:, 3:] - boxes[:, 1:3] + border).prod(dim=1) / side**2).clamp(max=1)
''',
        ),
    )

    def infer(self, need: Need, boxes: Boxes) -> Tensor:
        in_pixels(boxes, self.name)
        return Tensor((boxes.shape[0],))

    def expr(self, boxes: Boxes) -> Call:
        values = {"border": int(boxes.legacy)}
        return Call("area_weights", (X(0), self.side), values, {"border": 0})


@op("grid_mix")
class GridMix(RowOp):
    """One map of a grid of classifiers, each weighted by how near a pixel is to its cell.

    y[r,0,i,j] = sum over g of w[g,i,j] * x[r,g,i,j]; w: bilinear weights of the grid's cells
    x: [R, grid**2, H, W] -> [R, 1, H, W]
    Hariharan et al., Hypercolumns, CVPR 2015, section 3.2.
    """

    grid: int = attr("cells along each side of the grid", 5, min=1)
    helpers = (
        Helper(
            "grid_mix",
            '''\
def grid_mix(x: Tensor, grid: int) -> Tensor:
    """The maps [R, grid * grid, H, W] of a grid of classifiers mixed by place: [R, 1, H, W]."""
    cells = torch.eye(grid * grid, dtype=x.dtype, device=x.device).view(1, -1, grid, grid)
    weights = F.interpolate(cells, x.shape[-2:], mode="bilinear", align_corners=False)
    return (x * weights).sum(1, keepdim=True)
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, (4,), "the maps of a grid, [R, grid * grid, H, W]")
        if x.shape[1] != self.grid**2:
            message = f"a grid of {self.grid} x {self.grid} has {self.grid**2} maps, "
            raise Problem("SEG202", f"{message}this has {text(x.shape[1])}", attr="grid", operand=0)
        return Tensor((x.shape[0], 1, *x.shape[2:]))

    def expr(self, x: Tensor) -> Call:
        return Call("grid_mix", (X(0), self.grid))
