"""Spec text and values as Python source: ASCII, literals only, nothing that could become code."""

from __future__ import annotations

import builtins
import keyword
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

WIDTH = 100
_PLAIN = {"–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "×": "x",
          "…": "...", "≥": ">=", "≤": "<=", "→": "->", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l",
          "Ł": "L", "æ": "ae", "Æ": "AE", "ı": "i", "\u00a0": " "}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# Names a local variable, a parameter or a class of an emitted file must not take.
TAKEN = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
    | {"self", "torch", "nn", "F", "Tensor", "math", "torchvision", "ops"}
)


class NotALiteral(ValueError):
    """A value that has no faithful Python literal (infinity, an object)."""


# --- literals ---------------------------------------------------------------------------------
def literal(value: Any) -> str:
    """A Python literal that reads back equal and of the same types; raises NotALiteral."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if type(value) is int:
        if abs(value) >= 1 << 63:
            raise NotALiteral("integer out of range")
        return repr(value)
    if type(value) is float:
        if not math.isfinite(value):
            raise NotALiteral(f"{value} has no literal")
        return repr(value)
    if type(value) is str:
        return quoted(value)
    if type(value) is tuple:
        items = [literal(v) for v in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if type(value) is list:
        return f"[{', '.join(map(literal, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    raise NotALiteral(f"{type(value).__name__} has no literal")


def quoted(text: str) -> str:
    """An ASCII string literal, in double quotes unless that needs more escapes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_escaped(c, quote) for c in text) + quote


def _escaped(char: str, quote: str) -> str:
    if char == quote or char == "\\":
        return "\\" + char
    if " " <= char <= "~":
        return char
    code = ord(char)
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    if named:
        return named
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


# --- docstrings and comments ------------------------------------------------------------------
def plain(text: str) -> str:
    """Free text as printable ASCII: accents dropped, other characters as `U+4E2D`, one line."""
    return " ".join("".join(_plain_char(c) for c in text).split())


def _plain_char(char: str) -> str:
    if " " <= char <= "~":
        return char
    if char in _PLAIN:
        return _PLAIN[char]
    if char.isspace():
        return " "
    bare = "".join(c for c in unicodedata.normalize("NFKD", char) if " " <= c <= "~")
    if bare and bare.isalnum():
        return bare
    return f"U+{ord(char):04X}" if unicodedata.category(char)[0] in "LNSP" else " "


def wrap(text: str, width: int, hang: str = "", first: str = "") -> list[str]:
    """Lines of at most `width` characters; `first` indents the first one, `hang` the others."""
    lines: list[str] = []
    line = first
    for word in text.split():
        room = width - len(hang)
        pieces = [word[k : k + room] for k in range(0, len(word), room)]  # cut what cannot fit
        for piece in pieces:
            if not line.strip():
                line += piece
            elif len(line) + 1 + len(piece) <= width:
                line += " " + piece
            else:
                lines.append(line)
                line = hang + piece
    return [*lines, line] if line.strip() else lines


def docstring(lines: Iterable[str], indent: int) -> list[str]:
    """The lines of a docstring, as source. `lines` are plain text, already wrapped."""
    body = [_inert(line).rstrip() for line in lines]
    while body and not body[-1]:
        body.pop()
    body[-1] = re.sub('"+$', lambda m: "'" * len(m.group()), body[-1])
    pad = " " * indent
    if len(body) == 1:
        return [f'{pad}"""{body[0]}"""']
    rest = [pad + line if line else "" for line in body[1:]]
    return [f'{pad}"""{body[0]}', *rest, f'{pad}"""']


def _inert(line: str) -> str:
    """ASCII without a backslash escape or a run of quotes that could end the docstring."""
    if any(not " " <= c <= "~" for c in line):
        raise NotALiteral("a docstring must be printable ASCII")
    line = line.replace("\\", "\\\\")
    return re.sub('"{2,}', lambda m: "'" * len(m.group()), line)


# --- names ------------------------------------------------------------------------------------
_WRITTEN = (
    *("ASPP", "BN", "CRF", "DW", "FCN", "FPN", "GN", "LRN", "MLP", "PPM", "PSP", "ReLU"),
    *("ResNet", "RoI", "RPN", "SE", "UNet", "VGG", "VGG16"),
)
_ACRONYMS = {w.lower(): w for w in _WRITTEN}


def camel(name: str) -> str:
    """`double_conv` -> `DoubleConv`, `conv_bn_relu` -> `ConvBNReLU`; capitals inside stay."""
    words = [w for w in name.split("_") if w]
    return "".join(_ACRONYMS.get(w, w[0].upper() + w[1:]) for w in words) or "Block"


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or the first variant of it that is neither reserved nor in `taken`."""
    if not _NAME.match(wanted):
        wanted = "x" + re.sub("[^A-Za-z0-9_]", "_", wanted)
    taken = TAKEN.union(taken)
    if wanted not in taken:
        return wanted
    if wanted + "_" not in taken:
        return wanted + "_"
    number = 2
    while f"{wanted}{number}" in taken:
        number += 1
    return f"{wanted}{number}"
