"""The canonical layout of a spec: `segc fmt`.

Two spaces of indentation, one space after a colon, `{op: conv2d, out_channels: 64}`; sections in
the order of the language, a blank line around those of several lines; in a layer, what it is comes
first, then `from`, then its attributes as written. Comments stay with their line. Scalars are
copied letter by letter. What is to be written is read back first: if any value, key or comment
were to differ, nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from segc.diag import Diagnostic, Fail, Report
from segc.fmt_tree import Document, Entry, Group, Leaf, Piece, comments_of, document
from segc.loc import Loc
from segc.read.spec import BLOCK_KEYS, TOP_LEVEL
from segc.read.yaml import Mapping_, Scalar, YNode, parse
from segc.source import Source

WIDTH = 110
_FIRST = ("when", "repeat", "op", "block", "use", "from")
_LAST = ("init", "freeze", "only", "layers")
_BELOW = {  # where a group stands -> where the value of its key stands ("*": of any key)
    "spec": {"layers": "layers", "blocks": "blocks"},
    "blocks": {"*": "block"},
    "block": {"layers": "layers"},
    "layers": {"*": "layer"},
    "layer": {"layers": "layers"},
}


def formatted(source: Source) -> str:
    """The text of `source` in the canonical layout.

    Raises Fail with the reader's diagnostics if it is not YAML of the language, and SEG086 if it
    cannot be laid out without changing it.
    """
    text = source.text.replace("\r\n", "\n")
    tree = _read(source)
    out = _layout(document(text))
    _compare(source, text, tree, out)
    return out


def _read(source: Source) -> Mapping_:
    report = Report()
    tree = parse(source, report)
    report.raise_if_failed()
    assert tree is not None, "no tree, but no fault"
    return tree


def _compare(source: Source, text: str, tree: Mapping_, out: str) -> None:
    """Refuse unless what would be written reads as the same values with the same comments."""
    try:
        again = _plain(_read(Source.from_text(out, source.file)), "")
    except Fail:
        again = None
    differs = again != _plain(tree, "spec") or sorted(comments_of(text)) != sorted(comments_of(out))
    if differs or _layout(document(out)) != out:
        place = Loc(source.file, 1, 1, 1)
        message = "cannot lay this file out without changing what it says; it is left as it is"
        hint = "values over several lines and comments inside { } or [ ] are what is hard"
        raise Fail(Diagnostic("SEG086", message, place, hint))


def _plain(node: YNode, where: str) -> Any:
    """A value with everything that must not change, its keys in canonical order for `where`."""
    if isinstance(node, Scalar):
        return type(node.value).__name__, node.value, node.quoted
    if isinstance(node, Mapping_):
        pairs = sorted(node.entries, key=lambda e: _rank(e[0].text, where))
        return [(key.text, _plain(value, _below(where, key.text))) for key, value in pairs]
    return [_plain(item, "") for item in node.items]


# --- order of keys --------------------------------------------------------------------------------
def _below(where: str, key: str) -> str:
    table = _BELOW.get(where, {})
    return table.get(key) or table.get("*", "")


def _rank(key: str, where: str) -> int:
    """Sort key that keeps the written order where the layout has none (sorting is stable)."""
    if where == "spec":
        return _position(key, TOP_LEVEL)
    if where == "block":
        return _position(key, BLOCK_KEYS)
    if where != "layer":
        return 0
    if key in _LAST:
        return 100 + _LAST.index(key)
    return _position(key, _FIRST)


def _position(key: str, order: Iterable[str]) -> int:
    names = list(order)
    return names.index(key) if key in names else len(names)


def _name(entry: Entry) -> str:
    return entry.key.lines[0].strip("\"'") if entry.key else ""


def _sorted(group: Group, where: str) -> list[Entry]:
    if not group.mapping:
        return group.entries
    return sorted(group.entries, key=lambda e: _rank(_name(e), where))


# --- layout ---------------------------------------------------------------------------------------
def _layout(tree: Document) -> str:
    lines = _trimmed(tree.header)
    keep_gap = tree.header[-1:] == [""]
    previous: list[str] = []
    for entry in _sorted(tree.root, "spec"):
        lead = _begun(entry.lead)
        body = [*lead, *_entry(entry, 0, "spec")]
        roomy = len(body) - len(lead) > 1 or len(previous) > 1 or bool(lead)
        wanted = roomy or entry.lead[:1] == [""]
        if lines and (wanted if previous else keep_gap):
            lines.append("")
        lines += body
        previous = body
    foot = _trimmed(tree.root.foot)
    lines += ["", *foot] if foot and tree.root.foot[0] == "" else foot
    return "\n".join(lines) + "\n"


def _trimmed(lines: list[str]) -> list[str]:
    """Without blank lines at either end."""
    return "\n".join(lines).strip("\n").split("\n") if any(lines) else []


def _begun(lines: list[str]) -> list[str]:
    """Without blank lines at the start."""
    first = next((i for i, line in enumerate(lines) if line), len(lines))
    return lines[first:]


def _group(group: Group, indent: int, where: str) -> Iterator[str]:
    """The lines of a block mapping or list."""
    pad = " " * indent
    for number, entry in enumerate(_sorted(group, where)):
        lead = entry.lead if number else _begun(entry.lead)
        yield from (pad + line if line else "" for line in lead)
        yield from _entry(entry, indent, where)
    yield from (pad + line if line else "" for line in group.foot)


def _entry(entry: Entry, indent: int, where: str) -> Iterator[str]:
    pad, value = " " * indent, entry.value
    if entry.key is None:
        yield from _item(entry, indent)
        return
    head = f"{pad}{entry.key.lines[0]}:"
    if isinstance(value, Group) and not value.flow:
        yield _with_comment(head, entry.trail)
        yield from _group(value, indent + 2, _below(where, _name(entry)))
    else:
        yield from _inline(head + " ", value, entry.trail, indent, _below(where, _name(entry)))


def _item(entry: Entry, indent: int) -> Iterator[str]:
    """An item of a block list; a mapping or list in it starts on the line of its `-`."""
    pad, value = " " * indent, entry.value
    if isinstance(value, Leaf) or value.flow:
        yield from _inline(f"{pad}- ", value, entry.trail, indent, "")
        return
    leading = len(_trimmed(value.entries[0].lead))
    for number, line in enumerate(_group(value, indent + 2, "")):
        yield f"{pad}- {line[indent + 2 :]}" if number == leading else line


def _inline(head: str, value: Piece, trail: str, indent: int, where: str) -> Iterator[str]:
    """A value that starts on the line of its key."""
    if isinstance(value, Leaf):
        first, *rest = _scalar(value, indent)
    elif value.verbatim is not None:
        first, *rest = _shifted(value, indent)
    else:
        first, *rest = _flow_lines(value, len(head), indent, where)
    if value_is_block(value) or not rest:
        yield _with_comment((head + first).rstrip(), trail)
        yield from rest
    else:
        yield head + first
        yield from rest[:-1]
        yield _with_comment(rest[-1], trail)


def value_is_block(value: Piece) -> bool:
    """A `|` or `>` text: its comment stands behind the mark, not behind the text."""
    return isinstance(value, Leaf) and value.block


def _scalar(leaf: Leaf, indent: int) -> list[str]:
    first, *rest = leaf.lines
    pad = " " * (indent + 2)
    if not leaf.block:
        return [
            first.rstrip() if rest else first,
            *(pad + r.strip() if r.strip() else "" for r in rest),
        ]
    depth = min((len(r) - len(r.lstrip(" ")) for r in rest if r.strip()), default=0)
    body = [pad + r[depth:] if r.strip() else "" for r in rest]
    while body and not body[-1] and "+" not in first:
        body.pop()
    return [first, *body]


def _shifted(group: Group, indent: int) -> list[str]:
    """A flow collection that holds comments: its lines, moved with the line it starts on."""
    first, *rest = [line.rstrip() for line in group.verbatim or []]
    outer = min((len(r) - len(r.lstrip(" ")) for r in rest if r), default=0)
    return [first, *(" " * (indent + 2) + r[outer:] if r else "" for r in rest)]


def _flow_lines(group: Group, column: int, indent: int, where: str) -> list[str]:
    """`{a: 1, b: [2, 3]}` on one line, or filled up to WIDTH columns if it is longer."""
    left, right = "{}" if group.mapping else "[]"
    parts = [_flow_entry(e, where) for e in _sorted(group, where)]
    whole = left + ", ".join(parts) + right
    if column + len(whole) <= WIDTH or len(parts) < 2:
        return [whole]
    pad = " " * (indent + 2)
    lines: list[str] = []
    current = left + parts[0]
    for part in parts[1:]:
        start = column if not lines else 0
        if start + len(current) + len(part) + 3 > WIDTH:
            lines.append(current + ",")
            current = pad + part
        else:
            current += ", " + part
    return [*lines, current + right]


def _flow_entry(entry: Entry, where: str) -> str:
    if entry.key is None:
        return _flow(entry.value, "")
    value = _flow(entry.value, _below(where, _name(entry)))
    key = _flow(entry.key, "")
    return f"{key}: {value}" if value else key


def _flow(piece: Piece, where: str) -> str:
    if isinstance(piece, Leaf):
        return (
            " ".join(line.strip() for line in piece.lines)
            if len(piece.lines) > 1
            else piece.lines[0]
        )
    left, right = "{}" if piece.mapping else "[]"
    return left + ", ".join(_flow_entry(e, where) for e in _sorted(piece, where)) + right


def _with_comment(line: str, comment: str) -> str:
    return f"{line}  {comment}" if comment else line
