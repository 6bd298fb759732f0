"""Score FCN-32s (VGG16).

On a split of a data set: the IoU of every class, their mean, and accuracies.
Labels keep their own size: what the network says of a resized image is brought back to it.

Example:

    python eval.py --weights runs/last.pt --data camvid --root DIR --split test --json scores.json
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from data import KINDS, accepted_size, open_split
from model import FCN32s
from runtime import load_strict, pick_device, read_weights, run
from scoring import evaluate, scores, table


def arguments() -> argparse.Namespace:
    about, example = __doc__.split("Example:\n\n")
    parser = argparse.ArgumentParser(
        description=about,
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", required=True, type=Path, metavar="CKPT", help="last.pt or best.pt of a run")
    add("--data", choices=KINDS, default="synthetic", help="kind of data set (synthetic)")
    add("--root", metavar="DIR", help="folder of the data set")
    add("--split", default="val", help="train, val or test (val)")
    add("--label-map", default="", metavar="0:0,255:1", help="folder: stored label to class id")
    add("--resize", type=int, nargs=2, metavar=("H", "W"), help="size of images (as trained)")
    add("--scales", type=float, nargs="+", default=[1.0], metavar="S", help="average over scales")
    add("--flip", action="store_true", help="average over the mirrored image as well")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (auto)")
    add("--amp", choices=("off", "bf16", "fp16"), default="off", help="mixed precision (off)")
    add("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that read data")
    add("--json", type=Path, metavar="FILE", help="write the scores there too")
    args = parser.parse_args()
    if min(args.scales) <= 0:
        parser.error("--scales must be positive")
    return args


def main() -> None:
    args = arguments()
    device = pick_device(args.device)
    weights, settings = read_weights(args.weights)
    fixed = args.resize or settings.get("resize")
    model = FCN32s()
    load_strict(model, weights, args.weights)
    model.to(device, memory_format=torch.channels_last)

    size = tuple(settings.get("scene") or accepted_size(96, 96))
    split = open_split(args.data, args.root, args.split, size, args.label_map)
    matrix = evaluate(
        model,
        split,
        tuple(fixed) if fixed else None,
        device,
        amp=args.amp,
        workers=args.workers,
        scales=tuple(args.scales),
        flip=args.flip,
    )
    result = scores(matrix, split.names)
    print(table(result))
    if args.json:
        about = {"weights": str(args.weights), "data": args.data, "split": args.split}
        text = json.dumps({**about, "images": len(split), **result}, indent=2)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
