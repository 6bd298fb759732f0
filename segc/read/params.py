"""Parameters of a spec or a block: their declarations, and their values in one reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from segc.diag import Report
from segc.loc import Loc
from segc.read import expr
from segc.read.names import check_identifier, check_local
from segc.read.values import (
    ValueFault,
    YNode,
    as_mapping,
    fits,
    is_number,
    is_text,
    literal,
    text_of,
    unknown_key,
    value_text,
)
from segc.read.yaml import Mapping_, Scalar

PARAM_KEYS: dict[str, str] = {
    "type": "int, float, bool, str or list",
    "default": "value when none is given",
    "min": "smallest value",
    "max": "largest value",
    "choices": "the values allowed",
    "doc": "one sentence on what it changes",
}
TYPES = ("int", "float", "bool", "str", "list")


@dataclass(frozen=True, slots=True)
class ParamDecl:
    """A parameter of a spec or a block; `default` None means it must be given."""

    name: str
    type: str
    default: Any
    loc: Loc
    min: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] = ()
    doc: str = ""


# --- declarations ---------------------------------------------------------------------------
def read_params(node: YNode, report: Report) -> dict[str, ParamDecl]:
    """`{classes: 2, out: int, rate: {type: int, default: 6, min: 1}}`.

    After a report a parameter has some value that breaks nothing, so that the mistake is told once.
    """
    mapping = as_mapping(node, "`params`", report)
    found: dict[str, ParamDecl] = {}
    for key, value in mapping.entries if mapping else ():
        if key.text == "i":
            message = "`i` is the number of a copy in a `repeat`"
            report.error("SEG306", message, key.loc, hint="rename it")
        elif check_identifier(key, report, "parameter"):
            check_local(key, report)
        fallback = ParamDecl(key.text, "int", 1, key.loc)
        found[key.text] = _param(key, value, report) or fallback
    return found


def _param(key: Scalar, value: YNode, report: Report) -> ParamDecl | None:
    if isinstance(value, Mapping_):
        return _long_param(key, value, report)
    if isinstance(value, Scalar) and value.text in TYPES and not value.quoted:
        return ParamDecl(key.text, value.text, None, key.loc)
    if isinstance(value, Scalar) and value.quoted and is_number(value.text):
        hint = f"write {value.text} without quotes, or {{type: str, default: ...}} for text"
        message = f"parameter `{key.text}` is a number in quotes"
        report.error("SEG103", message, value.loc, hint=hint)
        return None
    default = _literal(value, report)
    kind = type_of(default)
    if kind is None:
        if isinstance(value, Scalar):
            hint = f"a default value or one of {', '.join(TYPES)}"
            report.error("SEG103", f"parameter `{key.text}` has no value", value.loc, hint=hint)
        return None
    return ParamDecl(key.text, kind, default, key.loc)


def _literal(node: YNode, report: Report) -> Any:
    try:
        return literal(node)
    except ValueFault as fault:
        fault.tell(report, "a parameter")
        return None


def _long_param(key: Scalar, value: Mapping_, report: Report) -> ParamDecl | None:
    entries: dict[str, YNode] = {}
    for k, v in value.entries:
        if k.text in PARAM_KEYS:
            entries[k.text] = v
        else:
            unknown_key(k, PARAM_KEYS, f"parameter `{key.text}`", report, "SEG107")
    default = _literal(entries["default"], report) if "default" in entries else None
    if default is None and not isinstance(entries.get("default"), (Scalar, type(None))):
        return None
    stated = entries.get("type")
    kind = type_of(default) if stated is None else stated.text if is_text(stated) else None
    if kind not in TYPES:
        if stated is not None or "default" not in entries:
            hint = f"one of {', '.join(TYPES)}"
            loc = key.loc if stated is None else stated.loc
            report.error("SEG103", f"parameter `{key.text}` needs a type", loc, hint=hint)
        return None
    decl = ParamDecl(key.text, kind, default, key.loc, doc=text_of(entries.get("doc"), report))
    decl = _bounded(decl, entries, report)
    if default is None or check_param(decl, default, entries["default"].loc, report):
        return decl
    return ParamDecl(key.text, kind, _PLACEHOLDERS[kind], key.loc)


_PLACEHOLDERS: dict[str, Any] = {"int": 1, "float": 1.0, "bool": False, "str": "", "list": ()}


def _bounded(decl: ParamDecl, entries: Mapping[str, YNode], report: Report) -> ParamDecl:
    """The parameter with its range and choices, as far as these are values of its type."""
    for name in ("min", "max"):
        if name not in entries:
            continue
        bound = _literal(entries[name], report)
        if decl.type in ("int", "float") and fits(bound, "float"):
            decl = replace(decl, min=bound) if name == "min" else replace(decl, max=bound)
        else:
            message = f"`{name}` of parameter `{decl.name}` must be a number"
            hint = None if decl.type in ("int", "float") else f"a {decl.type} has no `{name}`"
            report.error("SEG103", message, entries[name].loc, hint=hint)
    choices = entries.get("choices")
    if choices is None:
        return decl
    values = _literal(choices, report)
    if values is None and not isinstance(choices, Scalar):
        return decl
    if isinstance(values, tuple) and values and all(_is_a(v, decl.type) for v in values):
        return replace(decl, choices=values)
    message = f"`choices` of parameter `{decl.name}` must be a list of {_A[decl.type][1]}"
    report.error("SEG103", message, choices.loc)
    return decl


def type_of(value: Any) -> str | None:
    for kind, python in (("bool", bool), ("int", int), ("float", float), ("str", str)):
        if isinstance(value, python):
            return kind
    return "list" if isinstance(value, tuple) else None


def check_param(decl: ParamDecl, value: Any, loc: Loc | None, report: Report) -> bool:
    """Report a parameter value of the wrong type or outside its range."""
    if not _is_a(value, decl.type):
        message = f"parameter `{decl.name}` needs {_A[decl.type][0]}, got `{value_text(value)}`"
        report.error("SEG103", message, loc or decl.loc)
        return False
    if decl.choices and value not in decl.choices:
        allowed = ", ".join(str(c) for c in decl.choices)
        message = f"parameter `{decl.name}` is one of {allowed}, got `{value_text(value)}`"
        report.error("SEG105", message, loc or decl.loc)
        return False
    low, high = decl.min, decl.max
    if (low is not None and value < low) or (high is not None and value > high):
        bound = f"at least {low}" if low is not None and value < low else f"at most {high}"
        message = f"parameter `{decl.name}` must be {bound}, got `{value}`"
        report.error("SEG105", message, loc or decl.loc)
        return False
    return True


_A = {
    "int": ("an integer", "integers"),
    "float": ("a number", "numbers"),
    "bool": ("true or false", "booleans"),
    "str": ("a word", "words"),
    "list": ("a list", "lists"),
}


def _is_a(value: Any, kind: str) -> bool:
    if kind in ("str", "list"):
        return isinstance(value, str if kind == "str" else tuple)
    return fits(value, kind)


# --- values ---------------------------------------------------------------------------------
def parameter_values(
    declared: Mapping[str, ParamDecl], given: Mapping[str, Any], report: Report
) -> dict[str, Any] | None:
    """Name -> value in the order of declaration, or None after a report."""
    before = report.failed
    report.failed = False
    for name in given:
        if name not in declared:
            hint = report.suggest(name, declared, "its parameters:")
            report.error("SEG114", f"the spec has no parameter `{name}`", hint=hint)
    values: dict[str, Any] = {}
    for name, decl in declared.items():
        value = from_text(decl, given[name]) if name in given else decl.default
        if value is None:
            hint = f"give a default in the spec or --set {name}=VALUE"
            report.error("SEG114", f"parameter `{name}` has no value", decl.loc, hint=hint)
        elif name not in given or check_param(decl, value, decl.loc, report):
            values[name] = value
    bad, report.failed = report.failed, report.failed or before
    return None if bad else values


def from_text(decl: ParamDecl, value: Any) -> Any:
    """A value as typed on a command line, read for the parameter's type."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str) or decl.type == "str":
        return value
    try:
        return expr.evaluate(value, {})
    except expr.ExprError:
        return value
