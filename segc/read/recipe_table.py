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
    (list of texts); ints and numbers (lists, of `count` values if given); weights (a word of
    `choices` or a list of numbers); when (an expression over the parameters); section (a mapping of
    `fields`), sections (a list of them), one_of (a mapping with exactly one of `fields`, each a
    section). `min` is inclusive, `above` exclusive; both hold for every number.
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


def _lr() -> Field:
    return Field("number", "base learning rate", above=0)


def _decay(default: float) -> Field:
    return Field("number", "L2 penalty on the weights", default, min=0)


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
    "adam": Field(
        "section",
        "Adam",
        fields={
            "lr": _lr(),
            "betas": Field("numbers", "decay of the moments", [0.9, 0.999], min=0, max=1, count=2),
            "weight_decay": _decay(0.0),
        },
    ),
    "adamw": Field(
        "section",
        "Adam with decoupled weight decay",
        fields={
            "lr": _lr(),
            "betas": Field("numbers", "decay of the moments", [0.9, 0.999], min=0, max=1, count=2),
            "weight_decay": _decay(0.01),
        },
    ),
}
SCHEDULES = {
    "constant": Field("section", "the base rate throughout"),
    "poly": Field(
        "section",
        "(1 - step / steps) ** power",
        fields={"power": Field("number", "exponent", 0.9, above=0)},
    ),
    "step": Field(
        "section",
        "times gamma every `size` steps",
        fields={
            "size": Field("int", "optimizer steps between drops", min=1),
            "gamma": Field("number", "factor of a drop", 0.1, above=0),
        },
    ),
    "cosine": Field("section", "half a cosine wave down to zero"),
}
RECIPE: dict[str, Field] = {
    "optimizer": Field("one_of", "how weights follow gradients", None, fields=OPTIMIZERS),
    "schedule": Field("one_of", "learning rate over the steps", None, fields=SCHEDULES),
    "max_steps": Field("int", "length of the training, optimizer steps", None, min=1),
    "epochs": Field("int", "length of the training, passes over the training set", None, min=1),
    "batch_size": Field("int", "images per step, all processes together", None, min=1),
    "crop": Field("ints", "height and width the network trains on, pixels", None, min=1, count=2),
    "augment": Field(
        "section",
        "random changes of the training images",
        None,
        fields={
            "scale": Field("numbers", "range of a random resize", None, above=0, count=2),
            "flip": Field("bool", "mirror half of the images left to right", False),
        },
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
    "classes": Field("names", "names of the classes, in the order of their ids", None),
}


# --- JSON Schema ----------------------------------------------------------------------------


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of `recipe:`."""
    return section_schema(RECIPE)


def section_schema(fields: Mapping[str, Field]) -> dict[str, Any]:
    """JSON Schema of a mapping with these keys."""
    required = [name for name, f in fields.items() if f.default is REQUIRED]
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _field_schema(f) for name, f in fields.items()},
    }
    return schema | ({"required": required} if required else {})


def _field_schema(f: Field) -> dict[str, Any]:
    return {"description": f.doc, **_kind_schema(f)}


def _kind_schema(f: Field) -> dict[str, Any]:
    bounds = {"minimum": f.min, "exclusiveMinimum": f.above, "maximum": f.max}
    limits = {key: bound for key, bound in bounds.items() if bound is not None}
    number = {"type": "integer" if f.kind in ("int", "ints") else "number", **limits}
    length = {"minItems": f.count, "maxItems": f.count} if f.count else {"minItems": 1}
    numbers = {"type": "array", "items": number, **length}
    match f.kind:
        case "int" | "number":
            return number
        case "ints" | "numbers":
            return numbers
        case "bool":
            return {"type": "boolean"}
        case "word":
            return {"enum": list(f.choices)}
        case "weights":
            return {"oneOf": [{"enum": list(f.choices)}, numbers]}
        case "text" | "output":
            return {"type": "string"}
        case "identifier":
            return {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"}
        case "when":
            return {"type": ["boolean", "string"]}
        case "names":
            return {"type": "array", "items": {"type": "string"}}
        case "sections":
            return {"type": "array", "items": section_schema(f.fields)}
        case "section":
            return section_schema(f.fields)
    return _one_of_schema(f)


def _one_of_schema(f: Field) -> dict[str, Any]:
    bare = [
        name
        for name, section in f.fields.items()
        if all(inner.default is not REQUIRED for inner in section.fields.values())
    ]
    single = [
        {
            "type": "object",
            "additionalProperties": False,
            "required": [name],
            "properties": {name: _field_schema(section)},
        }
        for name, section in f.fields.items()
    ]
    return {"oneOf": [*([{"enum": bare}] if bare else []), *single]}
