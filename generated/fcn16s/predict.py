"""Segment images with FCN-16s (VGG16).

Writes `<name>_overlay.png`, the classes in colour over the photograph, beside each image or into
the folder --out.

Example:

    python predict.py --weights runs/best.pt photo.jpg street/*.png --out overlays
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from data import own_names, pillow, read_image, to_input
from model import FCN16s
from runtime import load_strict, pick_device, read_weights, run
from scoring import labels_of, probabilities_of


def arguments() -> argparse.Namespace:
    about, example = __doc__.split("Example:\n\n")
    parser = argparse.ArgumentParser(
        description=about,
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", required=True, type=Path, metavar="CKPT", help="last.pt or best.pt of a run")
    add("images", nargs="+", type=Path, metavar="IMAGE", help="files to segment")
    add("--out", type=Path, metavar="DIR", help="where overlays go (beside the images)")
    add("--opacity", type=float, default=0.5, help="of the colours, 0 to 1 (0.5)")
    add("--labels", action="store_true", help="also write the label maps, class ids as grey PNG")
    add("--resize", type=int, nargs=2, metavar=("H", "W"), help="size of images (as trained)")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (auto)")
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error("--opacity is between 0 and 1")
    return args


def palette(count: int) -> Tensor:
    """uint8 [count, 3]: the colours of PASCAL VOC, which spread the bits of the class id."""
    ids = torch.arange(count)
    colours = torch.zeros(count, 3, dtype=torch.int64)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= (ids >> (3 * level + channel) & 1) << (7 - level)
    return colours.to(torch.uint8)


@torch.inference_mode()
def segment(
    model: torch.nn.Module, image: Tensor, fixed: list[int] | None, device: torch.device
) -> Tensor:
    """uint8 [H, W] of class ids for a uint8 [C, H, W] image."""
    size = (image.shape[1], image.shape[2])
    if fixed:
        image = F.interpolate(image[None], fixed, mode="bilinear", antialias=True)[0]
    batch = to_input(image)[None].to(device, memory_format=torch.channels_last)
    return labels_of(probabilities_of(model, batch, (1.0,), False, size))[0].to("cpu", torch.uint8)


def overlay(image: Tensor, labels: Tensor, opacity: float) -> Tensor:
    """uint8 [H, W, 3]: colours mixed into the image."""
    colours = palette(256)[labels.long()].float()
    photo = image.float().expand(3, -1, -1).permute(1, 2, 0)
    return torch.lerp(photo, colours, opacity).round().to(torch.uint8)


def write(pixels: Tensor, path: Path) -> None:
    height, width = pixels.shape[:2]
    mode = "RGB" if pixels.dim() == 3 else "L"
    content = bytes(pixels.contiguous().flatten().tolist())
    pillow().frombytes(mode, (width, height), content).save(path)


def main() -> None:
    args = arguments()
    device = pick_device(args.device)
    weights, settings = read_weights(args.weights)
    fixed = args.resize or settings.get("resize")
    model = FCN16s()
    load_strict(model, weights, args.weights)
    model.to(device, memory_format=torch.channels_last).eval()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)

    names = settings.get("names") or own_names()
    for path in args.images:
        image = read_image(path)
        labels = segment(model, image, fixed, device)
        base = (args.out or path.parent) / path.stem
        write(overlay(image, labels, args.opacity), base.with_name(f"{base.name}_overlay.png"))
        if args.labels:
            write(labels, base.with_name(f"{base.name}_labels.png"))
        shares = torch.bincount(labels.flatten().long(), minlength=len(names)) / labels.numel()
        largest = shares.argsort(descending=True)[:3].tolist()
        found = ", ".join(f"{names[i]} {100 * float(shares[i]):.0f} %" for i in largest)
        print(f"{base}_overlay.png: {found}")


if __name__ == "__main__":
    run(main)
