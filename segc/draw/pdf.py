"""Scene -> PDF: one vector page with the base-14 Helvetica, uncompressed, without dates."""

from __future__ import annotations

from collections.abc import Iterator

from segc.draw.metrics import width
from segc.draw.paint import Path, Text, groups
from segc.draw.scene import Scene
from segc.draw.svg import number

_OPERATORS = {"M": "m", "L": "l", "C": "c", "Z": "h"}
_ANCHOR = {"start": 0.0, "middle": 0.5, "end": 1.0}
POINT = 0.75  # one px is three quarters of a point


def write_pdf(scene: Scene) -> bytes:
    """The picture as a PDF of one page; characters outside Windows-1252 print as `?`."""
    body = "\n".join(_content(scene)).encode("cp1252", errors="replace")
    w, h = number(scene.width * POINT), number(scene.height * POINT)
    fonts = "".join(
        f"/{key} << /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >> "
        for key, name in (("F0", "Helvetica"), ("F1", "Helvetica-Bold"))
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {w} {h}] /Contents 4 0 R "
        f"/Resources << /Font << {fonts}>> >> >>".encode(),
        b"<< /Length %d >>\nstream\n" % len(body) + body + b"\nendstream",
    ]
    return _file(objects)


def _file(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for i, data in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % i + data + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def _content(scene: Scene) -> Iterator[str]:
    # From px with y downwards to points with y upwards.
    yield f"{POINT} 0 0 -{POINT} 0 {number(scene.height * POINT)} cm 1 j 1 J"
    for group in groups(scene):
        for mark in group.marks:
            yield _path(mark) if isinstance(mark, Path) else _text(mark)


def _path(path: Path) -> str:
    steps = [f"{' '.join(map(number, xs))} {_OPERATORS[op]}" for op, xs in path.commands]
    setup = ""
    if path.fill:
        setup += f"{_rgb(path.fill)} rg "
    if path.stroke:
        dash = " ".join(map(number, path.dash))
        cap = 0 if path.dash else 1
        setup += f"{_rgb(path.stroke)} RG {number(path.width)} w [{dash}] 0 d {cap} J "
    finish = {(True, True): "B", (True, False): "f", (False, True): "S"}
    return f"{setup}{' '.join(steps)} {finish[bool(path.fill), bool(path.stroke)]}"


def _text(text: Text) -> str:
    x = text.x - _ANCHOR[text.anchor] * width(text.text, text.size, text.bold)
    # The text matrix turns the glyphs back upright.
    place = f"1 0 0 -1 {number(x)} {number(text.y)} Tm"
    font = f"/F{int(text.bold)} {number(text.size)} Tf"
    return f"{_rgb(text.fill)} rg BT {font} {place} ({_string(text.text)}) Tj ET"


def _string(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _rgb(color: str) -> str:
    return " ".join(f"{int(color[i : i + 2], 16) / 255:.3f}" for i in (1, 3, 5))
