"""From YAML values to attribute values: exact types, expressions, `$parameters`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from segc.diag import Report
from segc.op import Attr
from segc.read import expr
from segc.read.yaml import Mapping_, Scalar, Sequence_
from segc.source import Loc

YNode = Scalar | Mapping_ | Sequence_
Env = Mapping[str, Any]
PIXELS = ("Pair", "Padding", "Quad")  # kinds of attributes that are windows, steps, margins
MAX_PIXELS = 2**20  # no map is as wide


class ValueFault(Exception):
    """A value that does not fit. `word` is a name that is not among the names `among`."""

    def __init__(
        self,
        code: str,
        message: str,
        loc: Loc,
        hint: str | None = None,
        word: str = "",
        among: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.loc, self.hint = code, message, loc, hint
        self.word, self.among = word, among

    def tell(self, report: Report, what: str = "") -> None:
        """Report it as a fault of the value `what`."""
        hint = self.hint
        if self.word:
            hint = report.suggest(self.word, self.among, self.hint or "there is")
        message = f"{what} {self.message}" if what and self.code == "SEG103" else self.message
        report.error(self.code, message, self.loc, hint=hint)


def shown(node: YNode) -> str:
    """A value as a message quotes it."""
    if isinstance(node, Scalar):
        text = node.text if len(node.text) <= 40 else node.text[:37] + "..."
        return f'"{text}"' if node.quoted else f"`{text}`"
    return "a mapping" if isinstance(node, Mapping_) else "a list"


def number(node: YNode, kind: str, env: Env) -> Any:
    """An int, float or bool; text is an expression over the parameters in `env`."""
    _same_in_phases(node, _A[kind])
    if not isinstance(node, Scalar):
        raise ValueFault("SEG103", f"needs {_A[kind]}, got {shown(node)}", node.loc)
    return _fitting(node, _scalar(node, kind, env), kind)


def _same_in_phases(node: YNode, what: str) -> None:
    """Refuse {train: a, test: b} where there is one value for both."""
    if isinstance(node, Mapping_) and {k.text for k, _ in node.entries} & {"train", "test"}:
        hint = "give one value; only attributes that say so may differ by phase"
        raise ValueFault("SEG103", f"needs {what}, the same in both phases", node.loc, hint)


def _scalar(node: Scalar, kind: str, env: Env) -> Any:
    """The value of a scalar, evaluated if it is an expression; "3" in quotes is none."""
    if not isinstance(node.value, str):
        return node.value
    if node.quoted and is_number(node.text):
        hint = f"write {node.text.strip()} without quotes"
        raise ValueFault("SEG103", f"needs {_A[kind]}, got the text {shown(node)}", node.loc, hint)
    try:
        return expr.evaluate(node.text, env)
    except expr.ExprError as error:
        raise _expression_fault(node, error, env) from None


def _fitting(node: Scalar, value: Any, kind: str) -> Any:
    if fits(value, kind):
        return value
    raise ValueFault("SEG103", f"needs {_A[kind]}, got {_got(node, value)}", node.loc)


_LITERAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|true|false")
_A = {"int": "an integer", "float": "a number", "bool": "true or false"}


def fits(value: Any, kind: str) -> bool:
    """Exact types: true is not 1, 1.0 is not 1; an integer is a number."""
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _got(node: Scalar, value: Any) -> str:
    if not isinstance(node.value, str):
        return shown(node)
    return f"{shown(node)}, which is {'the text ' * isinstance(value, str)}{value_text(value)}"


def value_text(value: Any) -> str:
    """A parameter's value as a spec writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(value_text(v) for v in value)}]"
    return str(value)


def is_number(text: str) -> bool:
    """True for text that would be a number or a boolean without its quotes."""
    return _LITERAL.fullmatch(text.strip()) is not None


def _expression_fault(node: Scalar, error: expr.ExprError, env: Env) -> ValueFault:
    """What is wrong with an expression, at the character where it is wrong."""
    shift = error.offset + (1 if node.quoted else 0)
    column = min(node.loc.column + shift, max(node.loc.end_column - 1, node.loc.column))
    end = min(column + len(error.name or "x"), max(node.loc.end_column, column + 1))
    place = Loc(node.loc.file, node.loc.line, column, end)
    if error.name is not None:
        return ValueFault("SEG109", error.message, place, "parameters here:", error.name, env)
    return ValueFault("SEG108", f"in the expression {shown(node)}: {error.message}", place)


def text(node: YNode, env: Env) -> str:
    """Text, or the value of a text parameter written `$name`."""
    _same_in_phases(node, "a word")
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        raise ValueFault("SEG103", f"needs a word, got {shown(node)}", node.loc)
    if not node.text.startswith("$"):
        return node.text
    name = node.text[1:]
    if name not in env:
        message = f"`{name}` is not a parameter here"
        raise ValueFault("SEG109", message, node.loc, "parameters here:", name, env)
    if not isinstance(env[name], str):
        raise ValueFault("SEG103", f"parameter `{name}` is {env[name]}, not a word", node.loc)
    return str(env[name])


def attribute(a: Attr, node: YNode, env: Env) -> Any:
    """The value of attribute `a`, checked for type and range; raises ValueFault."""
    value = _by_kind(a, node, env)
    most = a.max
    if most is None and a.kind in PIXELS:
        most = MAX_PIXELS
    if a.min is not None or most is not None:
        _in_range(a, value, most, node)
    return value


def _by_kind(a: Attr, node: YNode, env: Env) -> Any:
    kind = a.kind
    if kind in ("int", "float", "bool"):
        return number(node, kind, env)
    if kind in ("Pair", "Padding"):
        if kind == "Padding" and isinstance(node, Scalar) and node.text == "same":
            return "same"
        return _repeated(node, "int", 2, env)
    if kind == "Scale":
        return _repeated(node, "float", 2, env)
    if kind == "PhaseInt":
        return _by_phase(node, env)
    if kind == "Quad":
        return _repeated(node, "int", 4, env)
    if kind in ("Ints", "Floats"):
        return _list(node, "int" if kind == "Ints" else "float", env)
    value = text(node, env)
    if a.choices and value not in a.choices:
        message = f"{shown(node)} is not a `{a.name}`"
        raise ValueFault("SEG105", message, node.loc, "one of", value, a.choices)
    return value


def _by_phase(node: YNode, env: Env) -> tuple[Any, ...]:
    """One number for both phases, or {train: a, test: b}."""
    if not isinstance(node, Mapping_):
        return (number(node, "int", env),) * 2
    given = {key.text: value for key, value in node.entries}
    for key, _ in node.entries:
        if key.text not in ("train", "test"):
            message = f"has no phase `{key.text}`"
            raise ValueFault("SEG103", message, key.loc, "write {train: …, test: …}")
    if len(given) != 2:
        message = "differs by phase, so it needs both"
        raise ValueFault("SEG103", message, node.loc, "write {train: …, test: …}")
    return number(given["train"], "int", env), number(given["test"], "int", env)


def _repeated(node: YNode, kind: str, count: int, env: Env) -> tuple[Any, ...]:
    """One number for all, or a list of exactly `count`."""
    if isinstance(node, Scalar):
        value = _scalar(node, kind, env)
        if isinstance(value, tuple):
            return _exactly(value, kind, count, node)
        return (_fitting(node, value, kind),) * count
    _same_in_phases(node, f"{_A[kind]} or a list of {count}")
    return _exactly(_list(node, kind, env), kind, count, node)


def _exactly(value: tuple[Any, ...], kind: str, count: int, node: YNode) -> tuple[Any, ...]:
    if len(value) == count and all(fits(v, kind) for v in value):
        return value
    got = f"a list of {len(value)}" if isinstance(node, Sequence_) else shown(node)
    message = f"needs {_A[kind]} or a list of {count}, got {got}"
    raise ValueFault("SEG103", message, node.loc)


def _list(node: YNode, kind: str, env: Env) -> tuple[Any, ...]:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        value = _scalar(node, kind, env)
        if isinstance(value, tuple) and all(fits(v, kind) for v in value):
            return value
    _same_in_phases(node, "a list of numbers")
    if not isinstance(node, Sequence_):
        raise ValueFault("SEG103", f"needs a list of numbers, got {shown(node)}", node.loc)
    return tuple(number(item, kind, env) for item in node.items)


def _in_range(a: Attr, value: Any, most: float | None, node: YNode) -> None:
    values = value if isinstance(value, tuple) else (value,)
    for v in values:
        if isinstance(v, str) or v is None:
            continue
        if a.min is not None and v < a.min:
            message = f"`{a.name}` must be at least {_plain(a.min)}, got {_plain(v)}"
            raise ValueFault("SEG105", message, node.loc)
        if most is not None and v > most:
            message = f"`{a.name}` must be at most {_plain(most)}, got {_plain(v)}"
            raise ValueFault("SEG105", message, node.loc)


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def literal(node: YNode) -> Any:
    """Plain data without expressions: parameter defaults."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Mapping_):
        raise ValueFault("SEG103", "needs a plain value, got a mapping", node.loc)
    for item in node.items:
        if not isinstance(item, Scalar) or item.value is None:
            raise ValueFault("SEG103", f"needs plain values, got {shown(item)}", item.loc)
    return tuple(literal(item) for item in node.items)


# --- mappings and texts ------------------------------------------------------------------------
def unknown_key(key: Scalar, known: Iterable[str], where: str, report: Report, code: str) -> None:
    hint = report.suggest(key.text, known, "known:")
    report.error(code, f"unknown key `{key.text}` in {where}", key.loc, hint=hint)


def is_text(node: YNode | None) -> TypeGuard[Scalar]:
    return isinstance(node, Scalar) and isinstance(node.value, str)


def is_name(node: YNode) -> TypeGuard[Scalar]:
    """True for what can name a layer: a word, or the number of a copy."""
    return (is_text(node) and node.text != "") or (
        isinstance(node, Scalar) and type(node.value) is int
    )


def as_mapping(node: YNode, what: str, report: Report) -> Mapping_ | None:
    if isinstance(node, Mapping_):
        return node
    report.error("SEG103", f"{what} must be a mapping, got {shown(node)}", node.loc)
    return None


def text_of(node: YNode | None, report: Report) -> str:
    if node is None:
        return ""
    if is_text(node):
        return node.text
    report.error("SEG103", f"`doc` must be text, got {shown(node)}", node.loc)
    return ""
