"""draw(checked) -> Drawing: one view, laid out once, written in any format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from segc.analyse import Sizes
from segc.check import Checked
from segc.diag import Diagnostic, Fail, did_you_mean
from segc.draw import columns, lanes
from segc.draw.dot import write_dot
from segc.draw.facts import Facts, gather
from segc.draw.html import write_html
from segc.draw.model import View
from segc.draw.pdf import write_pdf
from segc.draw.render import dot_picture, png_picture
from segc.draw.scene import Scene
from segc.draw.svg import write_svg
from segc.draw.system import system_view
from segc.draw.theme import THEMES
from segc.draw.view import make_view

MOST_ITEMS = 600  # of a picture people can still find something in
LEVELS = ("system", "block", "layer")
FORMATS = ("svg", "dot", "pdf", "png", "html", "pptx")


def draw(
    checked: Checked,
    *,
    level: str = "block",
    theme: str = "light",
    expand: Iterable[str] = (),
    fold: Iterable[str] = (),
    sizes: Sizes | None = None,
    layout: str = "auto",
) -> Drawing:
    """A drawing of a checked network.

    level: `system`, `block` or `layer`. theme: `light` or `dark`. expand, fold: paths (or patterns)
    of blocks to open or to draw as one box. sizes: input shapes ({"image": (1, 3, 512, 512)}) the
    numbers are for; default the recipe's crop, else the accepted size nearest to 256 px.
    layout: `auto` (rows by output stride where they fit, else columns) or `dot` (Graphviz).
    Raises Fail: SEG213 where the network does not accept `sizes`, SEG404 for an unknown block.
    """
    if level not in LEVELS or theme not in THEMES or layout not in ("auto", "dot"):
        raise ValueError(f"unknown level, theme or layout: {level}, {theme}, {layout}")
    expand, fold = tuple(expand), tuple(fold)
    for pattern in (*expand, *fold):
        _check_pattern(checked, pattern)
    return Drawing(gather(checked, sizes), level, theme, expand, fold, layout)


@dataclass(frozen=True)
class Drawing:
    """A picture that is computed when it is first written."""

    facts: Facts
    level: str
    theme: str
    expand: tuple[str, ...] = ()
    fold: tuple[str, ...] = ()
    layout: str = "auto"

    @cached_property
    def view(self) -> View:
        if self.level == "system":
            return system_view(self.facts)
        return make_view(self.facts, self.level, self.expand, self.fold)

    @cached_property
    def scene(self) -> Scene:
        """The placed picture: lanes where they fit, else columns; of a huge view the coarsest."""
        view = self.view if len(self.view.items) <= MOST_ITEMS else system_view(self.facts)
        found = lanes.lay_out(view, self.theme) if self.level != "layer" else None
        return found or columns.lay_out(view, self.theme)

    def svg(self) -> str:
        """SVG text; the same bytes on every machine, except with `layout="dot"`."""
        return self._by_dot("svg").decode() if self.layout == "dot" else write_svg(self.scene)

    def dot(self) -> str:
        """DOT text: every layer, blocks as clusters, shapes on the edges."""
        return write_dot(self.facts, self.level, self.theme)

    def html(self) -> str:
        """A self-contained page."""
        return write_html(self.scene)

    def pdf(self, path: str | Path) -> None:
        """Write a vector PDF."""
        Path(path).write_bytes(self.data("pdf"))

    def png(self, path: str | Path, scale: float = 2.0) -> None:
        """Write a PNG with `scale` pixels a px (2: 2560 x 1440 for a slide)."""
        picture = self._by_dot("png") if self.layout == "dot" else png_picture(self.svg(), scale)
        Path(path).write_bytes(picture)

    def data(self, form: str) -> bytes:
        """The picture in a format of `FORMATS`; Fail (exit 3) where the machine lacks a program."""
        if form in ("svg", "dot", "html"):
            return {"svg": self.svg, "dot": self.dot, "html": self.html}[form]().encode()
        if form == "pdf":
            return self._by_dot("pdf") if self.layout == "dot" else write_pdf(self.scene)
        if form == "png":
            return self._by_dot("png") if self.layout == "dot" else png_picture(self.svg())
        if form == "pptx":
            from segc.draw.pptx import write_pptx

            return write_pptx(self.scene)
        raise Fail(
            Diagnostic("SEG405", f"segc cannot draw `.{form}`", None, f"one of {_listed()}"), exit=2
        )

    def _by_dot(self, form: str) -> bytes:
        return dot_picture(self.dot(), form)

    def _repr_svg_(self) -> str:
        """The picture in a notebook."""
        return self.svg()


def _listed() -> str:
    return ", ".join(f".{form}" for form in FORMATS)


def _check_pattern(checked: Checked, pattern: str) -> None:
    paths = list(checked.graph.scopes)
    if not any(fnmatchcase(path, pattern) for path in paths):
        hint = did_you_mean(pattern, paths) or "`segc summary` lists the layers by block"
        raise Fail(Diagnostic("SEG404", f"there is no block `{pattern}`", None, hint))
