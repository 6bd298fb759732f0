"""The functions that operators of assignment emit."""

from __future__ import annotations

from segc.code import Helper

IMAGES = Helper(
    "rows_per_image",
    '''\
def rows_per_image(boxes: Tensor) -> list[int]:
    """How many rows of boxes, [R, 5], each image has that has any, in their order."""
    return boxes[:, 0].unique_consecutive(return_counts=True)[1].tolist()
''',
)
OVERLAPS = Helper(
    "box_overlaps",
    '''\
def box_overlaps(boxes: Tensor, others: Tensor, legacy: bool = False) -> Tensor:
    """Intersection over union of boxes, [R, 4] and [G, 4] -> [R, G].

    legacy: corners are pixels that belong to the box
    """
    if legacy:
        closed = boxes.new_tensor([0, 0, 1, 1])
        boxes, others = boxes + closed, others + closed
    return ops.box_iou(boxes, others).nan_to_num()  # two boxes without area: 0 / 0
''',
)
INSIDE = Helper(
    "boxes_inside",
    '''\
def boxes_inside(boxes: Tensor, size: Tensor, legacy: bool = False) -> Tensor:
    """Which boxes, [R, 4], do not cross the border of an image of this height and width, [R]."""
    last = size.to(boxes.dtype).flip(0) - int(legacy)
    return (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= last).all(1)
''',
)
ARE_INSIDE = Helper(
    "are_inside",
    '''\
def are_inside(boxes: Tensor, sizes: Tensor, legacy: bool = False) -> Tensor:
    """1 for each of the boxes [R, 5] that does not cross the border of its image, else 0: [R].

    sizes: heights and widths [N, 2]; legacy: corners are pixels that belong to the box
    """
    last = (sizes.to(boxes.dtype).flip(1) - int(legacy))[boxes[:, 0].long()]
    inside = (boxes[:, 1:3] >= 0).all(1) & (boxes[:, 3:] <= last).all(1)
    return inside.long()
''',
)
MATCH_OVERLAPS = Helper(
    "match_overlaps",
    '''\
def match_overlaps(
    overlap: Tensor,
    inside: Tensor | None,
    high: float,
    low: float,
    floor: float,
    strict: bool,
    low_quality: bool,
    best_always: bool,
    nearest: bool,
) -> Tensor:
    """The object each box of an image matches; -1: background, -2: left out.

    overlap: [R, G], inside: [R], boxes not inside are left out -> [R]
    """
    best, own = F.pad(overlap, (0, 1)).max(1)  # one column more: there may be no object
    match = torch.where(best > high if strict else best >= high, own, -2)
    match = match.masked_fill((best < low) & (best >= floor), -1)
    if low_quality:
        among = overlap if inside is None else overlap.masked_fill(~inside[:, None], -1)
        match = torch.where((among == among.max(0).values).any(1), own, match)
    if inside is not None:
        match = match.masked_fill(~inside, -2)
    if best_always:
        forced = torch.full_like(match, -1)
        objects = torch.arange(overlap.shape[1], device=match.device)
        forced = forced.scatter_reduce(0, overlap.max(0).indices, objects, "amax")
        match = torch.where(forced >= 0, own if nearest else forced, match)
    return match
''',
)
MATCH_BOXES = Helper(
    "match_boxes",
    '''\
def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    high: float,
    low: float,
    sizes: Tensor | None = None,
    floor: float = 0.0,
    strict: bool = False,
    low_quality: bool = False,
    best_always: bool = False,
    nearest: bool = False,
    legacy: bool = False,
) -> Tensor:
    """The row of `gt_boxes` each box matches; -1: background, -2: left out.

    boxes: [R, 5], gt_boxes: [G, 5], rows of an image together -> [R]
    high, low: overlaps of a match at least, of background at most; floor: of background at least
    sizes: [N, 2], boxes that cross the border are left out
    strict: a match overlaps by more than `high`
    low_quality: a box that overlaps an object as much as any other does matches
    best_always: so does the first of them, even outside; nearest: the object it overlaps most
    """
    matches = [boxes.new_zeros(0, dtype=torch.long)]
    for part in boxes.split(rows_per_image(boxes)):
        image = part[0, 0]
        rows = torch.where(gt_boxes[:, 0] == image)[0]
        overlap = box_overlaps(part[:, 1:], gt_boxes[rows, 1:], legacy)
        inside = None
        if sizes is not None:
            inside = boxes_inside(part[:, 1:], sizes[image.long()], legacy)
        match = match_overlaps(
            overlap, inside, high, low, floor, strict, low_quality, best_always, nearest
        )
        found = match >= 0
        match[found] = rows[match[found]]
        matches.append(match)
    return torch.cat(matches)
''',
)
MAX_OVERLAPS = Helper(
    "max_overlaps",
    '''\
def max_overlaps(boxes: Tensor, gt_boxes: Tensor, legacy: bool = False) -> Tensor:
    """The overlap of each box with the object of its image that it overlaps most, 0 without any.

    boxes: [R, 5], gt_boxes: [G, 5], rows of an image together -> [R]
    """
    found = [boxes.new_zeros(0)]
    for part in boxes.split(rows_per_image(boxes)):
        objects = gt_boxes[gt_boxes[:, 0] == part[0, 0]]
        overlap = box_overlaps(part[:, 1:], objects[:, 1:], legacy)
        found.append(F.pad(overlap, (0, 1)).amax(1))
    return torch.cat(found)
''',
)
MATCHED_ROWS = Helper(
    "matched_rows",
    '''\
def matched_rows(match: Tensor, x: Tensor) -> Tensor:
    """The row of x, [G, ...], that each row matches, zeros for those without: [R, ...]."""
    found = match >= 0
    y = x.new_zeros(len(match), *x.shape[1:])
    y[found] = x[match[found]]
    return y
''',
)
MATCHED_LABELS = Helper(
    "matched_labels",
    '''\
def matched_labels(match: Tensor, gt_labels: Tensor, classes: int | None = None) -> Tensor:
    """The class of the object each row matches, 0 for background and -1 for rows left out.

    match: [R], gt_labels: [G], classes from 1 -> [R]
    classes: how many there are with background, which is then the last, the others from 0
    """
    first, background = (0, 0) if classes is None else (1, classes - 1)
    labels = torch.full_like(match, background).masked_fill(match == -2, -1)
    found = match >= 0
    labels[found] = gt_labels[match[found]] - first
    return labels
''',
)
IS_MATCHED = Helper(
    "is_matched",
    '''\
def is_matched(match: Tensor) -> Tensor:
    """1 for each row that matches an object, 0 for the others, [R]."""
    return (match >= 0).float()
''',
)
OBJECT_LABELS = Helper(
    "object_labels",
    '''\
def object_labels(match: Tensor, last: bool = False) -> Tensor:
    """1 for each row that matches an object, 0 for background, -1 for rows left out, [R].

    last: background is 1, objects are 0
    """
    found = match < 0 if last else match >= 0
    return found.long().masked_fill(match == -2, -1)
''',
)
