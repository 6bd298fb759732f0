"""What `losses:` may hold: one row a loss, for the reader, the schema, the manual and the emitter.

A new loss is a row here and a module of its name in `segc.emit.losses`, which writes its function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segc.read.recipe_schema import section_schema
from segc.read.recipe_table import REQUIRED, Field


@dataclass(frozen=True, slots=True)
class LossKind:
    """One loss. `fields` are its keys; the first has its name and names the output it reads.

    channels: how many that output has: "classes" (two or more, one a class), "one" or "any";
    "scalar" where it is a single number.
    `dense` losses compare with a map of numbers, which `total_loss` takes by the name in `target`.
    """

    title: str
    doc: str
    channels: str
    fields: Mapping[str, Field]
    example: str
    dense: bool = False


_WEIGHT = Field("number", "factor of this loss in the sum", 1.0, min=0)
_WHEN = Field("when", "an expression over the parameters; false: there is no such loss", True)
_COMMON = {
    "ignore_index": Field("int", "label of the pixels left out", 255, min=0, max=255),
    "weight": _WEIGHT,
    "when": _WHEN,
}
_MASK = {"target": Field("word", "what it is compared with", "mask", choices=("mask",))}
_REDUCTION = Field(
    "word",
    "the sum is divided by: mean, the sum of the pixels' weights; valid_pixels, their number; "
    "batch, the number of images; sum, nothing; images: each image's sum by the sum of its "
    "weights, and the images are added up",
    "mean",
    choices=("mean", "valid_pixels", "batch", "sum", "images"),
)
_CLASS_WEIGHTS = Field(
    "weights",
    "one weight a class; or median_frequency (median / frequency) or inverse_log "
    "(1 / ln(1.02 + share)), counted on the training set; or per_image, 1 + (1 - share of the "
    "class in the image)",
    None,
    min=0,
    choices=("median_frequency", "inverse_log", "per_image", "none"),
)

LOSSES: dict[str, LossKind] = {
    "cross_entropy": LossKind(
        "softmax and cross entropy against the label map",
        "The sum over the pixels that are not ignored of -w log softmax(output)[label], divided as "
        "`reduction` says. w is the weight of the pixel's class; `border_weight` adds to it.",
        "classes",
        {
            "cross_entropy": Field("output", "output with one channel a class"),
            "target": Field(
                "word",
                "what it is compared with: the label map; the label of its centre pixel; or the "
                "class of the image (for both the output is [N, K])",
                "mask",
                choices=("mask", "centre", "label"),
            ),
            **_COMMON,
            "class_weights": _CLASS_WEIGHTS,
            "border_weight": Field(
                "section",
                "added to each pixel's weight: w0 exp(-(d1 + d2)^2 / (2 sigma^2)), with the "
                "distances to the borders of the two nearest objects, the 4-connected components "
                "of the classes but 0 (U-Net); needs scipy",
                None,
                fields={
                    "w0": Field("number", "weight between two objects that touch", 10, min=0),
                    "sigma": Field("number", "how far it reaches, pixels", 5, above=0),
                },
            ),
            "resize": Field(
                "word",
                "what is resized where the output is coarser than the labels: the logits, "
                "bilinearly; or the labels, sampled at the aligned corners (labels_corners: every "
                "8th of 321 for 41), under the scores' centres (labels_centres), or every s-th "
                "from the first on (labels_slice)",
                "logits",
                choices=("logits", "labels_corners", "labels_centres", "labels_slice"),
            ),
            "reduction": _REDUCTION,
        },
        "seg: {cross_entropy: logits, ignore_index: 255, class_weights: median_frequency}",
    ),
    "binary_cross_entropy": LossKind(
        "cross entropy of one channel: yes or no",
        "The sum over the pixels that are not ignored of -w log p, with p the probability the "
        "output gives to what the pixel is. With `balanced`, w is the share of negatives for a "
        "positive and the share of positives for a negative, counted over the batch (HED, "
        "Gated-SCNN).",
        "one",
        {
            "binary_cross_entropy": Field("output", "output of one channel"),
            "target": Field(
                "word",
                "what is positive: class 1 of the label map, or the borders between its classes",
                "mask",
                choices=("mask", "edges"),
            ),
            **_COMMON,
            "edges": Field(
                "section",
                "which pixels are borders, for the target edges",
                None,
                fields={
                    "radius": Field("int", "distance to another class, pixels", 2, min=1, max=16),
                    "released": Field(
                        "bool",
                        "as Gated-SCNN's code: class 0 has no border of its own, the image border "
                        "is one, and ignored pixels count",
                        False,
                    ),
                },
            ),
            "balanced": Field("bool", "weigh positives and negatives equally", False),
            "reads": Field(
                "word",
                "what the output is: logits; a probability; or a probability that is taken for "
                "logits, as Gated-SCNN's code does",
                "logits",
                choices=("logits", "probability", "probability_as_logits"),
            ),
            "reduction": _REDUCTION,
        },
        "edge: {binary_cross_entropy: edges, target: edges, balanced: true, reads: probability}",
    ),
    "edge_attention": LossKind(
        "cross entropy where a border is predicted",
        "cross_entropy restricted to the pixels where another output, the predicted borders, is "
        "above a threshold (Gated-SCNN). No gradient reaches the borders.",
        "classes",
        {
            "edge_attention": Field("output", "output with one channel a class"),
            **_MASK,
            **_COMMON,
            "edges": Field("output", "output of one channel: the predicted borders"),
            "threshold": Field("number", "value of it above which a pixel counts", 0.8),
            "class_weights": _CLASS_WEIGHTS,
            "reduction": _REDUCTION,
        },
        "attention: {edge_attention: logits, edges: edges, class_weights: per_image}",
    ),
    "dual_task": LossKind(
        "borders of the predicted classes against those of the labels",
        "Half the mean of |b - b'| over the pixels and classes where b is not zero, and half of it "
        "where b' is not (Gated-SCNN). b is the length of the spatial gradient of the predicted "
        "class map, smoothed by a triangle of radius 4, over sqrt(2); b' that of the labels. The "
        "class map is the argmax; its gradient is that of a Gumbel softmax of temperature `tau`. "
        "With `released` it is what the authors' code computes: sqrt(2 x^2 + 1e-6) over its "
        "maximum for the Gumbel softmax x itself, without any spatial gradient.",
        "classes",
        {
            "dual_task": Field("output", "output with one channel a class"),
            **_MASK,
            **_COMMON,
            "tau": Field("number", "temperature; 1, with `released` 0.5", None, above=0),
            "released": Field("bool", "what the authors' code computes", False),
        },
        "dual: {dual_task: logits}",
    ),
    "squared_error": LossKind(
        "squared difference to a map of numbers",
        "The sum over the values of (output - target)^2, divided as `reduction` says. With "
        "`minimum`, values whose target is below it are left out. `total_loss` in losses.py takes "
        "the target under its name. Scripts are made for the disparity of a focal stack, "
        "[N, S, C, H, W] to [N, 1, H, W]; for another map of numbers the loop is yours.",
        "any",
        {
            "squared_error": Field("output", "output of any shape"),
            "target": Field("identifier", "name of the map of the output's shape"),
            "weight": _WEIGHT,
            "when": _WHEN,
            "minimum": Field("number", "smallest target that counts", None),
            "reduction": Field(
                "word",
                "the sum is divided by: sum, nothing; mean, the number of values that count; "
                "batch, the number of images",
                "sum",
                choices=("sum", "mean", "batch"),
            ),
        },
        "depth: {squared_error: disparity, target: disparity, minimum: 0.02}",
        dense=True,
    ),
    "computed": LossKind(
        "a number that the network computes itself",
        "The output, which is the value of the loss: networks that find objects choose in training "
        "which anchors and proposals are compared with what, so their losses are layers.",
        "scalar",
        {
            "computed": Field("output", "output that is a scalar, given in training"),
            "weight": _WEIGHT,
            "when": _WHEN,
        },
        "box: {computed: loss_box, weight: 1}",
    ),
}


def completed(loss: Mapping[str, Any]) -> dict[str, Any]:
    """A loss as plain data, with the defaults of the keys it leaves out."""
    kind = str(loss["kind"])
    fields = LOSSES[kind].fields
    defaults = {n: f.default for n, f in fields.items() if f.default is not REQUIRED}
    del defaults["when"]
    return {**defaults, **loss}


def losses_schema() -> dict[str, Any]:
    """JSON Schema of `losses:`."""
    kinds = [section_schema(kind.fields) for kind in LOSSES.values()]
    names = {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"}
    return {"type": "object", "propertyNames": names, "additionalProperties": {"oneOf": kinds}}
