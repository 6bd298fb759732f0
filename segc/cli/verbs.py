"""The verbs: which module runs each, what it does in a line, an example."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line; `module` is its module in segc.cli."""

    module: str
    help: str
    example: str


VERBS: dict[str, Verb] = {
    "new": Verb("new", "write a spec to start from", "segc new my_net --like unet"),
    "check": Verb("check", "prove a spec sound; every problem at once", "segc check specs/*.yaml"),
    "build": Verb(
        "build",
        "write module, deploy module, harness, diagram and report",
        "segc build specs/unet.yaml -o generated",
    ),
    "summary": Verb(
        "summary",
        "layer table: shapes, parameters, MACs, memory, receptive field",
        "segc summary specs/unet.yaml --input image=1x3x512x512 --budget 'params<40M,macs<200G'",
    ),
    "diff": Verb(
        "diff",
        "what changed between two networks, and what follows from it",
        "segc diff specs/unet.yaml --against HEAD~1",
    ),
    "draw": Verb("draw", "draw the network", "segc draw specs/unet.yaml -o unet.svg"),
    "verify": Verb(
        "verify",
        "run what is emitted and compare it with what was derived",
        "segc verify specs/unet.yaml",
    ),
    "fmt": Verb("fmt", "canonical layout, comments kept", "segc fmt --check specs/*.yaml"),
    "explain": Verb(
        "explain", "manual page of an op, a diagnostic code, a topic", "segc explain conv2d"
    ),
    "train": Verb(
        "harness",
        "build, then train",
        "segc train specs/unet.yaml --data camvid --root data/camvid --out runs/unet",
    ),
    "eval": Verb(
        "harness",
        "build, then evaluate",
        "segc eval specs/unet.yaml --weights runs/unet/best.pt --data camvid --root data/camvid",
    ),
    "predict": Verb(
        "harness",
        "build, then predict",
        "segc predict specs/unet.yaml --weights runs/unet/best.pt street.png",
    ),
    "weights": Verb(
        "weights",
        "which tensors of a checkpoint fit a network; convert it",
        "segc weights map specs/fcn32s.yaml vgg16.pth",
    ),
    "schema": Verb(
        "schema", "JSON Schema of the language, for editors", "segc schema -o segc.schema.json"
    ),
    "completion": Verb(
        "completion", "completion script of a shell", "segc completion bash > ~/.segc-completion"
    ),
}

LATER = ("import", "export")
