"""What a plain YAML scalar means, where every reader agrees; a `Trouble` where they do not.

Readers follow YAML 1.1 (PyYAML, Ruby) or 1.2 (ruamel, JavaScript, editors). The grammar accepted
here is the part on which both give the same value: decimal integers without leading zero, decimal
fractions with an optional signed exponent, true/false, null.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Value = str | int | float | bool | None
INT_LIMIT = 1 << 53  # beyond, a float (and so JSON, and JavaScript) loses digits


class Trouble(NamedTuple):
    """Why a scalar is refused: code, message, the way out."""

    code: str
    message: str
    hint: str


class Resolved(NamedTuple):
    """The value of a plain scalar: a best guess where there is trouble."""

    value: Value
    trouble: Trouble | None = None


CONSTANTS: dict[str, Value] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_BOOLS_11 = {
    word: value
    for lower, value in (("yes", True), ("no", False), ("on", True), ("off", False))
    for word in (lower, lower.capitalize(), lower.upper())
}
_LETTERS_11 = {"y": True, "Y": True, "n": False, "N": False}

_FIRST = frozenset("0123456789+-.~=<nNtTfFyYoO")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"(?:[-+]?(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?\Z", re.DOTALL)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_OTHER_BASE = re.compile(r"[-+]?0(?:b[01_]+|o[0-7_]+|x[0-9a-fA-F_]+)\Z")
_LOOSE = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?\Z")


def resolve(text: str) -> Resolved:
    """The value of a plain (unquoted) scalar."""
    if text in CONSTANTS:
        return Resolved(CONSTANTS[text])
    if text[0] not in _FIRST:
        return Resolved(text)
    if text in _BOOLS_11:
        return Resolved(_BOOLS_11[text], _boolean(text, _BOOLS_11[text]))
    if text in ("<<", "="):
        hint = f'quote it: "{text}"'
        return Resolved(text, Trouble("SEG014", f"`{text}` is a command to some readers", hint))
    return _number(text)


def resolve_letter(text: str) -> Trouble | None:
    """Trouble with a lone `y` or `n` where a boolean could stand, which YAML 1.1 reads as one."""
    return _boolean(text, _LETTERS_11[text]) if text in _LETTERS_11 else None


def _boolean(text: str, value: bool) -> Trouble:
    word = "true" if value else "false"
    return Trouble(
        "SEG013",
        f"`{text}` is a boolean to some YAML readers and text to others",
        f'write `{word}`, or "{text}" in quotes if the word is meant',
    )


def _number(text: str) -> Resolved:
    if _INT.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        return _finite(text)
    if _SPECIAL.match(text):
        hint = "write a finite number, or quote it if text is meant"
        return Resolved(0.0, Trouble("SEG015", f"`{text}` is not a finite number", hint))
    if _DATE.match(text):
        return _disagree(text, 0, f'quote it: "{shorten(text)}"', "a date")
    if _SEXAGESIMAL.match(text):
        return _disagree(text, 0, f'quote it: "{shorten(text)}"', "a number in base 60")
    if _OTHER_BASE.match(text):
        return _other_base(text)
    if _LOOSE.match(text):
        return _loose(text)
    return Resolved(text)


def _integer(text: str) -> Resolved:
    digits = text.lstrip("+-")
    if len(digits) > 16 or int(digits) >= INT_LIMIT:
        message = f"`{shorten(text)}` is out of range"
        return Resolved(0, Trouble("SEG015", message, "integers must lie below 2^53"))
    return Resolved(int(text))


def _finite(text: str) -> Resolved:
    value = float(text)
    if value - value == 0.0 and (value != 0.0 or not re.search("[1-9]", re.split("[eE]", text)[0])):
        return Resolved(value)
    message = f"`{shorten(text)}` is out of range"
    return Resolved(0.0, Trouble("SEG015", message, "write a number a 64-bit float can hold"))


def _other_base(text: str) -> Resolved:
    try:
        value = int(text.replace("_", ""), 0) if len(text) < 60 else INT_LIMIT
    except ValueError:
        value = INT_LIMIT
    if abs(value) >= INT_LIMIT:
        return _disagree(text, 0, f'write it in decimal, or quote it: "{shorten(text)}"')
    return _disagree(text, value, f'write `{value}`, or quote it: "{text}"')


def _loose(text: str) -> Resolved:
    """A number to a reader of one kind only: `010`, `1_000`, `1e3`, `-.5`."""
    if len(text) > 60:
        return _disagree(text, 0, "write it as a plain decimal number, or quote it")
    plain = text.replace("_", "")
    mantissa, mark, exponent = plain.lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, dot, fraction = mantissa.lstrip("+-").partition(".")
    spelt = sign + (whole.lstrip("0") or "0")
    if dot or mark:
        spelt += "." + (fraction or "0")
    if mark:
        spelt += "e" + ("-" if exponent.startswith("-") else "+") + exponent.lstrip("+-")
    value, trouble = resolve(spelt)
    if trouble is not None:
        return Resolved(value, trouble)
    return _disagree(text, value, f'write `{spelt}`, or quote it: "{text}"')


def _disagree(text: str, value: Value, hint: str, kind: str = "") -> Resolved:
    also = f"{kind} to some YAML readers" if kind else "read differently by different YAML readers"
    return Resolved(value, Trouble("SEG014", f"`{shorten(text)}` is {also}", hint))


def resolve_key(text: str) -> Trouble | None:
    """Trouble with a plain key: keys are text, or the plain number of a repeated layer."""
    if text and text[0] not in _FIRST:
        return None
    if text == "<<":
        return Trouble("SEG009", "merge keys (`<<`) are not part of the language", MERGE_HINT)
    value, trouble = resolve(text)
    if trouble is not None:
        return trouble._replace(hint=f'quote the key: "{shorten(text)}"')
    if isinstance(value, str) or (type(value) is int and text.isdigit()):
        return None
    shown = f"`{shorten(text)}`" if text else "an empty key"
    return Trouble("SEG016", f"{shown} is not text", f'quote the key: "{shorten(text)}"')


MERGE_HINT = "state shared layers once under `blocks` and use them with `block:`"


def shorten(text: str, width: int = 40) -> str:
    """`text`, cut in the middle of a message rather than filling it."""
    return text if len(text) <= width else text[: width - 3] + "..."
