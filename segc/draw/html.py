"""Scene -> one self-contained HTML page: the SVG, its title, nothing to fetch and no script."""

from __future__ import annotations

from segc.draw.scene import Scene
from segc.draw.svg import escape, write_svg
from segc.draw.theme import THEMES

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(scene: Scene) -> str:
    """The page; boxes and lines tell their layers, sizes and parameters on hover."""
    theme = THEMES[scene.theme]
    style = (
        f"body{{margin:0;background:{theme.page};display:flex;justify-content:center}}"
        "svg{max-width:100%;height:auto}"
    )
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        f"<title>{escape(scene.title)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        write_svg(scene).rstrip("\n"),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"
