"""What `recipe:` may hold: one table for the reader, the schema and the manual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One key. `kind` says what it takes:

    int, number, bool, word (one of `choices`), text, output (name of an output), identifier; names
    (list of texts), values (names with plain values); ints and numbers (lists, of `count` values if
    given); sides (an int, or two); weights (a word of `choices` or a list of numbers); when (an
    expression over the parameters); section (a mapping of `fields`; a bare number gives those named
    in `short`), sections (a list of them), named (a mapping of them), one_of (a mapping with
    exactly one of `fields`, each a section). `min` is inclusive, `above` exclusive; both hold for
    every number.
    """

    kind: str
    doc: str
    default: Any = REQUIRED
    min: float | None = None
    above: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] = ()
    count: int | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    short: tuple[str, ...] = ()


def _lr() -> Field:
    return Field("number", "base learning rate", above=0)


def _decay(default: float) -> Field:
    return Field("number", "L2 penalty on the weights", default, min=0)


def _adam(doc: str, decay: float) -> Field:
    betas = Field("numbers", "decay of the moments", [0.9, 0.999], min=0, max=1, count=2)
    return Field(
        "section", doc, fields={"lr": _lr(), "betas": betas, "weight_decay": _decay(decay)}
    )


OPTIMIZERS = {
    "sgd": Field(
        "section",
        "stochastic gradient descent",
        fields={
            "lr": _lr(),
            "momentum": Field("number", "share of the last update kept", 0.0, min=0, max=1),
            "nesterov": Field("bool", "Nesterov's momentum", False),
            "weight_decay": _decay(0.0),
        },
    ),
    "adam": _adam("Adam", 0.0),
    "adamw": _adam("Adam with decoupled weight decay", 0.01),
}


def _per() -> Field:
    return Field(
        "word", "whether it moves with every step or every epoch", "step", choices=("step", "epoch")
    )


SCHEDULES = {
    "constant": Field("section", "the base rate throughout"),
    "poly": Field(
        "section",
        "(1 - step / steps) ** power",
        fields={
            "power": Field("number", "exponent", 0.9, above=0),
            "per": _per(),
            "every": Field("int", "steps (or epochs) for which a rate holds", 1, min=1),
            "floor": Field(
                "number", "the base rate falls no lower (another --lr scales it too)", 0.0, min=0
            ),
        },
    ),
    "step": Field(
        "section",
        "times gamma every `size` steps",
        fields={
            "size": Field("int", "optimizer steps (or epochs) between drops", min=1),
            "gamma": Field("number", "factor of a drop", 0.1, above=0),
            "per": _per(),
        },
    ),
    "milestones": Field(
        "section",
        "times gamma at each of the steps named",
        fields={
            "at": Field("ints", "optimizer steps (or epochs) of the drops, ascending", min=1),
            "gamma": Field("number", "factor of a drop", 0.1, above=0),
            "per": _per(),
        },
    ),
    "cosine": Field("section", "half a cosine wave down to zero", fields={"per": _per()}),
}


def _probability() -> Field:
    return Field("number", "share of the images it is done to", 1.0, above=0, max=1)


def _jitter(doc: str, most: float | None = None) -> Field:
    return Field("number", doc, 0.0, min=0, max=most)


AUGMENT = {
    "resize": Field("sides", "the shorter side, or height and width, at scale 1, pixels", None, 1),
    "scale": Field("numbers", "range of a random resize", None, above=0, count=2),
    "scales": Field("numbers", "factors one of which resizes the image", None, above=0),
    "rotate": Field(
        "section",
        "turn the image about its centre",
        None,
        fields={
            "degrees": Field("number", "largest angle either way", above=0, max=180),
            "probability": _probability(),
        },
        short=("degrees",),
    ),
    "shift": Field("number", "pixels the window moves at most, either way", None, above=0),
    "elastic": Field(
        "section",
        "displace a grid of points over the window, and what lies between smoothly with them",
        None,
        fields={
            "grid": Field("int", "points along each side", 3, min=2),
            "sigma": Field("number", "deviation of the displacements, pixels", 10.0, min=0),
        },
    ),
    "flip": Field("bool", "mirror half of the images left to right", False),
    "quarter_turns": Field("bool", "turn by a random multiple of 90 degrees", None),
    "shorts": Field(
        "ints", "finding objects: sizes one of which replaces `short` of `resize`", None, min=1
    ),
    "expand": Field(
        "section",
        "finding objects: the image somewhere on a larger one that is empty",
        None,
        fields={
            "most": Field("number", "factor of its sides, at most", 4.0, above=1, max=16),
            "probability": _probability(),
        },
        short=("most",),
    ),
    "iou_crop": Field(
        "bool", "finding objects: a window that an object overlaps by a drawn IoU (SSD)", None
    ),
    "resized_crop": Field(
        "section",
        "classifiers: a window of random area and shape, brought to the crop",
        None,
        fields={
            "area": Field(
                "numbers", "range of its share of the image", [0.08, 1.0], 0, max=1, count=2
            ),
            "ratio": Field("numbers", "range of width / height", [3 / 4, 4 / 3], above=0, count=2),
        },
    ),
    "color_jitter": Field(
        "section",
        "factors within 1 - x to 1 + x, in random order; hue turns by a share of the circle",
        None,
        fields={
            "brightness": _jitter("of all channels"),
            "contrast": _jitter("about the mean grey level"),
            "saturation": _jitter("away from grey"),
            "hue": _jitter("turned by at most this share of the circle", 0.5),
        },
        short=("brightness", "contrast", "saturation", "hue"),
    ),
    "blur": Field(
        "section",
        "Gaussian blur",
        None,
        fields={
            "sigma": Field("numbers", "range of the deviation, pixels", above=0, count=2),
            "probability": _probability(),
        },
    ),
}


def _sigma(what: str) -> Field:
    return Field("number", f"standard deviation in {what}", above=0)


def _kernel(joined: str, **more: Field) -> Field:
    weight = Field("number", "weight of the kernel", min=0)
    fields = {"weight": weight, "xy": _sigma("pixels"), **more}
    return Field("section", f"joins pixels that are {joined}", fields=fields)


def _section(doc: str, **fields: Field) -> Field:
    return Field("section", doc, None, fields=fields)


def _size(doc: str, default: Any = REQUIRED) -> Field:
    return Field("ints", f"height and width, pixels: {doc}", default, min=1, count=2)


INFERENCE: dict[str, Field] = {
    "crf": _section(
        "dense CRF over the probabilities (--crf)",
        bilateral=_kernel("near and alike in colour", rgb=_sigma("levels of 0 to 255")),
        gaussian=_kernel("near"),
        iterations=Field("int", "mean-field steps", 10, min=1),
    ),
    "tile": _section(
        "overlapping tiles, mirrored at the border of the image (--tile)",
        size=_size("what one tile labels"),
        overlap=Field("int", "context around a tile, pixels, where layers pad", 0, min=0),
    ),
    "slide": _section(
        "a window that slides over the image, averaged by visits (--slide)",
        crop=_size("the window"),
        stride=Field("number", "step as a share of the window", 2 / 3, above=0, max=1),
    ),
    "samples": Field("int", "passes with dropout alive (--samples)", None, min=2),
    "scales": Field("numbers", "resized images to average over (--scales)", None, above=0),
    "average": Field(
        "word",
        "what is averaged over scales and flips",
        "probabilities",
        choices=("probabilities", "log_probabilities"),
    ),
}
ESTIMATORS: dict[str, Field] = {
    "svm": Field(
        "section",
        "a linear SVM for each class, objects against regions that overlap them little",
        fields={
            "features": Field("identifier", "output with the values of each region, [R, D]"),
            "c": Field("number", "weight of the errors", 1e-3, above=0),
            "bias": Field("number", "the constant beside the values", 10.0, above=0),
            "positive_weight": Field("number", "factor of the errors on objects", 2.0, above=0),
            "length": Field("number", "what features are scaled to, on average", 20.0, above=0),
            "overlap": Field("number", "negatives overlap objects by less", 0.3, above=0, max=1),
        },
    ),
    "box_regressor": _section(
        "for each class ridge regressions that move a region to its object",
        features=Field("identifier", "output with the values of each region, [R, D]"),
        ridge=Field("number", "penalty on the weights", 1000.0, above=0),
        length=Field("number", "what features are scaled to, on average", 20.0, above=0),
        overlap=Field("number", "regions overlap their object by more", 0.6, min=0, max=1),
        rows=Field("int", "regions of a class that are kept in memory at most", 5000, min=1),
    ),
}
_LENGTH = {
    "max_steps": Field("int", "length of the training, optimizer steps", None, min=1),
    "epochs": Field("int", "length of the training, passes over the training set", None, min=1),
}
_BATCH = Field("int", "images per step, all processes together", None, min=1)
_CROP = Field("ints", "height and width the network trains on, pixels", None, min=1, count=2)
_SCHEDULE = Field("one_of", "learning rate over the steps", None, fields=SCHEDULES)
STAGE: dict[str, Field] = {
    "name": Field("text", "of the stage, and of its run directory"),
    "network": Field("text", "another spec of the folder that is trained in this stage", None),
    "params": Field("values", "values of that network's parameters", None),
    **_LENGTH,
    "lr": Field("number", "base learning rate", None, above=0),
    "schedule": _SCHEDULE,
    "batch_size": _BATCH,
    "crop": _CROP,
    "freeze": Field("names", "patterns of names of parameters that are not trained", None),
    "freeze_bn": Field("bool", "batch norms keep statistics and weights", False),
    "starts_from": Field(
        "word", "which weights of the stage before", "best", choices=("best", "last")
    ),
}
RECIPE: dict[str, Field] = {
    "optimizer": Field("one_of", "how weights follow gradients", None, fields=OPTIMIZERS),
    "schedule": _SCHEDULE,
    "warmup": Field(
        "section",
        "the rate grows linearly to the schedule's at first",
        None,
        fields={
            "steps": Field("int", "optimizer steps it takes", min=1),
            "factor": Field("number", "share of the rate at step 0", 0.01, min=0, max=1),
        },
        short=("steps",),
    ),
    **_LENGTH,
    "batch_size": _BATCH,
    "accumulate": Field("int", "parts a batch is taken in, their gradients added", None, min=1),
    "clip_norm": Field("number", "largest norm of all gradients together", None, above=0),
    "crop": _CROP,
    "resize": _section(
        "finding objects: what images are brought to, in training and after it",
        short=Field("int", "the shorter side, pixels", None, min=1),
        long=Field("int", "what the longer side may not exceed, pixels", None, min=1),
        size=_size("of all images, in place of `short` and `long`", None),
    ),
    "augment": Field(
        "section",
        "random changes of the training images",
        None,
        fields=AUGMENT,
    ),
    "input": Field(
        "section",
        "what the network expects of an image",
        None,
        fields={
            "channels": Field("word", "their order", "rgb", choices=("rgb", "bgr", "gray")),
            "range": Field("word", "white is 1 or 255", 1, choices=(1, 255)),
        },
    ),
    "normalize": Field(
        "section",
        "per channel, in the input's range: subtracted, then divided by",
        None,
        fields={
            "mean": Field("numbers", "one value a channel"),
            "std": Field("numbers", "one value a channel", None, above=0),
        },
    ),
    "groups": Field(
        "sections",
        "parameters with rates of their own; the first pattern that matches a name counts",
        None,
        fields={
            "match": Field("text", "pattern of parameter names; * stands for anything"),
            "lr": Field("number", "factor of the learning rate", 1.0, min=0),
            "weight_decay": Field("number", "factor of the weight decay", 1.0, min=0),
        },
    ),
    "recompute_bn": Field(
        "int",
        "training batches on which batch-norm statistics are estimated anew for each validation",
        None,
        min=1,
    ),
    "stages": Field(
        "sections",
        "parts of the training, each from the weights of the one before; what a stage leaves out "
        "is the recipe's",
        None,
        fields=STAGE,
    ),
    "patches": Field(
        "section",
        "patch classifiers: the windows a batch has of each image",
        None,
        fields={
            "number": Field("int", "windows of an image", 16, min=1),
            "balanced": Field("bool", "the classes of an image are equally likely", True),
        },
        short=("number",),
    ),
    "classes": Field("names", "names of the classes, in the order of their ids", None),
    "inference": Field(
        "section", "what eval.py and predict.py offer beyond one pass", None, fields=INFERENCE
    ),
    "estimators": Field(
        "section",
        "finding objects: what is fitted to the network's answers afterwards (estimators.py)",
        None,
        fields=ESTIMATORS,
    ),
}
RECIPE["cases"] = Field(
    "named",
    "by name: `when`, an expression over the parameters, and what replaces the recipe's keys where "
    "it is true",
    None,
    fields={"when": Field("when", "an expression over the parameters"), **RECIPE},
)
