"""Weights (SEG5xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry
from segc.catalogue.net import net


def _layout(*lines: str) -> str:
    rows = "".join(f"      {line}\n" for line in lines)
    head = "weights:\n  published:\n    source: the authors' checkpoint\n    rename:\n"
    return net("logits: {op: conv2d, out_channels: 8, kernel_size: 3}") + head + rows


ENTRIES: dict[str, Entry] = {
    "SEG501": Entry(
        "A layout of a checkpoint leads to no layer",
        "Each line under `rename` takes a name of the checkpoint to a layer or group of this "
        "network that has weights. There is none of that name, so nothing would ever be loaded "
        "into it.",
        bad=_layout("features.0: logit"),
        good=_layout("features.0: logits"),
    ),
    "SEG502": Entry(
        "A weight of a checkpoint is no view of the layer's",
        "Where a layout states the `shape` a weight has in the checkpoint, it must be the shape of "
        "the layer's weight, or that with all axes after the first flattened to one: a linear "
        "layer [4096, 25088] is a convolution [4096, 512, 7, 7]. Any other change of shape would "
        "bring values to places they were not trained for.",
        bad=_layout("classifier.0: {to: logits, shape: [8, 28]}"),
        good=_layout("classifier.0: {to: logits, shape: [8, 27]}"),
    ),
    "SEG503": Entry(
        "Two lines of a layout lead to one layer",
        "A layer gets its weights from one place; with two, which of them it gets would depend on "
        "the order of the file.",
        bad=_layout("features.0: logits", "features.1: logits"),
        good=_layout("features.0: logits"),
    ),
    "SEG510": Entry(
        "A file that is no checkpoint, or no safe one",
        "Weights are read as plain data: a file saved by torch.save (a state dict, alone or under "
        "`state_dict`, `model` or `weights`), or safetensors. Nothing in it can run code; "
        "compressed archives, other objects and values that are not finite are refused.",
    ),
    "SEG511": Entry(
        "Weights are missing",
        "The checkpoint does not hold every weight of the network, under the layout that fits "
        "best. `--partial` writes what there is; training then starts from it with "
        "`train.py --init-from`, the rest keeping its initial values.",
    ),
}
