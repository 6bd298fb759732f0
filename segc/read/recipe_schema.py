"""JSON Schema of `recipe:`, and of any other section that a table of fields describes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from segc.read.recipe_table import RECIPE, REQUIRED, Field


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
    number = {"type": "integer" if f.kind in ("int", "ints", "sides") else "number", **limits}
    length = {"minItems": f.count, "maxItems": f.count} if f.count else {"minItems": 1}
    numbers = {"type": "array", "items": number, **length}
    match f.kind:
        case "int" | "number":
            return number
        case "ints" | "numbers":
            return numbers
        case "sides":
            pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
            return {"oneOf": [number, pair]}
        case "bool":
            return {"type": "boolean"}
        case "word":
            return {"enum": list(f.choices)}
        case "weights":
            return {"oneOf": [{"enum": list(f.choices)}, numbers]}
        case "text" | "output":
            return {"type": "string"}
        case "values":
            return {"type": "object", "additionalProperties": {"type": [*_PLAIN, "array"]}}
        case "identifier":
            return {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"}
        case "when":
            return {"type": ["boolean", "string"]}
        case "names":
            return {"type": "array", "items": {"type": "string"}}
        case "sections":
            return {"type": "array", "items": section_schema(f.fields)}
        case "named":
            return {"type": "object", "additionalProperties": section_schema(f.fields)}
        case "section":
            return _short_schema(f)
    return _one_of_schema(f)


def _short_schema(f: Field) -> dict[str, Any]:
    """A section, or the number that stands for the fields in `short`."""
    section = section_schema(f.fields)
    if not f.short:
        return section
    tightest = min((f.fields[name] for name in f.short), key=lambda one: one.max or math.inf)
    return {"oneOf": [_kind_schema(tightest), section]}


_PLAIN = ("number", "boolean", "string")


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
