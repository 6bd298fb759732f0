"""Source text of the functions that emitted losses share; a folder holds those its losses call."""

from __future__ import annotations

STOP = "Stop(text, 3)"  # how a helper ends the run, where runtime.py is beside it


def _shifted(condition: str) -> str:
    return f"""\
    height, width = mask.shape[1:]
    padded = F.pad(mask, (radius, radius, radius, radius), value=IGNORE)
    edges = torch.zeros_like(mask, dtype=torch.bool)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= radius * radius:
                y, x = radius + dy, radius + dx
                other = padded[:, y : y + height, x : x + width]
                edges |= {condition}
    return edges"""


HELPERS: dict[str, str] = {
    "centre": '''\
def centre(mask: Tensor) -> Tensor:
    """[N]: the label of the pixel in the middle of each label map."""
    return mask[:, mask.shape[1] // 2, mask.shape[2] // 2]''',
    "labels_corners": '''\
def labels_corners(mask: Tensor, size: torch.Size) -> Tensor:
    """[N, h, w]: the labels nearest to a grid whose corners are those of the label map.

    Every 8th label of 321 for 41 scores, as Caffe's Interp layer shrinks them.
    """
    rows, columns = (
        (2 * torch.arange(small, device=mask.device) * (large - 1) + small - 1)
        // (2 * max(1, small - 1))
        for small, large in zip(size, mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]''',
    "labels_centres": '''\
def labels_centres(mask: Tensor, size: torch.Size) -> Tensor:
    """[N, h, w]: the labels under the centres of the scores (nearest neighbour)."""
    rows, columns = (
        (2 * torch.arange(small, device=mask.device) + 1) * large // (2 * small)
        for small, large in zip(size, mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]''',
    "labels_slice": '''\
def labels_slice(mask: Tensor, size: torch.Size) -> Tensor:
    """[N, h, w]: every s-th label, the first one included; s is the stride of the scores."""
    rows, columns = (
        (torch.arange(small, device=mask.device) * round(large / small)).clamp(max=large - 1)
        for small, large in zip(size, mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]''',
    "image_weights": '''\
def image_weights(mask: Tensor, classes: int) -> Tensor:
    """The weight of each pixel: 1 + (1 - share of its class in its image), 0 where IGNORE."""
    valid = mask != IGNORE
    image = torch.arange(len(mask), device=mask.device).view(-1, *[1] * (mask.dim() - 1))
    index = mask.where(valid, 0) + classes * image
    counts = torch.bincount(index[valid], minlength=classes * len(mask)).view(-1, classes)
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return (2 - share.flatten()[index]) * valid''',
    "inverse_log": '''\
def inverse_log(counts: Tensor) -> Tensor:
    """Class weights 1 / ln(1.02 + share); counts[0] are the pixels of each class."""
    share = counts[0] / counts[0].sum().clamp(min=1)
    return 1 / (1.02 + share).log()''',
    "edges_of": f'''\
def edges_of(mask: Tensor, radius: int) -> Tensor:
    """[N, H, W] bool: pixels that have another class at most `radius` pixels away.

    What is ignored or outside of the image is no class.
    """
{_shifted("(other != mask) & (other != IGNORE) & (mask != IGNORE)")}''',
    "released_edges_of": f'''\
def released_edges_of(mask: Tensor, radius: int) -> Tensor:
    """[N, H, W] bool: the borders as the code of Gated-SCNN draws them.

    Pixels at most `radius` pixels from the border of a class. Class 0 has no border of its own, and
    counts as nothing, as does what is ignored and what lies outside of the image.
    """
    mask = mask.where(mask != 0, IGNORE)
{_shifted("other != mask")}''',
    "gumbel_softmax": '''\
def gumbel_softmax(logits: Tensor, tau: float) -> Tensor:
    """Softmax of (logits + Gumbel noise) / tau over the classes."""
    uniform = torch.rand_like(logits)
    noise = -(1e-10 - (uniform + 1e-10).log()).log()
    return ((logits + noise) / tau).softmax(1)''',
    "border_strength": '''\
def border_strength(maps: Tensor) -> Tensor:
    """[N, K, H, W]: length of the spatial gradient of each map, smoothed first, over sqrt(2).

    Smoothed by a triangle of radius 4 (deviation 2 pixels), the outermost pixels repeated;
    differences are central, one-sided at the image border.
    """
    count, classes, height, width = maps.shape
    triangle = torch.tensor([1.0, 2, 3, 4, 5, 4, 3, 2, 1], device=maps.device) / 25
    planes = F.pad(maps.reshape(-1, 1, height, width), (4, 4, 4, 4), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, triangle.view(1, 1, 1, 9)), triangle.view(1, 1, 9, 1))
    down, right = torch.gradient(planes[:, 0], dim=(1, 2))
    length = ((down.square() + right.square()) / 2 + 1e-12).sqrt()  # smooth where it is 0
    return length.view(count, classes, height, width)''',
    "apart": '''\
def apart(one: Tensor, other: Tensor, *where: Tensor) -> Tensor:
    """Mean difference of two maps over each of two sets of pixels; the mean of the two."""
    difference = (one - other).abs()
    means = [(difference * pixels).sum() / pixels.sum().clamp(min=1) for pixels in where]
    return sum(means[1:], means[0]) / len(means)''',
    "border_map": '''\
def border_map(mask: Tensor) -> Tensor:
    """[H, W]: BORDER_WEIGHT exp(-(d1 + d2)^2 / (2 BORDER_SIGMA^2)), for one label map on the CPU.

    d1 and d2 are the distances to the borders of the two nearest objects, the 4-connected
    components of the classes but 0; without a second object nearby it is 0.
    """
    try:
        import numpy as np
        from scipy import ndimage
    except ImportError:
        text = "the weights of borders need scipy: pip install scipy"
        raise Stop(text, 3) from None
    labels = mask.numpy()
    reach = math.ceil(6 * BORDER_SIGMA)  # further away a weight is below 2e-8 BORDER_WEIGHT
    nearest = np.full((2, *labels.shape), np.inf)
    for label in np.setdiff1d(labels, (0, IGNORE)):
        objects, _ = ndimage.label(labels == label)
        for number, box in enumerate(ndimage.find_objects(objects), 1):
            window = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
            inside = objects[window] == number
            if inside.all():  # it fills the map: no border in sight
                continue
            distance = ndimage.distance_transform_edt(inside)
            distance += ndimage.distance_transform_edt(~inside)
            near = nearest[(slice(None), *window)]
            near[:] = np.sort([*near, distance], axis=0)[:2]
    weight = BORDER_WEIGHT * np.exp(-(nearest.sum(0) ** 2) / (2 * BORDER_SIGMA**2))
    return torch.from_numpy(weight.astype(np.float32))''',
}
