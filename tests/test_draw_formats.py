"""The written files: plain elements, the same bytes everywhere, hostile text shown literally."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from draw_kit import ROOT, SAMPLES, spec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segc.diag import Fail
from segc.draw import draw
from segc.draw.dot import quote
from segc.draw.lanes import lay_out
from segc.draw.metrics import _BOLD, _CHARS, _REGULAR, fit, literal, width
from segc.draw.model import Item, View
from segc.draw.pdf import write_pdf
from segc.draw.render import check_svg, dot_picture
from segc.draw.svg import write_svg
from segc.draw.theme import THEMES

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><image href="javascript:x"/>',
    "&#60;b&#62; &amp; &",
    "trailing \\",
    'a"b\\"c',
    "a:b",
    "tab\there\x00\x1b[31m\u202eevil\ud800",
    "\\N \\G \\l",
    "x" * 20_000,
    "]]> -->",
    "日本語 café ﬁ 😀",
]
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def titled(title: str) -> View:
    item = Item("n", "box", "conv", title, title, title, Fraction(1))
    return View(title, title, (item,), ())


# --- SVG ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", ["system", "block", "layer"])
@pytest.mark.parametrize("name", SAMPLES)
def test_svg_holds_plain_elements_only(name: str, level: str) -> None:
    text = draw(spec(name), level=level).svg()
    check_svg(text)
    root = ElementTree.fromstring(text)
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {"svg", "g", "title", "text", "path"}
    names = {a for e in root.iter() for a in e.attrib}
    assert not {a for a in names if a.startswith("on") or a in ("href", "style", "class", "id")}


@pytest.mark.parametrize(
    "bad",
    [
        "<script/>",
        '<a href="x"/>',
        '<g onload="x"/>',
        '<path style="x"/>',
        "<image/>",
        "<foreignObject/>",
    ],
)
def test_the_svg_check_refuses(bad: str) -> None:
    with pytest.raises(Fail) as refused:
        check_svg(f'<svg xmlns="http://www.w3.org/2000/svg">{bad}</svg>')
    assert refused.value.exit == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_literally_and_cut(text: str) -> None:
    scene = lay_out(titled(literal(text, 200)), "light")
    assert scene is not None
    svg = write_svg(scene)
    check_svg(svg)
    texts = [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    start = literal(text, 200)[:12]
    assert any(t.startswith(start) for t in texts)
    assert max(map(len, texts)) <= 1000
    assert svg.isprintable() or set(svg) - {"\n"} <= {c for c in svg if c.isprintable()}


@given(st.text(st.characters(codec=None), max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_makes_well_formed_svg(text: str) -> None:
    shown = literal(text)
    scene = lay_out(titled(shown), "light")
    assert scene is not None
    svg = write_svg(scene)
    svg.encode("utf-8")
    check_svg(svg)


# --- text ---------------------------------------------------------------------------------------
def test_controls_and_marks_are_shown_by_number() -> None:
    assert literal("a\u202eb\x00\U0001f600\xad") == "a\\u202eb\\u0000\\U0001f600\\u00ad"
    assert literal("é × ²") == "é × ²"
    assert len(literal("x" * 5000)) == 1000


@given(st.text(max_size=50), st.floats(20, 300))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_fitted_text_fits(text: str, room: float) -> None:
    assert width(fit(text, room, 12), 12) <= max(room, width("…", 12))


def test_advance_widths_are_the_fonts() -> None:
    fonts = Path("/usr/share/fonts/truetype/liberation2")
    if not fonts.exists():
        pytest.skip("fonts-liberation is not installed")
    image_font = pytest.importorskip("PIL.ImageFont")
    for table, file in ((_REGULAR, "Regular"), (_BOLD, "Bold")):
        font = image_font.truetype(
            str(fonts / f"LiberationSans-{file}.ttf"), 2048, layout_engine=image_font.Layout.BASIC
        )
        found = [round(font.getlength(c) / 2048 * 1000) for c in _CHARS]
        assert found == list(table)


# --- the same bytes ------------------------------------------------------------------------------
_SCRIPT = """
import hashlib, sys
from draw_kit import SAMPLES, spec
from segc.draw import draw
for name in SAMPLES:
    for level in ("system", "block", "layer"):
        drawing = draw(spec(name), level=level)
        for form in ("svg", "dot", "pdf", "html"):
            print(name, level, form, hashlib.sha256(drawing.data(form)).hexdigest())
"""


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    found = set()
    for seed in ("0", "1", "4242"):
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PATH": "",
            "LC_ALL": "C",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        }
        command = [sys.executable, "-c", _SCRIPT]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1 and found.pop().count("\n") == 15 * 4


# --- DOT ----------------------------------------------------------------------------------------
@needs_dot
@pytest.mark.parametrize("level", ["block", "layer"])
@pytest.mark.parametrize("name", SAMPLES)
def test_dot_is_accepted_in_silence(name: str, level: str) -> None:
    source = draw(spec(name), level=level).dot()
    done = subprocess.run(["dot", "-Tsvg"], input=source.encode(), capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b""
    check_svg(done.stdout.decode())


def test_dot_has_every_layer_blocks_as_clusters_and_shapes_on_edges() -> None:
    checked = spec("unet")
    source = draw(checked).dot()
    absent = {f"dec{i}.crop" for i in (1, 2, 3, 4)}
    for node in checked.graph.nodes:
        assert (f'"{node.name}" [label=' in source) == (node.name not in absent)
    labels = re.findall(r"subgraph cluster_\S+ \{\n\s*label=\"([^\"]*)\"", source)
    assert sorted(labels) == sorted(
        [f"enc{i}: double_conv" for i in (1, 2, 3, 4)] + ["bridge: double_conv"]
        + [f"dec{i}: up" for i in (1, 2, 3, 4)] + ["conv: double_conv"] * 4
    )  # fmt: skip
    edges = re.findall(r'"([^"]+)" -> "([^"]+)" \[label="([^"]*)"', source)
    assert ("enc1.relu2", "dec1.concat", "64 × 512²") in edges
    assert all(label for _, _, label in edges)


def test_dot_folds_repeats_except_at_the_layer_level() -> None:
    folded, full = draw(spec("deeplab")).dot(), draw(spec("deeplab"), level="layer").dot()
    assert 'label="1 × 5: bottleneck"' in folded
    assert "backbone.layer3.4.conv1" not in folded and "backbone.layer3.4.conv1" in full


@needs_dot
def test_quoted_text_survives_dot() -> None:
    lines = [f"n{i} [label={quote(text)}]" for i, text in enumerate(HOSTILE)]
    picture = dot_picture("digraph {" + "\n".join(lines) + "}", "svg").decode()
    texts = [e.text for e in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    for text in HOSTILE:
        assert literal(text, 500).replace("  ", " ") in [
            (t or "").replace("\xa0", " ") for t in texts
        ]


@needs_dot
@given(st.text(min_size=1, max_size=30))
@example('\\"')
@example("\\")
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_quoted_text_is_accepted_by_dot(text: str) -> None:
    source = (
        f"digraph {quote(text)} {{ {quote(text)} -> {quote('x', text)} [label={quote(text)}] }}"
    )
    dot_picture(source, "svg")


# --- PDF, PNG, PPTX, HTML -----------------------------------------------------------------------
@pytest.mark.parametrize("name", SAMPLES)
def test_pdf_is_sound(name: str) -> None:
    drawing = draw(spec(name))
    data = write_pdf(drawing.scene)
    assert data.startswith(b"%PDF-1.4\n") and data.endswith(b"%%EOF\n")
    start = int(data.split(b"startxref\n")[1].split()[0])
    assert data[start:].startswith(b"xref")
    offsets = [int(x) for x in re.findall(rb"(\d{10}) 00000 n", data)]
    for i, offset in enumerate(offsets, 1):
        assert data[offset:].startswith(b"%d 0 obj" % i)
    length = int(re.findall(rb"/Length (\d+)", data)[0])
    end = data.index(b"stream\n") + 7 + length
    assert data[end : end + 10] == b"\nendstream"
    labels = len(drawing.scene.labels) + len(drawing.scene.legend_labels)
    assert data.count(b" Tj ET") == labels


def test_pdf_escapes_text() -> None:
    scene = lay_out(titled("(a) \\ 日"), "light")
    assert scene is not None
    assert rb"(\(a\) \\ ?) Tj" in write_pdf(scene)


def test_png(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    target = tmp_path / "unet.png"
    draw(spec("unet")).png(target)
    data = target.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20]) == 2560 and int.from_bytes(data[20:24]) == 1440


def test_png_without_a_converter_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Fail) as refused:
        draw(spec("unet")).data("png")
    assert refused.value.exit == 3
    assert "segc[png]" in str(refused.value.diagnostics[0].hint)


def test_dot_layout_without_graphviz_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Fail) as refused:
        draw(spec("unet"), layout="dot").data("svg")
    assert refused.value.exit == 3 and refused.value.diagnostics[0].code == "SEG401"


def test_a_broken_graphviz_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'Error: out of ideas' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fail) as refused:
        draw(spec("unet"), layout="dot").data("pdf")
    assert refused.value.exit == 3 and "out of ideas" in refused.value.diagnostics[0].message


@needs_dot
@pytest.mark.parametrize(
    ("form", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_dot_layout(form: str, start: bytes) -> None:
    assert draw(spec("segnet_basic"), layout="dot").data(form).startswith(start)


def test_pptx_is_native_shapes_and_reproducible() -> None:
    pptx = pytest.importorskip("pptx")
    import io

    drawing = draw(spec("deeplab"))
    data = drawing.data("pptx")
    assert data == drawing.data("pptx")
    (slide,) = pptx.Presentation(io.BytesIO(data)).slides
    kinds = [shape.shape_type for shape in slide.shapes]
    assert 13 not in kinds  # no pictures
    texts = [s.text_frame.text for s in slide.shapes if s.has_text_frame and s.text_frame.text]
    assert "layer3 × 6" in texts and len(texts) == len(drawing.scene.labels) + len(
        drawing.scene.legend_labels
    )


def test_html_fetches_and_runs_nothing() -> None:
    page = draw(spec("unet")).html()
    assert "<script" not in page and "default-src &#39;none&#39;" in page
    assert not re.search(r'\s(?:src|href)="', page)
    assert page.count("<svg") == 1


def test_an_unknown_format_is_a_usage_error() -> None:
    with pytest.raises(Fail) as refused:
        draw(spec("unet")).data("gif")
    assert refused.value.exit == 2


# --- colours ------------------------------------------------------------------------------------
def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_and_strokes_stand_out(name: str) -> None:
    theme = THEMES[name]
    for family, paint in theme.paints.items():
        for text in (paint.text, theme.ink, theme.mute, theme.shape):
            assert contrast(text, paint.fill) >= 4.5, (family, text)
        assert min(contrast(paint.stroke, theme.page), contrast(paint.stroke, theme.lane)) >= 3
    for token in (theme.ink, theme.mute, theme.shape, theme.index):
        assert min(contrast(token, theme.page), contrast(token, theme.lane)) >= 4.5
    for token in (theme.edge, theme.skip, theme.train):
        assert min(contrast(token, theme.page), contrast(token, theme.lane)) >= 3


def test_both_themes_place_everything_alike() -> None:
    light, dark = draw(spec("unet")).scene, draw(spec("unet"), theme="dark").scene
    assert replace(dark, theme="light") == light
