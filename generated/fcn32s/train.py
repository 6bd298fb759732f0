"""Train FCN-32s (VGG16).

Every value of the recipe stands below, on one line, with its unit.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation. CVPR 2015, PAMI
2017. arXiv:1605.06211

Examples:

    python train.py                                                # a trial on drawn scenes
    python train.py --data camvid --root DIR --out runs/1          # the recipe on real images
    torchrun --nproc-per-node 4 train.py --data voc --root DIR     # one process a GPU
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data import (
    IGNORE,
    KINDS,
    Picks,
    Samples,
    Split,
    accepted_size,
    accepts,
    open_split,
)
from model import FCN32s
from runtime import (
    Interrupt,
    Keeper,
    Log,
    Progress,
    Stop,
    any_rank,
    autocast,
    ignore_signals,
    join,
    load,
    load_fitting,
    load_optimizer,
    load_strict,
    lock,
    newest,
    pick_device,
    run,
)
from scoring import evaluate, scores

# The recipe: what the command line does not say otherwise.
MAX_STEPS = 100_000  # optimizer steps
BATCH_SIZE = 1  # images a step, all processes together
CROP = None  # whole images
LR = 1e-10  # base learning rate
MOMENTUM = 0.99  # share of the last update kept
WEIGHT_DECAY = 0.0005  # L2 penalty
GROUPS = (
    # name pattern, factor of LR, factor of WEIGHT_DECAY; the first that matches counts
    ("*.bias", 2, 0),
)

# A trial, `--data synthetic`: small enough for a laptop.
TRIAL_CROP = (96, 96)
TRIAL_BATCH_SIZE = 4
TRIAL_STEPS = 100


def arguments() -> argparse.Namespace:
    about, examples = __doc__.split("Examples:\n\n")
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0],
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", choices=KINDS, default="synthetic", help="kind of data set (synthetic)")
    add("--root", metavar="DIR", help="folder of the data set")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="run directory (runs)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive, metavar="N", help="passes over the training set")
    length.add_argument("--max-steps", type=positive, metavar="N", help="optimizer steps")
    add("--batch-size", type=positive, metavar="N", help="images a step, all processes together")
    add("--crop", type=positive, nargs=2, metavar=("H", "W"), help="size the network trains on")
    add("--resize", type=positive, nargs=2, metavar=("H", "W"), help="bring all images to a size")
    add("--label-map", default="", metavar="0:0,255:1", help="folder: stored label to class id")
    add("--lr", type=rate, default=LR, help=f"base learning rate ({LR:g})")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (auto)")
    add("--amp", choices=("off", "bf16", "fp16"), default="off", help="mixed precision (off)")
    add("--compile", action="store_true", help="compile the network with torch.compile")
    add("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes reading data")
    add("--seed", type=int, default=0, help="of initial weights, order, augmentation (0)")
    add("--deterministic", action="store_true", help="refuse operations that vary run to run")
    add("--eval-every", type=positive, metavar="N", help="steps between validations (one epoch)")
    add("--save-every", type=positive, default=500, metavar="N", help="steps between saves (500)")
    add("--log-every", type=positive, default=20, metavar="N", help="steps between logs (20)")
    add("--resume", metavar="auto|PATH", help="go on from the run's last state, or from a file")
    add("--allow", nargs="+", default=[], metavar="NAME", help="settings that may differ on resume")
    add("--init-from", type=Path, metavar="CKPT", help="start from weights, as far as they fit")
    args = parser.parse_args()
    if args.root and args.data == "synthetic":
        parser.error("--root needs --data KIND")
    if args.workers < 0:
        parser.error("--workers is 0 or more")
    if not 0 <= args.seed < 1 << 20:
        parser.error("--seed is between 0 and 1048575")
    if args.resume and args.init_from:
        parser.error("--resume and --init-from exclude each other")
    return args


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def rate(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number")
    return value


def seg_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of the pixels that are not IGNORE.

    Their sum, divided by nothing.
    """
    logits = logits.float()
    total = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum")
    return total


def total_loss(output: Tensor, mask: Tensor) -> Tensor:
    return seg_loss(output, mask)


def decay(step: int, steps: int) -> float:
    """Factor of the learning rate at a step: constant."""
    return 1.0


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameters by the first line of GROUPS whose pattern matches; the rest train at the base."""
    rows = [*GROUPS, ("*", 1.0, 1.0)]
    groups: list[dict[str, Any]] = [
        {"params": [], "factor": factor, "weight_decay": WEIGHT_DECAY * decay}
        for _, factor, decay in rows
    ]
    matched = set()
    for name, parameter in model.named_parameters():
        row = next(i for i, (pattern, _, _) in enumerate(rows) if fnmatchcase(name, pattern))
        matched.add(row)
        if parameter.requires_grad:
            groups[row]["params"].append(parameter)
    for row, (pattern, _, _) in enumerate(GROUPS):
        if row not in matched:
            raise Stop(f"GROUPS: no parameter is left for {pattern!r}")
    return [group for group in groups if group["params"]]


def settle(args: argparse.Namespace) -> None:
    """Fill in what the command line left open: the recipe's value, or the trial's."""
    if args.data == "synthetic":
        args.crop = args.crop or TRIAL_CROP
        args.batch_size = args.batch_size or TRIAL_BATCH_SIZE
        if not args.epochs:
            args.max_steps = args.max_steps or TRIAL_STEPS
    if not args.epochs:
        args.max_steps = args.max_steps or MAX_STEPS
    args.crop = tuple(args.crop) if args.crop else CROP
    args.resize = tuple(args.resize) if args.resize else None
    args.batch_size = args.batch_size or BATCH_SIZE
    if args.crop and not accepts(*args.crop):
        height, width = accepted_size(*args.crop)
        text = "the network does not take this size; the next it takes is"
        raise Stop(f"--crop {args.crop[0]} {args.crop[1]}: {text} {height} {width}", 2)


def fingerprint(split: Split) -> str:
    """A digest of the names of all files, to notice on resume that the data have changed."""
    names = "\n".join(Path(split.name(i)).name for i in range(len(split)))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


@dataclass
class Place:
    """How far the run is; saved with the weights, so that a resumed run is the same run."""

    step: int = 0
    evaluated: int = 0  # step of the last validation
    best: float = -1.0  # best validation mIoU so far
    loss: float = 0.0  # summed since the last line of the log
    count: int = 0  # steps in that sum


def saved_state(args: argparse.Namespace) -> dict[str, Any] | None:
    """The state to go on from; None starts afresh."""
    if args.resume == "auto":
        return newest(args.out)
    if args.resume:
        state = load(Path(args.resume))
        if "optimizer" not in state:
            raise Stop(f"{args.resume} holds weights only: use --init-from")
        return state
    if (args.out / "last.pt").exists():
        raise Stop(f"{args.out} holds a run: go on with --resume auto, or take another --out", 2)
    return None


def same_settings(saved: dict[str, Any], now: dict[str, Any], allowed: list[str]) -> None:
    """A resumed run must be the run that was stopped, unless a difference is allowed by name."""
    changed = [key for key in now if saved.get(key) != now[key] and key not in allowed]
    if changed:
        lines = [f"  {key}: {saved.get(key)} -> {now[key]}" for key in changed]
        hint = f"allow it with --allow {' '.join(changed)}, or take another --out"
        raise Stop("\n".join(["the saved run had other settings:", *lines, hint]))


def main() -> None:
    args = arguments()
    settle(args)
    interrupt = Interrupt()
    device = pick_device(args.device)
    rank, world = join(device)
    owner = lock(args.out) if rank == 0 else None  # held until the process ends
    if args.batch_size % world:
        raise Stop(f"--batch-size {args.batch_size} does not divide by {world} processes", 2)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not args.deterministic

    # Data.
    scene = args.crop or (96, 96)
    train_set = open_split(args.data, args.root, "train", scene, args.label_map)
    val_set = open_split(args.data, args.root, "val", scene, args.label_map)
    if len(train_set) < args.batch_size:
        raise Stop(f"{len(train_set)} training images do not fill a batch of {args.batch_size}")
    per_epoch = len(train_set) // args.batch_size
    steps = args.max_steps or args.epochs * per_epoch
    eval_every = args.eval_every or per_epoch
    samples = Samples(train_set, args.crop, args.resize, None, False, args.seed)

    # Network and optimizer. Channels last is the faster layout for convolutions on CPU and GPU.
    torch.manual_seed(args.seed)
    network: nn.Module = FCN32s()
    if args.init_from:
        print(load_fitting(network, args.init_from), file=sys.stderr)
    network.to(device, memory_format=torch.channels_last)
    optimizer = optimizer = torch.optim.SGD(parameter_groups(network), args.lr, momentum=MOMENTUM)
    scaler = torch.amp.GradScaler(device.type, init_scale=4096, enabled=args.amp == "fp16")

    # The saved state of an earlier start of this run.
    settings = {
        "data": args.data,
        "files": fingerprint(train_set),
        "names": train_set.names,
        "scene": list(scene),
        "crop": list(args.crop) if args.crop else None,
        "resize": list(args.resize) if args.resize else None,
        "batch_size": args.batch_size,
        "lr": args.lr,
        "max_steps": steps,
        "seed": args.seed,
        "amp": args.amp,
        "processes": world,
    }
    at = Place()
    saved = saved_state(args)
    if saved is not None:
        same_settings(saved["settings"], settings, args.allow)
        load_strict(network, saved["weights"], args.out)
        load_optimizer(optimizer, saved["optimizer"], args.out)
        scaler.load_state_dict(saved["scaler"])
        at = Place(**saved["place"])

    # One network, up to three wrappings; weights are always saved from `network` itself.
    if world > 1 and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    model = torch.compile(network) if args.compile else network
    if world > 1:
        model = nn.parallel.DistributedDataParallel(model)
    model.train()

    batches = iter(
        torch.utils.data.DataLoader(
            samples,
            sampler=Picks(len(train_set), args.batch_size, args.seed, at.step, steps, rank, world),
            batch_size=None,  # a pick is a whole batch already
            num_workers=args.workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=ignore_signals,
            timeout=120 if args.workers else 0,
        )
    )
    if rank == 0:
        parameters = sum(p.numel() for p in network.parameters())
        size = "whole images" if args.crop is None else f"crops of {args.crop[0]} x {args.crop[1]}"
        print(
            f"{parameters:,} parameters; {len(train_set)} images ({args.data}), {size}, "
            f"{args.batch_size} a step; steps {at.step} to {steps} on {device}",
            file=sys.stderr,
        )
    log = Log(args.out / "metrics.jsonl", at.step) if rank == 0 else None
    keeper = Keeper(args.out)
    progress = Progress(steps, at.step, args.log_every)
    start, bad = at.step, 0
    while True:
        # Validate when due; then save; then stop if told to.
        better = False
        due = at.step > at.evaluated and (at.step % eval_every == 0 or at.step >= steps)
        if due:
            matrix = evaluate(
                network,
                val_set,
                args.resize,
                device,
                amp=args.amp,
                workers=args.workers,
                rank=rank,
                world=world,
                stopping=lambda: interrupt.number != 0,
            )
        stopping = any_rank(interrupt.number != 0, device)
        if due and not stopping:
            result = scores(matrix, val_set.names)
            miou = result["miou"] or 0.0
            better, at.evaluated, at.best = miou > at.best, at.step, max(at.best, miou)
            if log:
                log.write(at.step, **{f"val_{key}": value for key, value in result.items()})
                progress.end()
                print(f"step {at.step}: validation mIoU {100 * miou:.2f}", flush=True)
        if log and at.step > start and (due or stopping or at.step % args.save_every == 0):
            state = {
                "weights": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "place": asdict(at),
                "settings": settings,
            }
            keeper.save(state, better)
        if stopping:
            again = f"{args.out}: stopped at step {at.step}; go on with --resume auto"
            raise Stop(again, interrupt.status)
        if at.step >= steps:
            break

        # One step. What dropout draws is a function of (seed, step, rank), so resuming is exact.
        torch.manual_seed((args.seed << 40) + at.step * world + rank)
        batch = next(batches)
        if isinstance(batch, Stop):
            raise batch
        images, masks, picked = batch
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        masks = masks.to(device, non_blocking=True).long()
        lr = args.lr * decay(at.step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        with autocast(device, args.amp):
            output = model(images)
        loss = total_loss(output, masks)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        finite = bool((loss.detach() + norm).isfinite())
        finite = not any_rank(not finite, device)
        if finite:
            scaler.step(optimizer)
        scaler.update()
        at.step += 1

        # A step whose loss or gradient is not finite changes nothing; ten in a row end the run.
        if finite:
            bad = 0
            at.loss, at.count = at.loss + loss.item(), at.count + 1
        else:
            bad += 1
            names = ", ".join(train_set.name(index) for index in picked)
            print(f"\nstep {at.step}: loss or gradient not finite ({names})", file=sys.stderr)
        if bad == 10:
            raise Stop("ten steps in a row were not finite: try a smaller --lr")
        mean = at.loss / max(at.count, 1)
        if log:
            progress.show(at.step, f"loss {mean:.4f}", args.batch_size)
        if at.step % args.log_every == 0 or at.step == steps:
            if log:
                log.write(at.step, loss=mean, lr=lr)
            at.loss, at.count = 0.0, 0
    progress.end()
    if rank == 0:
        print(f"done: best validation mIoU {100 * at.best:.2f}; states in {args.out}")
    del owner


if __name__ == "__main__":
    run(main)
