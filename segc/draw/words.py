"""Short names for layers, from the style each operator declares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from segc.ir import Node

ACRONYMS = {
    "batch norm": "BN",
    "instance norm": "IN",
    "group norm": "GN",
    "layer norm": "LN",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky relu": "LeakyReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "log softmax": "log-softmax",
}
SYMBOLS = {"concat": "C", "add": "+", "multiply": "×", "maximum": "M"}


def short(node: Node) -> str:
    """`conv 3×3, /2`, `BN`, `ReLU`: a style's label without channels."""
    label = node.op.style.label
    if label in ACRONYMS:
        return ACRONYMS[label]
    name = re.sub(r" \d+\Z", "", label)
    if node.op.style.family == "norm" and name in ACRONYMS:
        return ACRONYMS[name]
    first, *rest = label.split(", ")
    kept = [part.replace("stride ", "/") for part in rest if not part.isdigit()]
    return ", ".join([first, *kept])


def silent(node: Node) -> bool:
    """True for layers no unit's text mentions: dropout and the like."""
    return "dropout" in node.op.style.label or node.op.style.label == "identity"


def unit_text(nodes: Sequence[Node]) -> str:
    """`conv 3×3 · BN · ReLU` for a layer and what follows it."""
    return " · ".join(short(n) for n in nodes if not silent(n))


def grouped(units: Sequence[str]) -> str:
    """`2 × [conv 3×3 · ReLU]` for equal units in a row; of different ones only the main layers."""
    if len(set(units)) > 1:
        units = [unit.split(" · ")[0] for unit in units]
    parts: list[str] = []
    i = 0
    while i < len(units):
        n = 1
        while i + n < len(units) and units[i + n] == units[i]:
            n += 1
        whole = f"[{units[i]}]" if " " in units[i] else units[i]
        parts.append(units[i] if n == 1 else f"{n} × {whole}")
        i += n
    return " · ".join(parts)


def resize_text(node: Node, before: Fraction, after: Fraction) -> str:
    """The text of a pill: `max 2×2`, `bilinear ×4`, `up-conv ×2`."""
    label = node.op.style.label.split(", ")[0].replace(" pool ", " ")
    if node.op.style.family != "up" or "unpool" in label:
        return label
    ratio = before / after
    exact = 1 in (ratio.numerator, ratio.denominator)
    times = str(ratio) if exact else f"{float(ratio):.2g}"
    word = re.split(r" to | ×| \d+×\d+", label)[0]
    return f"{word} ×{times}"


def joined_name(names: Sequence[str]) -> str:
    """One name for layers drawn as one box: `conv1_1, conv1_2` -> `conv1`."""
    if len(names) == 1:
        return names[0]
    tokens = [re.split(r"(?<=[^_])_", name) for name in names]
    head = _common(tokens)
    tail = _common([t[len(head) :][::-1] for t in tokens])[::-1]
    if head:
        return "_".join([*head, *tail])
    stem = re.match(r"(.*?)\d*\Z", names[0])
    last = re.search(r"\d+\Z", names[-1])
    if stem and last and all(re.fullmatch(re.escape(stem[1]) + r"\d+", n) for n in names):
        return f"{names[0]}\u2013{last[0]}"
    return f"{names[0]} \u2026 {names[-1]}"


def _common(rows: Sequence[Sequence[str]]) -> list[str]:
    out: list[str] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        out.append(column[0])
    return out
