"""Scene -> SVG: `svg`, `g`, `title`, `text` and `path` only; no link, style, script or web font."""

from __future__ import annotations

from collections.abc import Iterator

from segc.draw.metrics import FONT
from segc.draw.paint import Group, Path, Text, groups
from segc.draw.scene import Scene

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}


def write_svg(scene: Scene) -> str:
    """The picture as SVG text; the same bytes on every machine."""
    w, h = number(scene.width), number(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" font-family="{escape(FONT)}">',
        f"<title>{escape(scene.title)}</title>",
    ]
    for group in groups(scene):
        lines += _group(group)
    return "\n".join([*lines, "</svg>", ""])


def escape(text: str) -> str:
    """The one quoting function of the SVG writer, for text and attribute values."""
    return "".join(_ESCAPES.get(c, c) for c in text)


def number(x: float) -> str:
    """At most one decimal, no trailing zero, no `-0`."""
    text = f"{x:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _group(group: Group) -> Iterator[str]:
    if not group.marks:
        return
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in group.data)
    yield f"<g{attributes}>"
    if group.tip:
        yield f"<title>{escape(group.tip)}</title>"
    for mark in group.marks:
        yield _path(mark) if isinstance(mark, Path) else _text(mark)
    yield "</g>"


def _path(path: Path) -> str:
    d = "".join(op + " ".join(map(number, xs)) for op, xs in path.commands)
    parts = [f'<path d="{d}" fill="{path.fill or "none"}"']
    if path.stroke:
        parts.append(f' stroke="{path.stroke}" stroke-width="{number(path.width)}"')
    if path.dash:
        parts.append(f' stroke-dasharray="{" ".join(map(number, path.dash))}"')
    return "".join([*parts, "/>"])


def _text(text: Text) -> str:
    weight = ' font-weight="700"' if text.bold else ""
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    place = f'x="{number(text.x)}" y="{number(text.y)}"'
    style = f'font-size="{number(text.size)}"{weight}{anchor} fill="{text.fill}"'
    return f"<text {place} {style}>{escape(text.text)}</text>"
