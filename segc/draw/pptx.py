"""Scene -> PPTX: native shapes, lines and texts on one slide, through python-pptx."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from segc.diag import Diagnostic, Fail
from segc.draw.metrics import width
from segc.draw.paint import WIRE_STYLE
from segc.draw.scene import CARD, Label, Scene, Shape, Wire
from segc.draw.theme import THEMES, Theme, paint_name

PX = 9525  # EMU of one px
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_pptx(scene: Scene) -> bytes:
    """The picture as a slide of editable shapes; Fail (exit 3) without python-pptx."""
    try:
        from pptx import Presentation
    except ImportError:
        hint = "pip install 'segc[pptx]', or write an svg or pdf"
        message = "PPTX needs python-pptx, which is not here"
        raise Fail(Diagnostic("SEG403", message, None, hint), exit=3) from None
    deck = Presentation()
    deck.slide_width, deck.slide_height = _emu(scene.width), _emu(scene.height)
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    _Slide(slide, THEMES[scene.theme]).add(scene)
    deck.core_properties.title = scene.title
    out = io.BytesIO()
    deck.save(out)
    return _undated(out.getvalue())


def _emu(px: float) -> Any:
    return round(px * PX)


def _undated(data: bytes) -> bytes:
    """The same archive with fixed dates, so that equal pictures are equal files."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in sorted(old.namelist()):
            info = zipfile.ZipInfo(name, _EPOCH)
            new.writestr(info, old.read(name))
    return out.getvalue()


class _Slide:
    """Adds the marks of a scene to a slide."""

    def __init__(self, slide: Any, theme: Theme) -> None:
        self.slide, self.theme = slide, theme

    def add(self, scene: Scene) -> None:
        background = self.slide.background.fill
        background.solid()
        background.fore_color.rgb = _rgb(self.theme.page)
        for band in scene.bands:
            if band.tinted:
                self._box("lane", band.rect, "ROUNDED_RECTANGLE", self.theme.lane, "", 10)
        for frame in scene.frames:
            self._box(
                frame.id, frame.rect, "ROUNDED_RECTANGLE", self.theme.page, self.theme.frame, 9
            )
        for wire in (*scene.wires, *scene.legend_wires):
            self._wire(wire)
        for shape in (*scene.shapes, *scene.legend_shapes):
            self._shape(shape)
        for label in (*scene.labels, *scene.legend_labels):
            self._label(label)

    def _box(self, name: str, rect: Any, form: str, fill: str, stroke: str, radius: float) -> Any:
        from pptx.enum.shapes import MSO_SHAPE

        w, h = rect.x1 - rect.x0, rect.y1 - rect.y0
        place = (_emu(rect.x0), _emu(rect.y0), _emu(w), _emu(h))
        shape = self.slide.shapes.add_shape(getattr(MSO_SHAPE, form), *place)
        shape.name = name
        if form == "ROUNDED_RECTANGLE":
            shape.adjustments[0] = min(0.5, radius / min(w, h))
        shape.fill.solid()
        shape.fill.fore_color.rgb = _rgb(fill)
        if stroke:
            shape.line.color.rgb = _rgb(stroke)
            shape.line.width = _emu(1.5)
        else:
            shape.line.fill.background()
        _plain(shape)
        return shape

    def _shape(self, shape: Shape) -> None:
        paint = self.theme.paints[paint_name(shape.family)]
        form = "OVAL" if shape.kind == "circle" else "ROUNDED_RECTANGLE"
        radius = 7.0 if shape.kind == "box" else shape.h / 2
        for i in range(shape.cards, -1, -1):
            d, r = CARD * i, shape.rect
            moved = type(r)(r.x0 + d, r.y0 + d, r.x1 + d, r.y1 + d)
            box = self._box(shape.id, moved, form, paint.fill, paint.stroke, radius)
            box._element.nvSpPr.cNvPr.set("descr", shape.tip)
            if shape.dashed:
                _dash(box.line, "DASH")
        if shape.arrow:
            self._triangle(shape, paint.text)

    def _triangle(self, shape: Shape, color: str) -> None:
        from pptx.enum.shapes import MSO_SHAPE

        x = shape.x + shape.h / 2 if shape.w > 30 else shape.cx - 4
        place = (_emu(x), _emu(shape.cy - 3.5), _emu(8), _emu(7))
        mark = self.slide.shapes.add_shape(MSO_SHAPE.ISOSCELES_TRIANGLE, *place)
        mark.rotation = 180 if shape.arrow == "down" else 0
        mark.name = f"{shape.id} {shape.arrow}"
        mark.fill.solid()
        mark.fill.fore_color.rgb = _rgb(color)
        mark.line.fill.background()
        _plain(mark)

    def _wire(self, wire: Wire) -> None:
        token, thickness, dash = WIRE_STYLE[wire.kind]
        (x, y), *rest = wire.points
        builder = self.slide.shapes.build_freeform(_emu(x), _emu(y))
        builder.add_line_segments([(_emu(px), _emu(py)) for px, py in rest], close=False)
        line = builder.convert_to_shape()
        line.name = wire.id
        line.fill.background()
        line.line.color.rgb = _rgb(self.theme.color(token))
        line.line.width = _emu(thickness)
        if dash:
            _dash(line.line, "ROUND_DOT" if wire.kind == "train" else "DASH")
        if wire.arrow:
            _arrow(line.line)
        _plain(line)

    def _label(self, label: Label) -> None:
        from pptx.enum.text import MSO_ANCHOR, PP_ALIGN

        w = width(label.text, label.size, label.bold) + 8
        shift = {"start": 4.0, "middle": w / 2, "end": w - 4}[label.anchor]
        top = label.y - label.size * 0.95
        box = self.slide.shapes.add_textbox(
            _emu(label.x - shift), _emu(top), _emu(w), _emu(label.size * 1.3)
        )
        box.name = label.text[:80]
        frame = box.text_frame
        frame.word_wrap = False
        frame.vertical_anchor = MSO_ANCHOR.MIDDLE
        frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0
        paragraph = frame.paragraphs[0]
        paragraph.alignment = PP_ALIGN.CENTER
        run = paragraph.add_run()
        run.text = label.text
        run.font.name, run.font.bold = "Arial", label.bold
        run.font.size = _emu(label.size)
        run.font.color.rgb = _rgb(self.theme.color(label.color))


def _rgb(color: str) -> Any:
    from pptx.dml.color import RGBColor

    make: Any = RGBColor
    return make(*(int(color[i : i + 2], 16) for i in (1, 3, 5)))


def _dash(line: Any, style: str) -> None:
    from pptx.enum.dml import MSO_LINE

    line.dash_style = getattr(MSO_LINE, style)


def _arrow(line: Any) -> None:
    from pptx.oxml.ns import qn

    end = line._get_or_add_ln().makeelement(qn("a:tailEnd"), {"type": "triangle"})
    line._get_or_add_ln().append(end)


def _plain(shape: Any) -> None:
    """Without the theme's style, which adds a shadow in some programs."""
    style = shape._element.find("{http://schemas.openxmlformats.org/presentationml/2006/main}style")
    if style is not None:
        shape._element.remove(style)
