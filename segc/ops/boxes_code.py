"""The functions that emitted models compute boxes with."""

from __future__ import annotations

from segc.code import Helper

EVERY_IMAGE = Helper(
    "every_image",
    '''\
def every_image(image: Tensor, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The boxes of all levels, [K, 4] together, for each of N images: their rows [N*K, 5] with the
    number of the image in front, and the number of each row's level, [N*K]."""
    boxes = torch.cat(levels)
    n = len(image)
    number = torch.arange(n, dtype=boxes.dtype, device=boxes.device)
    number = number.repeat_interleave(len(boxes))[:, None]
    level = [torch.full((len(x),), k, device=boxes.device) for k, x in enumerate(levels)]
    return torch.cat([number, boxes.repeat(n, 1)], dim=1), torch.cat(level).repeat(n)
''',
)

CELL_BOXES = Helper(
    "cell_boxes",
    '''\
def cell_boxes(
    sizes: tuple[float, ...], ratios: tuple[float, ...], rounded: bool = True, legacy: bool = False
) -> Tensor:
    """Boxes around (0, 0), [ratios * sizes, 4]: all of the first ratio, height over width, first.

    A size is the side of the square of the same area. legacy: of inclusive pixels.
    """
    side = torch.tensor(sizes, dtype=torch.float32)
    height = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]
    reach = torch.stack([1 / height * side, height * side], dim=-1).flatten(0, 1)
    reach = (reach - 1) / 2 if legacy else reach / 2
    boxes = torch.cat([-reach, reach], dim=1)
    return boxes.round() if rounded else boxes
''',
)

SHAPED_BOXES = Helper(
    "shaped_boxes",
    '''\
def shaped_boxes(shapes: tuple[float, ...], rounded: bool = True, legacy: bool = False) -> Tensor:
    """Boxes around (0, 0), [A, 4], of these widths and heights in turn.

    legacy: of inclusive pixels.
    """
    reach = torch.tensor(shapes, dtype=torch.float32).view(-1, 2)
    reach = (reach - 1) / 2 if legacy else reach / 2
    boxes = torch.cat([-reach, reach], dim=1)
    return boxes.round() if rounded else boxes
''',
)

CAFFE_BOXES = Helper(
    "caffe_boxes",
    '''\
def caffe_boxes(sizes: tuple[float, ...], ratios: tuple[float, ...]) -> Tensor:
    """Boxes of inclusive pixels, [ratios * sizes, 4], as Caffe's networks have them.

    The box (0, 0, 15, 15) gets each ratio, height over width, in whole pixels, and is enlarged to
    each size, that of a square of the same area, around its centre.
    """
    ratio = torch.tensor(ratios, dtype=torch.float32)
    width = (256 / ratio).sqrt().round()
    base = torch.stack([width, (width * ratio).round()], dim=1)
    scale = torch.tensor(sizes, dtype=torch.float32) / 16
    reach = ((base[:, None] * scale[:, None] - 1) / 2).flatten(0, 1)
    return torch.cat([7.5 - reach, 7.5 + reach], dim=1)
''',
)

ANCHOR_BOXES = Helper(
    "anchor_boxes",
    '''\
def anchor_boxes(
    image: Tensor,
    maps: list[Tensor],
    cells: list[Tensor],
    strides: tuple[int, ...] | None = None,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The boxes [A, 4] of each map's cells moved to every cell, row by row, for all images.

    Without strides they are the image's size over the map's, rounded down. The first cell is at
    `offset`, pixels. Returns boxes [N*K, 5] and the number of each one's map [N*K].
    """
    levels = []
    for k, (x, cell) in enumerate(zip(maps, cells, strict=True)):
        h, w = x.shape[-2:]
        down = strides[k] if strides else image.shape[-2] // h
        right = strides[k] if strides else image.shape[-1] // w
        ys = torch.arange(h, dtype=image.dtype, device=image.device) * down + offset
        xs = torch.arange(w, dtype=image.dtype, device=image.device) * right + offset
        corner = torch.stack([xs.expand(h, w), ys[:, None].expand(h, w)], dim=-1)
        boxes = corner.repeat(1, 1, 2)[:, :, None] + cell.to(image)
        levels.append(boxes.reshape(-1, 4))
    return every_image(image, levels)
''',
)

PRIOR_BOXES = Helper(
    "prior_boxes",
    '''\
def prior_boxes(
    image: Tensor,
    maps: list[Tensor],
    scales: tuple[float, ...],
    ratios: tuple[tuple[float, ...], ...],
    strides: tuple[int, ...] | None = None,
    clip: str = "sizes",
    normalised: bool = False,
) -> tuple[Tensor, Tensor]:
    """SSD's default boxes around the centres of each map's cells, row by row, for all images.

    At a cell two squares, of the map's scale s and of the mean sqrt(s * next s), then for each
    ratio r a box s * sqrt(r) wide and s / sqrt(r) high and its transpose, all in shares of the
    image. Returns boxes [N*K, 5] and the number of each one's map [N*K].
    """
    height, width = image.shape[-2:]
    levels = []
    for k, x in enumerate(maps):
        h, w = x.shape[-2:]
        rows, columns = (height / strides[k], width / strides[k]) if strides else (h, w)
        ys = ((torch.arange(h, device=image.device) + 0.5) / rows).to(image.dtype)
        xs = ((torch.arange(w, device=image.device) + 0.5) / columns).to(image.dtype)
        centre = torch.stack([xs.expand(h, w), ys[:, None].expand(h, w)], dim=-1)[:, :, None]
        mean = math.sqrt(scales[k] * scales[k + 1])
        sides = [(scales[k], scales[k]), (mean, mean)]
        for ratio in ratios[k]:
            a, b = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            sides += [(a, b), (b, a)]
        side = torch.tensor(sides, dtype=image.dtype, device=image.device)
        side = side if clip == "none" else side.clamp(0, 1)
        centre = centre.clamp(0, 1) if clip == "all" else centre
        boxes = torch.cat([centre - 0.5 * side, centre + 0.5 * side], dim=-1).view(-1, 4)
        whole = (1, 1) if normalised else (width, height)
        levels.append(boxes * torch.tensor(whole * 2, device=image.device))
    return every_image(image, levels)
''',
)

ANCHOR_ROWS = Helper(
    "anchor_rows",
    '''\
def anchor_rows(maps: list[Tensor], values: int = 1, blocks: bool = False) -> Tensor:
    """The values of the A anchors of every cell of all maps as rows, image by image: [N*K, values],
    of one value each [N*K].

    maps: [N, A * values, H, W]; channel a * values + v is value v of anchor a, with `blocks`
    channel v * A + a. Rows of an image: map by map, row by row, anchor by anchor.
    """
    rows = []
    for x in maps:
        n, c, h, w = x.shape
        if blocks:
            x = x.view(n, values, c // values, h, w).permute(0, 3, 4, 2, 1)
        else:
            x = x.view(n, c // values, values, h, w).permute(0, 3, 4, 1, 2)
        rows.append(x.reshape(n, h * w * (c // values), values))
    return torch.cat(rows, dim=1).flatten(0, 1 if values > 1 else 2)
''',
)

DECODE_BOXES = Helper(
    "decode_boxes",
    '''\
def decode_boxes(
    boxes: Tensor,
    deltas: Tensor,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    max_log: float | None = None,
    legacy: bool = False,
) -> Tensor:
    """The boxes [R, 5] moved and resized by deltas [R, 4]: x, y in box sizes, logs of w, h.

    Deltas are divided by the weights; `max_log` bounds the logs. legacy: the boxes are of inclusive
    pixels (their right and lower ends are one pixel farther than those of the targets encoded).
    """
    image, x1, y1, x2, y2 = boxes.unbind(1)
    dx, dy, dw, dh = [d / weight for d, weight in zip(deltas.unbind(1), weights, strict=True)]
    if max_log is not None:
        dw, dh = dw.clamp(max=max_log), dh.clamp(max=max_log)
    w, h = x2 - x1 + int(legacy), y2 - y1 + int(legacy)
    x, y = dx * w + (x1 + 0.5 * w), dy * h + (y1 + 0.5 * h)
    half_w, half_h = 0.5 * (dw.exp() * w), 0.5 * (dh.exp() * h)
    return torch.stack([image, x - half_w, y - half_h, x + half_w, y + half_h], dim=1)
''',
)

ENCODE_BOXES = Helper(
    "encode_boxes",
    '''\
def encode_boxes(
    boxes: Tensor,
    targets: Tensor,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    legacy: bool = False,
) -> Tensor:
    """The deltas [R, 4] that make targets [R, 5] of boxes [R, 5]: x, y in box sizes, logs of w, h.

    Each is multiplied by its weight. legacy: the boxes are of inclusive pixels.
    """
    _, x1, y1, x2, y2 = boxes.unbind(1)
    _, left, top, right, bottom = targets.unbind(1)
    w, h = x2 - x1 + int(legacy), y2 - y1 + int(legacy)
    width, height = right - left + int(legacy), bottom - top + int(legacy)
    dx = weights[0] * ((left + 0.5 * width) - (x1 + 0.5 * w)) / w
    dy = weights[1] * ((top + 0.5 * height) - (y1 + 0.5 * h)) / h
    dw, dh = weights[2] * (width / w).log(), weights[3] * (height / h).log()
    return torch.stack([dx, dy, dw, dh], dim=1)
''',
)

CLASS_BOXES = Helper(
    "class_boxes",
    '''\
def class_boxes(
    boxes: Tensor,
    deltas: Tensor,
    scores: Tensor,
    background: str = "first",
    first: int = 0,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    max_log: float | None = None,
    legacy: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """A box of each row for each of K classes, those of scores [R, C] but the background.

    boxes: [R, 5]; deltas: [R, 4C], [R, 4K] or [R, 4] for all classes. Returns boxes [R*K, 5],
    scores [R*K] and labels [R*K], row by row; first: the label of the first column.
    """
    labels = torch.arange(scores.shape[1], device=scores.device)
    if background != "none":
        labels = labels[1:] if background == "first" else labels[:-1]
    deltas = deltas.flatten(1).unflatten(1, (-1, 4))
    if deltas.shape[1] == scores.shape[1]:
        deltas = deltas[:, labels]
    deltas = deltas.expand(-1, len(labels), -1).flatten(0, 1)
    boxes = boxes.repeat_interleave(len(labels), dim=0)
    boxes = decode_boxes(boxes, deltas, weights, max_log, legacy)
    return boxes, scores[:, labels].flatten(), labels.repeat(len(scores)) + first
''',
)

CLIP_BOXES = Helper(
    "clip_boxes",
    '''\
def clip_boxes(boxes: Tensor, sizes: Tensor, legacy: bool = False) -> Tensor:
    """The boxes [R, 5] cut off at the borders of their images; sizes: heights and widths [N, 2].

    legacy: the boxes are of inclusive pixels, the last one is that before the size.
    """
    last = sizes.flip(1).repeat(1, 2).to(boxes) - int(legacy)
    corners = boxes[:, 1:].clamp(min=0).minimum(last[boxes[:, 0].long()])
    return torch.cat([boxes[:, :1], corners], dim=1)
''',
)

SCALE_BOXES = Helper(
    "scale_boxes",
    '''\
def scale_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes [R, 5] in shares of their image in its pixels; sizes: heights and widths [N, 2]."""
    scale = sizes.flip(1).repeat(1, 2).to(boxes)
    return torch.cat([boxes[:, :1], boxes[:, 1:] * scale[boxes[:, 0].long()]], dim=1)
''',
)

SPREAD_BOXES = Helper(
    "spread_boxes",
    '''\
def spread_boxes(boxes: Tensor, image: Tensor) -> Tensor:
    """Boxes [R, 5] in shares of the image [N, C, H, W] in its pixels."""
    height, width = image.shape[-2:]
    return boxes * torch.tensor((1, width, height, width, height), device=boxes.device)
''',
)

APPEND_ROWS = Helper(
    "append_rows",
    '''\
def append_rows(boxes: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes [R, 5] of each image, then those of `more` [G, 5] in the same image: [R + G, 5].

    Also their order, [R + G]: the rows of the two, one after the other, that these are.
    """
    both = torch.cat([boxes, more.to(boxes)])
    order = both[:, 0].argsort(stable=True)
    return both[order], order
''',
)
