"""Advance widths of Helvetica, and what text may look like in a picture.

Arial, Helvetica and Liberation Sans share these widths, so one table is right on every system, in
PDF's base-14 fonts and in slides. Thousandths of the font size, from the fonts' own metrics.
"""

from __future__ import annotations

FONT = 'Arial, Helvetica, "Liberation Sans", sans-serif'
ELLIPSIS = "\u2026"
MAX_CHARS = 1000

_EXTRA = "\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u2022\u2192\u2212"
# U+0020 to U+007E, then U+00A1 to U+00FF, then the characters of _EXTRA.
# fmt: off
_REGULAR = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
    333, 556, 556, 556, 556, 260, 556, 333, 737, 370, 556, 584, 333, 737, 552, 400, 549, 333, 333,
    333, 576, 537, 333, 333, 333, 365, 556, 834, 834, 834, 611, 667, 667, 667, 667, 667, 667, 1000,
    722, 667, 667, 667, 667, 278, 278, 278, 278, 722, 722, 778, 778, 778, 778, 778, 584, 778, 722,
    722, 722, 722, 667, 667, 611, 556, 556, 556, 556, 556, 556, 889, 500, 556, 556, 556, 556, 278,
    278, 278, 278, 556, 556, 556, 556, 556, 556, 556, 549, 611, 556, 556, 556, 556, 500, 556, 500,
    556, 1000, 222, 222, 333, 333, 1000, 350, 1000, 584,
)
# fmt: on
# fmt: off
_BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
    333, 556, 556, 556, 556, 280, 556, 333, 737, 370, 556, 584, 333, 737, 552, 400, 549, 333, 333,
    333, 576, 556, 333, 333, 333, 365, 556, 834, 834, 834, 611, 722, 722, 722, 722, 722, 722, 1000,
    722, 667, 667, 667, 667, 278, 278, 278, 278, 722, 722, 778, 778, 778, 778, 778, 584, 778, 722,
    722, 722, 722, 667, 667, 611, 556, 556, 556, 556, 556, 556, 889, 556, 556, 556, 556, 556, 278,
    278, 278, 278, 611, 611, 611, 611, 611, 611, 611, 549, 611, 611, 611, 611, 611, 556, 611, 556,
    556, 1000, 278, 278, 500, 500, 1000, 350, 1000, 584,
)
# fmt: on

_CHARS = [*map(chr, range(0x20, 0x7F)), *map(chr, range(0xA1, 0x100)), *_EXTRA]
_WIDTHS = (dict(zip(_CHARS, _REGULAR, strict=True)), dict(zip(_CHARS, _BOLD, strict=True)))

# Letters outside the table that fit one em in every font of the stack: Latin, Greek, Cyrillic,
# kana, ideographs, Hangul. Anything else is shown by its number.
_ONE_EM = ((0x100, 0x17F), (0x386, 0x3CE), (0x400, 0x45F), (0x3041, 0x30FE), (0x4E00, 0x9FFF),
           (0xAC00, 0xD7A3))  # fmt: skip


def width(text: str, size: float, bold: bool = False) -> float:
    """Width of one line of text in px at a font size in px (an upper bound for rare letters)."""
    table = _WIDTHS[bold]
    return float(sum(table.get(c, 1000) for c in text) * size / 1000)


def literal(text: str, limit: int = MAX_CHARS) -> str:
    """The text as a picture shows it: one line, every odd character by its number, cut at `limit`.

    Controls, direction marks, surrogates and letters of unknown width become `\\u202e`.
    """
    shown = "".join(c if _plain(c) else _escape(c) for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + ELLIPSIS


def fit(text: str, room: float, size: float, bold: bool = False) -> str:
    """The text, cut with an ellipsis so that it is at most `room` px wide."""
    if width(text, size, bold) <= room:
        return text
    left = room - width(ELLIPSIS, size, bold)
    for i, c in enumerate(text):
        left -= width(c, size, bold)
        if left < 0:
            return text[:i].rstrip() + ELLIPSIS
    return text


def _plain(c: str) -> bool:
    if c in _WIDTHS[0]:
        return c != "\u00ad"  # a soft hyphen has a width but no ink
    return any(low <= ord(c) <= high for low, high in _ONE_EM)


def _escape(c: str) -> str:
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
