"""`inputs:` of a spec: shapes, what the values are, in which phase they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.ir import Input
from segc.read.names import check_function, check_identifier, check_local
from segc.read.values import (
    ValueFault,
    YNode,
    as_mapping,
    is_text,
    number,
    shown,
    unknown_key,
)
from segc.read.yaml import Mapping_, Scalar, Sequence_

INPUT_KEYS = {
    "shape": "sizes, for example [N, 3, H, W]",
    "dtype": "float or int",
    "type": "what the values are: tensor, boxes, labels, masks, keypoints, words or sizes",
    "only": "`train`: given in training only (ground truth)",
    "legacy": "true: boxes of inclusive pixels, a width is x2 - x1 + 1 (Caffe's networks)",
}
INPUT_TYPES = {
    "tensor": "numbers of any meaning",
    "boxes": "image number, x1, y1, x2, y2 of each row",
    "labels": "a class for each row, 1 and up; 0 is background",
    "masks": "a map of 0 and 1 for each row",
    "keypoints": "x, y and visibility of each point of each row",
    "words": "a sentence about each row: word numbers from 1 on, 0 fills up",
    "sizes": "height and width of each image inside the padded batch",
}
FORMS: dict[str, tuple[int | str, ...]] = {
    "boxes": ("G", 5),
    "labels": ("G",),
    "masks": ("G", "H", "W"),
    "keypoints": ("G", "K", 3),
    "words": ("G", "T"),
    "sizes": ("N", 2),
}
MAX_INPUTS = 64
MAX_AXES = 8
DTYPES = ("float", "int")
CONSTRAINT_WORDS = ("floor", "ceil", "min", "max")  # functions in the printed sizes
Entries = Mapping[str, tuple[Scalar, YNode]]


def read_inputs(node: YNode, env: Mapping[str, Any], report: Report) -> dict[str, Input]:
    """The inputs by name; those of training last, since outside it a call leaves them out."""
    mapping = as_mapping(node, "`inputs`", report)
    found: dict[str, Input] = {}
    if mapping is not None and len(mapping.entries) > MAX_INPUTS:
        message = f"{len(mapping.entries):,} inputs, the limit is {MAX_INPUTS}"
        report.error("SEG313", message, mapping.loc)
    for key, value in mapping.entries[:MAX_INPUTS] if mapping else ():
        if check_identifier(key, report, "input") and check_local(key, report):
            check_function(key, report)
        found[key.text] = _input(key, value, env, report)
    if mapping is not None and not mapping.entries:
        report.error("SEG104", "`inputs` is empty", mapping.loc, hint="image: [N, 3, H, W]")
    return dict(sorted(found.items(), key=lambda item: item[1].only is not None))


def _input(key: Scalar, value: YNode, env: Mapping[str, Any], report: Report) -> Input:
    if not isinstance(value, Mapping_):
        return Input(key.text, _shape(value, env, report), "float", key.loc)
    entries = {k.text: (k, v) for k, v in value.entries}
    for k, _ in entries.values():
        if k.text not in INPUT_KEYS:
            unknown_key(k, INPUT_KEYS, f"input `{key.text}`", report, "SEG107")
    kind = _choice(entries, "type", tuple(INPUT_TYPES), report) or "tensor"
    given = _choice(entries, "dtype", DTYPES, report)
    only = _choice(entries, "only", ("train",), report)
    shape = _shape(entries["shape"][1] if "shape" in entries else value, env, report, kind)
    _check_form(key, kind, shape, entries, report)
    own = "int" if kind in ("labels", "words") else "float"
    if kind != "tensor" and given not in (None, own):
        message = f"an input of type {kind} has {own} values"
        report.error("SEG103", message, entries["dtype"][1].loc, hint="leave out `dtype`")
        given = None
    legacy = _legacy(entries, kind, env, report)
    return Input(key.text, shape, given or own, key.loc, kind, only, legacy)


def _legacy(entries: Entries, kind: str, env: Mapping[str, Any], report: Report) -> bool:
    """Whether boxes are of inclusive pixels."""
    if "legacy" not in entries:
        return False
    name, node = entries["legacy"]
    if kind != "boxes":
        message = f"`legacy` says what the numbers of boxes mean, this input is of type {kind}"
        report.error("SEG107", message, name.loc, hint="leave it out, or add `type: boxes`")
        return False
    try:
        return bool(number(node, "bool", env))
    except ValueFault as fault:
        fault.tell(report, "`legacy`")
        return False


def _check_form(
    key: Scalar, kind: str, shape: tuple[int | str, ...], entries: Entries, report: Report
) -> None:
    """Inputs with a meaning have a form of their own."""
    form = FORMS.get(kind)
    if form is None or not shape:
        return
    fits = len(shape) == len(form) and all(
        a == b or not isinstance(b, int) for a, b in zip(shape, form, strict=True)
    )
    if not fits or not isinstance(shape[0], str):
        place = entries["shape"][1].loc if "shape" in entries else key.loc
        wanted, given = (", ".join(map(str, sizes)) for sizes in (form, shape))
        message = f"an input of type {kind} is [{wanted}], {INPUT_TYPES[kind]}; "
        message += f"`{key.text}` is [{given}]"
        hint = f"`shape: [{wanted}]`; the first size is a name, it depends on the data"
        report.error("SEG103", message, place, hint=hint)


def _choice(entries: Entries, name: str, choices: tuple[str, ...], report: Report) -> str | None:
    """The word a key of an input holds, None where there is none or a wrong one."""
    if name not in entries:
        return None
    node = entries[name][1]
    if isinstance(node, Scalar) and node.value in choices:
        return node.text
    message = f"{shown(node)} is not a `{name}` of an input"
    hint = f"one of {', '.join(choices)}"
    if name == "only":
        hint = "`only: train`, or leave it out: then it is given in both phases"
    report.error("SEG105", message, node.loc, hint=hint)
    return None


def _shape(
    node: YNode, env: Mapping[str, Any], report: Report, kind: str = "tensor"
) -> tuple[int | str, ...]:
    if not isinstance(node, Sequence_) or not node.items:
        message = f"an input needs its shape, got {shown(node)}"
        form = ", ".join(map(str, FORMS.get(kind, ("N", 3, "H", "W"))))
        hint = f"`shape: [{form}]`" if kind in FORMS else f"for example [{form}]"
        report.error("SEG103", message, node.loc, hint=hint)
        return ()
    if len(node.items) > MAX_AXES:
        report.error("SEG313", f"{len(node.items):,} axes, the limit is {MAX_AXES}", node.loc)
    return tuple(_size(item, env, report) for item in node.items[:MAX_AXES])


def _size(item: YNode, env: Mapping[str, Any], report: Report) -> int | str:
    """A symbol (a plain name that is no parameter), or a positive integer expression."""
    if is_text(item) and item.text not in env and item.text.isidentifier():
        if item.text in CONSTRAINT_WORDS:
            message = f"`{item.text}` is a function in the printed sizes"
            report.error("SEG306", message, item.loc, hint="name the size otherwise")
        elif check_identifier(item, report, "size"):
            check_local(item, report)
        return item.text
    try:
        value = number(item, "int", env)
        if value >= 1:
            return int(value)
        report.error("SEG105", f"a size is at least 1, got {value}", item.loc)
    except ValueFault as fault:
        fault.tell(report, "a size")
    return 1
