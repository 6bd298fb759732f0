"""`weights:` of a spec: under which names known checkpoints hold the layers of this network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from segc.diag import Note, Report
from segc.ir import Layout, Rename
from segc.read.names import check_identifier
from segc.read.spec import Spec
from segc.read.values import YNode, as_mapping, is_text, shown, unknown_key
from segc.read.yaml import Mapping_, Scalar, Sequence_

LAYOUT_KEYS = {
    "source": "where the checkpoint comes from",
    "notes": "what a reader should know before loading it",
    "rename": "its names -> the names here: of a layer, of a group, or `*` for all",
}
TARGET_KEYS = {
    "to": "the layer here",
    "shape": "shape of the weight there, if it is another view of the one here",
}
_PATH = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"
_NAME = re.compile(rf"(?:{_PATH}(?:\.\*)?|\*)\Z")
_EXAMPLE = "for example {features.0: conv1_1} or {'*': 'backbone.*'}"
MAX_LINES = 10_000


def own_layouts(spec: Spec) -> Iterable[YNode]:
    """The `weights:` of the spec itself."""
    if "weights" in spec.top:
        yield spec.top["weights"][1]


def read_layouts(sections: Iterable[YNode], report: Report) -> dict[str, Layout]:
    """The layouts of all `weights:` sections, by name; faults are reported."""
    found: dict[str, Layout] = {}
    for section in sections:
        mapping = as_mapping(section, "`weights`", report)
        for key, value in mapping.entries if mapping else ():
            if not check_identifier(key, report, "layout"):
                continue
            if key.text in found:
                note = Note(found[key.text].loc, "it is defined here already")
                message = f"a second layout is named `{key.text}`"
                report.error("SEG310", message, key.loc, hint="rename it", notes=(note,))
                continue
            found[key.text] = _layout(key, value, report)
    return found


def _layout(key: Scalar, node: YNode, report: Report) -> Layout:
    mapping = as_mapping(node, f"layout `{key.text}`", report)
    texts, renames = {"source": "", "notes": ""}, None
    for k, value in mapping.entries if mapping else ():
        if k.text == "rename":
            renames = _renames(value, report)
        elif k.text not in LAYOUT_KEYS:
            unknown_key(k, LAYOUT_KEYS, f"layout `{key.text}`", report, "SEG107")
        elif isinstance(value, Scalar) and is_text(value):
            texts[k.text] = value.text.strip()
        else:
            report.error("SEG103", f"`{k.text}` must be text, got {shown(value)}", value.loc)
    if mapping is not None and renames is None:
        message = f"layout `{key.text}` has no `rename`"
        report.error("SEG104", message, key.loc, hint=_EXAMPLE)
    return Layout(key.text, renames or (), key.loc, **texts)


def _renames(node: YNode, report: Report) -> tuple[Rename, ...]:
    mapping = as_mapping(node, "`rename`", report)
    entries = mapping.entries if mapping else ()
    if len(entries) > MAX_LINES:
        message = f"{len(entries):,} renames, the limit is {MAX_LINES:,}"
        report.error("SEG313", message, node.loc)
    found = [_rename(key, value, report) for key, value in entries[:MAX_LINES]]
    return tuple(line for line in found if line is not None)


def _rename(key: Scalar, node: YNode, report: Report) -> Rename | None:
    shape = None
    if isinstance(node, Mapping_):
        parts = {k.text: (k, v) for k, v in node.entries}
        for k, _ in parts.values():
            if k.text not in TARGET_KEYS:
                unknown_key(k, TARGET_KEYS, f"rename of `{key.text}`", report, "SEG107")
        if "to" not in parts:
            message = f"rename of `{key.text}` has no `to`"
            report.error("SEG104", message, node.loc, hint="for example {to: fc6}")
            return None
        shape = _shape(parts["shape"][1], report) if "shape" in parts else None
        node = parts["to"][1]
    there, here = _path(key, report), _path(node, report)
    return None if there is None or here is None else Rename(there, here, shape, node.loc)


def _path(node: YNode, report: Report) -> str | None:
    """A dotted path without the `.*` at its end; "" for `*`."""
    text = node.text if isinstance(node, Scalar) else ""
    if not _NAME.match(text) or len(text) > 500:
        message = f"needs the name of a layer or group, got {shown(node)}"
        report.error("SEG103", message, node.loc, hint=_EXAMPLE)
        return None
    return text.removesuffix("*").removesuffix(".")


def _shape(node: YNode, report: Report) -> tuple[int, ...] | None:
    items = node.items if isinstance(node, Sequence_) else ()
    sizes = [i.value for i in items if isinstance(i, Scalar) and type(i.value) is int]
    if not sizes or len(sizes) != len(items) or min(sizes) < 1 or len(sizes) > 8:
        message = f"`shape` is a list of sizes, got {shown(node)}"
        report.error("SEG103", message, node.loc, hint="for example [4096, 25088]")
        return None
    return tuple(int(size) for size in sizes)


def layouts_schema() -> dict[str, Any]:
    """JSON Schema of `weights:`."""
    text = {"type": "string"}
    pattern = _NAME.pattern.replace(r"\Z", "$")
    path: dict[str, Any] = {"type": ["string", "integer"], "pattern": pattern}
    shape = {
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "maxItems": 8,
        "description": TARGET_KEYS["shape"],
    }
    target = {
        "type": "object",
        "required": ["to"],
        "additionalProperties": False,
        "properties": {"to": {**path, "description": TARGET_KEYS["to"]}, "shape": shape},
    }
    rename = {
        "type": "object",
        "propertyNames": {"pattern": pattern},
        "additionalProperties": {"anyOf": [path, target]},
    }
    kinds: dict[str, dict[str, Any]] = {"source": text, "notes": text, "rename": rename}
    layout = {
        "type": "object",
        "required": ["rename"],
        "additionalProperties": False,
        "properties": {k: {"description": doc, **kinds[k]} for k, doc in LAYOUT_KEYS.items()},
    }
    return {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"},
        "additionalProperties": layout,
    }
