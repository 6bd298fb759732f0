"""Pictures that need another program: Graphviz for `--layout dot`, resvg or rsvg for PNG."""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

from segc.diag import Diagnostic, Fail

TIMEOUT = 20  # s a program may take
MEMORY = 1 << 30  # bytes it may take
ELEMENTS = {"svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse"}
_FAST = ("-Gnslimit=1", "-Gnslimit1=1", "-Gmclimit=.05", "-Gsplines=line")


def dot_picture(source: str, form: str) -> bytes:
    """DOT laid out by Graphviz as svg, pdf or png; Fail (exit 3) where it is missing or fails."""
    if shutil.which("dot") is None:
        return _bundled_dot(source, form)
    data = source.encode()
    done = _run(["dot", f"-T{form}"], data) or _run(["dot", f"-T{form}", *_FAST], data)
    if done is None:
        raise _fail("SEG402", f"Graphviz needs more than {TIMEOUT} s for this graph", "--fold")
    if done.returncode or done.stderr:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        reason = text[0] if text else f"status {done.returncode}"
        raise _fail("SEG402", f"Graphviz failed: {reason}", "draw without --layout dot")
    if form == "svg":
        check_svg(done.stdout.decode())
    return done.stdout


def _bundled_dot(source: str, form: str) -> bytes:
    try:
        import pygraphviz
    except ImportError:
        hint = "install Graphviz (apt install graphviz) or pip install 'segc[dot]'"
        raise _fail("SEG401", "--layout dot needs Graphviz, which is not here", hint) from None
    picture: bytes = pygraphviz.AGraph(string=source).draw(format=form, prog="dot")
    if form == "svg":
        check_svg(picture.decode())
    return picture


def check_svg(text: str) -> None:
    """Fail unless the SVG holds nothing but plain drawing elements, no link and no script."""
    for element in ElementTree.fromstring(text).iter():
        tag = str(element.tag).rpartition("}")[2]
        names = [name.rpartition("}")[2].lower() for name in element.attrib]
        if tag not in ELEMENTS or any(n in ("href", "style") or n.startswith("on") for n in names):
            raise _fail("SEG402", f"Graphviz wrote an SVG with <{tag}>, which is refused", None)


def png_picture(svg: str, scale: float = 2.0) -> bytes:
    """SVG as PNG, `scale` pixels a px; Fail (exit 3) where no converter is installed."""
    try:
        import resvg_py
    except ImportError:
        return _rsvg(svg, scale)
    if bytes(resvg_py.svg_to_bytes(svg_string=_probe("M"))) == bytes(
        resvg_py.svg_to_bytes(svg_string=_probe(" "))
    ):
        hint = "install one, for example fonts-liberation, or write an svg or pdf"
        raise _fail("SEG403", "PNG needs a sans-serif font, none is installed", hint)
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=scale))


def _probe(text: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
        f'<text x="2" y="16" font-size="16" font-family="Arial, Helvetica, '
        f'&quot;Liberation Sans&quot;, sans-serif">{text}</text></svg>'
    )


def _rsvg(svg: str, scale: float) -> bytes:
    if shutil.which("rsvg-convert") is None:
        hint = "pip install 'segc[png]', or write an svg or pdf"
        raise _fail("SEG403", "PNG needs resvg-py or rsvg-convert, neither is here", hint)
    done = _run(["rsvg-convert", "-f", "png", "-z", str(scale)], svg.encode())
    if done is None or done.returncode:
        raise _fail("SEG403", "rsvg-convert failed", "pip install 'segc[png]'")
    return done.stdout


def _run(command: list[str], data: bytes) -> subprocess.CompletedProcess[bytes] | None:
    """The program's result, None after `TIMEOUT`."""
    hidden = ("GV", "DOT")
    env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    try:
        return subprocess.run(
            command, input=data, capture_output=True, timeout=TIMEOUT, env=env,
            preexec_fn=_limit if os.name == "posix" else None, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY, 2 * MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT + 1))


def _fail(code: str, message: str, hint: str | None) -> Fail:
    return Fail(Diagnostic(code, message, None, hint), exit=3)
