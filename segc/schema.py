"""The JSON Schema of the language, made from the tables the reader itself uses.

Editors complete and check with it; `segc check` does not need it, and says more: a schema cannot
know the parameters of a block or the layers a name means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import segc.ops  # noqa: F401  (fills the operator registry)
from segc.op import REGISTRY, Attr, Op
from segc.read.files import BLOCK_FILE_KEYS
from segc.read.inits import INITIALISERS
from segc.read.inputs import INPUT_KEYS, INPUT_TYPES
from segc.read.layouts import layouts_schema
from segc.read.loss_table import losses_schema
from segc.read.params import PARAM_KEYS, TYPES
from segc.read.recipe_schema import recipe_schema
from segc.read.spec import BLOCK_KEYS, LAYER_KEYS, TOP_LEVEL
from segc.transforms import TRANSFORMS

Schema = dict[str, Any]
DRAFTS = {
    "2020-12": ("https://json-schema.org/draft/2020-12/schema", "$defs"),
    "7": ("http://json-schema.org/draft-07/schema#", "definitions"),
}
NAME = "^[A-Za-z][A-Za-z0-9_]{0,62}$"
LAYER_NAME = "^(0|[1-9][0-9]{0,5}|[A-Za-z][A-Za-z0-9_]{0,62})$"
EXPRESSION = {"type": "string", "minLength": 1, "maxLength": 400}  # over the parameters


def schema(draft: str | int = "2020-12") -> Schema:
    """The schema of a spec (or block file) in JSON Schema draft "2020-12" or 7."""
    url, definitions = DRAFTS[str(draft)]
    top = {
        "$schema": url,
        "title": "segc spec",
        "description": "A segmentation network as a graph of layers.",
        **_top(),
        definitions: _definitions(),
    }
    return dict(_with_refs(top, definitions))


def _with_refs(value: Any, definitions: str) -> Any:
    """References `{"$ref": "layers"}` as the draft spells them."""
    if isinstance(value, Mapping):
        return {
            k: f"#/{definitions}/{v}"
            if k == "$ref" and isinstance(v, str)
            else _with_refs(v, definitions)
            for k, v in value.items()
        }
    return [_with_refs(v, definitions) for v in value] if isinstance(value, list) else value


def _ref(name: str) -> Schema:
    return {"$ref": name}


# --- the top level --------------------------------------------------------------------------------
def _top() -> Schema:
    needed = ["segc", "model", "inputs", "layers", "outputs"]
    own = {"layers": _ref("layers"), "recipe": {"type": "object"}}
    network = {"required": needed, "properties": own}
    blocks = {
        "required": ["segc"],
        "anyOf": [{"required": ["blocks"]}, {"required": ["weights"]}],
        "propertyNames": {"enum": list(BLOCK_FILE_KEYS)},
    }
    is_network: Schema = {"anyOf": [{"required": [key]} for key in ("model", "inputs", "layers")]}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _described(_sections()[key], doc) for key, doc in TOP_LEVEL.items()},
        "if": {"required": ["extends"]},
        "then": {"required": ["segc"], "properties": {"layers": _ref("variant")}},
        "else": {"if": is_network, "then": network, "else": blocks},
    }


def _sections() -> dict[str, Schema]:
    text: Schema = {"type": "string"}
    named = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": NAME}}
    return {
        "segc": {"const": 1},
        "extends": text,
        "model": {"type": "string", "pattern": NAME},
        "title": text,
        "source": text,
        "notes": text,
        "params": _ref("params"),
        "use": {"type": "array", "items": text},
        "inputs": {**named, "additionalProperties": _ref("input")},
        "blocks": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": _ref("block"),
        },
        "layers": {"type": "object", "minProperties": 1},
        "transforms": {"type": "array", "items": _ref("transform")},
        "init": _init_by_operator(),
        "outputs": {**named, "additionalProperties": {"type": ["string", "null"]}},
        "losses": losses_schema(),
        "recipe": {**recipe_schema(), "type": ["object", "null"]},  # null: not that of the base
        "weights": layouts_schema(),
    }


def _described(schema: Schema, doc: str) -> Schema:
    """A schema with a description; beside `$ref`, which draft 7 reads alone, through allOf."""
    return {"description": doc, **({"allOf": [schema]} if "$ref" in schema else schema)}


# --- definitions ----------------------------------------------------------------------------------
def _definitions() -> dict[str, Schema]:
    names = {"propertyNames": {"pattern": LAYER_NAME}, "minProperties": 1}
    layer: Schema = {"anyOf": [_bare(), *(_ref(f"op.{name}") for name in REGISTRY), *_composed()]}
    return {
        "layers": {"type": "object", **names, "additionalProperties": _ref("layer")},
        "layer": layer,
        "variant": {"type": "object", **names, "additionalProperties": _variant()},
        "params": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": _parameter(),
        },
        "input": _input(),
        "block": _block(),
        "transform": {"anyOf": [_transform(name) for name in TRANSFORMS]},
        "initialiser": _initialiser(),
        "from": {"anyOf": [_word(), {"type": "array", "minItems": 1, "items": _word()}]},
        **{f"op.{name}": _operator(cls) for name, cls in REGISTRY.items()},
    }


def _word() -> Schema:
    return {"type": "string", "minLength": 1}


def _bare() -> Schema:
    """An operator by its name alone."""
    bare = [n for n, cls in REGISTRY.items() if not any(a.required for a in cls.attrs.values())]
    return {"enum": bare, "description": "an operator without arguments"}


def _operator(cls: type[Op]) -> Schema:
    required = [name for name, a in cls.attrs.items() if a.required]
    attributes = {name: attribute(a) for name, a in cls.attrs.items()}
    return {
        "type": "object",
        "description": _summary(cls),
        "additionalProperties": False,
        "required": ["op", *required],
        "properties": {
            **attributes,
            "op": {"const": cls.name, "description": _summary(cls)},
            **_common(cls.weights),
        },
    }


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def _common(weights: Iterable[str]) -> dict[str, Schema]:
    """The keys every layer may have; `init` and `freeze` only where there are weights."""
    weights = tuple(weights)
    keys: dict[str, Schema] = {
        "from": _ref("from"),
        "when": {"anyOf": [{"type": "boolean"}, EXPRESSION]},
        "repeat": {"anyOf": [{"type": "integer", "minimum": 1}, EXPRESSION]},
        "each": {"const": "level"},
        "share": {"const": "level"},
        "only": {"enum": ["train", "test", "checkpoint"]},
    }
    if weights:
        keys["init"] = _init(weights)
        keys["freeze"] = {"anyOf": [{"type": "boolean"}, EXPRESSION]}
    return {key: _described(value, LAYER_KEYS[key]) for key, value in keys.items()}


def _composed() -> list[Schema]:
    """Layers that are a block, an inline group, or another layer again."""
    common = _common(())
    frozen = {"anyOf": [{"type": "boolean"}, EXPRESSION]}
    common["freeze"] = _described(frozen, LAYER_KEYS["freeze"])
    value: Schema = {"type": ["number", "boolean", "string", "array"]}
    block = {"type": "string", "pattern": NAME, "description": LAYER_KEYS["block"]}
    use = {**_word(), "description": LAYER_KEYS["use"]}
    layers = _described(_ref("layers"), LAYER_KEYS["layers"])
    return [
        {
            "type": "object",
            "required": ["block"],
            "properties": {"block": block, **common},
            "propertyNames": {"pattern": NAME, "not": {"enum": ["op", "layers", "use", "levels"]}},
            "additionalProperties": value,
        },
        {
            "type": "object",
            "required": ["layers"],
            "properties": {"layers": layers, **common},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["use"],
            "properties": {"use": use, **common},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["levels"],
            "properties": {
                "levels": {
                    "type": "object",
                    "description": LAYER_KEYS["levels"],
                    "minProperties": 1,
                    "propertyNames": {"pattern": NAME},
                    "additionalProperties": _word(),
                }
            },
            "additionalProperties": False,
        },
    ]


def _variant() -> Schema:
    """A layer under `extends`: as any, or the keys that change, or `remove`."""
    change: Schema = {
        "type": "object",
        "properties": {
            "remove": {"const": True, "description": "the base's layer goes"},
            "after": {**_word(), "description": "the layer a new one comes after"},
            "layers": _ref("variant"),
            **_common(()),
        },
    }
    return {"anyOf": [_bare(), change]}


def _parameter() -> Schema:
    plain: Schema = {"type": ["number", "boolean", "string", "array"]}
    keys: dict[str, Schema] = {
        "type": {"enum": list(TYPES)},
        "default": plain,
        "min": {"type": "number"},
        "max": {"type": "number"},
        "choices": {"type": "array", "minItems": 1},
        "doc": {"type": "string"},
    }
    long: Schema = {
        "type": "object",
        "additionalProperties": False,
        "anyOf": [{"required": ["type"]}, {"required": ["default"]}],
        "properties": {key: _described(keys[key], doc) for key, doc in PARAM_KEYS.items()},
    }
    return {"anyOf": [plain, long, {"type": "null"}]}


def _input() -> Schema:
    size = {"anyOf": [{"type": "integer", "minimum": 1}, EXPRESSION]}
    sizes: Schema = {"type": "array", "minItems": 1, "items": size}
    keys: dict[str, Schema] = {"shape": sizes, "dtype": {"enum": ["float", "int"]}}
    keys["type"] = {"enum": list(INPUT_TYPES)}
    keys["only"] = {"const": "train"}
    keys["legacy"] = {"type": "boolean"}
    long: Schema = {
        "type": "object",
        "required": ["shape"],
        "additionalProperties": False,
        "properties": {key: _described(keys[key], doc) for key, doc in INPUT_KEYS.items()},
    }
    return {"anyOf": [sizes, long]}


def _block() -> Schema:
    names: Schema = {"type": "string", "pattern": LAYER_NAME}
    keys: dict[str, Schema] = {
        "doc": {"type": "string"},
        "params": _ref("params"),
        "inputs": {"type": "array", "minItems": 1, "items": names},
        "layers": _ref("layers"),
    }
    return {
        "type": "object",
        "required": ["layers"],
        "additionalProperties": False,
        "properties": {key: _described(keys[key], doc) for key, doc in BLOCK_KEYS.items()},
    }


def _transform(name: str) -> Schema:
    cls = TRANSFORMS[name]
    arguments: Schema = {
        "type": "object",
        "description": _summary(cls),
        "additionalProperties": False,
        "required": [n for n, a in cls.attrs.items() if a.required],
        "properties": {n: attribute(a) for n, a in cls.attrs.items()},
    }
    return {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: arguments},
    }


# --- initialisers ---------------------------------------------------------------------------------
def _init(weights: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _ref("initialiser") for name in weights},
    }


def _init_by_operator() -> Schema:
    known = {name: _init(cls.weights) for name, cls in REGISTRY.items() if cls.weights}
    return {"type": "object", "additionalProperties": False, "properties": known}


def _initialiser() -> Schema:
    bare = [n for n, (args, _) in INITIALISERS.items() if not any(a.required for a in args)]
    long = [
        {
            "type": "object",
            "required": [name],
            "additionalProperties": False,
            "properties": {
                name: {
                    "type": "object",
                    "description": doc,
                    "additionalProperties": False,
                    "required": [a.name for a in args if a.required],
                    "properties": {a.name: attribute(a) for a in args},
                }
            },
        }
        for name, (args, doc) in INITIALISERS.items()
    ]
    return {"anyOf": [{"enum": bare}, *long]}


# --- attributes -----------------------------------------------------------------------------------
def attribute(a: Attr) -> Schema:
    """The schema of one attribute: its type, range, default; expressions where numbers stand."""
    found: Schema = {"description": a.doc, **_by_kind(a)}
    if not a.required and a.default is not None:
        default = a.default
        found["default"] = list(default) if isinstance(default, tuple) else default
    return found


def _by_kind(a: Attr) -> Schema:
    bounds = {"minimum": a.min, "maximum": a.max}
    limits = {key: value for key, value in bounds.items() if value is not None}
    whole: Schema = {"type": "integer", **limits}
    real: Schema = {"type": "number", **limits}
    match a.kind:
        case "int":
            return {"anyOf": [whole, EXPRESSION]}
        case "float":
            return {"anyOf": [real, EXPRESSION]}
        case "bool":
            return {"anyOf": [{"type": "boolean"}, EXPRESSION]}
        case "Pair" | "Padding":
            return {"anyOf": [whole, EXPRESSION, _list(whole, 2)]}
        case "PhaseInt":
            value = {"anyOf": [whole, EXPRESSION]}
            phases = {"train": value, "test": value}
            both: Schema = {
                "type": "object",
                "required": ["train", "test"],
                "additionalProperties": False,
                "properties": phases,
            }
            return {"anyOf": [whole, EXPRESSION, both]}
        case "Quad":
            return {"anyOf": [whole, EXPRESSION, _list(whole, 4)]}
        case "Scale":
            return {"anyOf": [real, EXPRESSION, _list(real, 2)]}
        case "Ints":
            return {"anyOf": [EXPRESSION, _list(whole)]}
        case "Floats":
            return {"anyOf": [EXPRESSION, _list(real)]}
    if a.choices:
        return {"anyOf": [{"enum": list(a.choices)}, {"type": "string", "pattern": r"^\$"}]}
    return _word()


def _list(item: Schema, count: int | None = None) -> Schema:
    size = {"minItems": count, "maxItems": count} if count else {"minItems": 1}
    return {"type": "array", "items": {"anyOf": [item, EXPRESSION]}, **size}
