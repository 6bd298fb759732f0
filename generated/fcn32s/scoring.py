"""Logits for images of any size, and the scores of a whole split.

The scores come from one confusion matrix over all pixels of the split that are not IGNORE, never
from averages over images. Classes that appear neither in the labels nor in the predictions have
no IoU and do not enter the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from data import CLASSES, IGNORE, Split, Whole, accepted_size, mirror
from runtime import Progress, Stop, autocast, ignore_signals


def logits_of(model: nn.Module, image: Tensor) -> Tensor:
    """[1, K, h, w] for [1, C, h, w]: the image is mirrored at its borders up to a size the network
    accepts, and the logits are cut back to the image."""
    height, width = image.shape[-2:]
    rows, columns = accepted_size(height, width)
    down = mirror(height, 0, rows - height)
    right = mirror(width, 0, columns - width)
    padded = image[:, :, down.to(image.device)][:, :, :, right.to(image.device)]
    logits: Tensor = model(padded)
    return logits[:, :, :height, :width]


def probabilities_of(
    model: nn.Module, image: Tensor, scales: tuple[float, ...], flip: bool, size: tuple[int, int]
) -> Tensor:
    """[1, K, *size], averaged over the scales and, with `flip`, over the mirrored image too."""
    total = torch.zeros((), device=image.device)
    for scale in scales:
        scaled = image
        if scale != 1:
            grid = [max(1, round(side * scale)) for side in image.shape[-2:]]
            scaled = F.interpolate(image, grid, mode="bilinear", antialias=scale < 1)
        for view in (scaled, scaled.flip(-1)) if flip else (scaled,):
            logits = logits_of(model, view).float()
            logits = logits if view is scaled else logits.flip(-1)
            if logits.shape[-2:] != size:
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            total = total + logits.softmax(1)
    return total / (len(scales) * (2 if flip else 1))


def labels_of(probabilities: Tensor) -> Tensor:
    """[N, H, W] class ids from [N, K, H, W]."""
    return probabilities.argmax(1)


def confusion(labels: Tensor, mask: Tensor) -> Tensor:
    """[CLASSES, CLASSES] counts of pixels, row = true class, column = predicted class."""
    valid = mask != IGNORE
    pairs = mask[valid].long() * CLASSES + labels[valid].long()
    return torch.bincount(pairs, minlength=CLASSES * CLASSES).view(CLASSES, CLASSES)


def scores(matrix: Tensor, names: list[str]) -> dict[str, Any]:
    """mIoU, IoU by class, pixel accuracy and mean class accuracy; None where undefined."""
    matrix = matrix.double()
    right, true, said = matrix.diag(), matrix.sum(1), matrix.sum(0)
    iou = right / (true + said - right)  # 0/0 = nan: the class is nowhere
    accuracy = right / true
    return {
        "miou": number(iou.nanmean()),
        "mean_accuracy": number(accuracy.nanmean()),
        "pixel_accuracy": number(right.sum() / matrix.sum()),
        "iou": {name: number(value) for name, value in zip(names, iou, strict=True)},
        "accuracy": {name: number(value) for name, value in zip(names, accuracy, strict=True)},
    }


def number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def table(result: dict[str, Any]) -> str:
    """The scores for a reader, in percent."""
    width = max(16, *(len(name) for name in result["iou"]))
    lines = [f"{'class':<{width}}     IoU  accuracy"]
    for name, iou in result["iou"].items():
        lines.append(f"{name:<{width}}  {percent(iou)}    {percent(result['accuracy'][name])}")
    lines.append(
        f"{'mean':<{width}}  {percent(result['miou'])}    {percent(result['mean_accuracy'])}"
    )
    lines.append(f"pixel accuracy {percent(result['pixel_accuracy'])}")
    return "\n".join(lines)


def percent(value: float | None) -> str:
    return "     -" if value is None else f"{100 * value:6.2f}"


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    fixed: tuple[int, int] | None,
    device: torch.device,
    *,
    amp: str = "off",
    workers: int = 0,
    scales: tuple[float, ...] = (1.0,),
    flip: bool = False,
    rank: int = 0,
    world: int = 1,
    stopping: Callable[[], bool] = lambda: False,
) -> Tensor:
    """The confusion matrix of a split, on the CPU. Labels keep their own size."""
    loader = torch.utils.data.DataLoader(
        Whole(split, fixed),
        sampler=range(rank, len(split), world),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=ignore_signals,
        timeout=120 if workers else 0,
    )
    matrix = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    progress = Progress(len(loader), 0, max(1, len(loader)))
    model.eval()
    for done, sample in enumerate(loader, 1):
        if stopping():
            break
        if isinstance(sample, Stop):
            raise sample
        image, mask = sample
        image = image[None].to(device, memory_format=torch.channels_last)
        with autocast(device, amp):
            mean = probabilities_of(model, image, scales, flip, tuple(mask.shape))
        matrix += confusion(labels_of(mean)[0].cpu(), mask)
        if rank == 0:
            progress.show(done, "images evaluated,")
    progress.end()
    model.train()
    if world > 1:
        total = matrix.to(device)
        distributed.all_reduce(total)
        matrix = total.cpu()
    return matrix
