"""Colours of a picture: three tokens per family (fill, stroke, text), in light and dark.

Strokes are at least 3:1 on page and lane, text at least 4.5:1 on its fill. Colour never carries
meaning alone: families also differ in form (pill with a triangle, box, circle) or in text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours of one family."""

    fill: str
    stroke: str
    text: str


@dataclass(frozen=True, slots=True)
class Theme:
    """All colours of a picture. `paints` is by family; the rest are single colours."""

    page: str
    lane: str
    ink: str
    mute: str
    edge: str
    skip: str
    index: str
    train: str
    shape: str
    frame: str
    paints: Mapping[str, Paint]

    def color(self, token: str) -> str:
        """`ink`, `mute`, `shape`, …, or `conv.text`: the text colour of a family."""
        family, _, part = token.partition(".")
        return str(getattr(self.paints[family], part) if part else getattr(self, token))


def _paints(rows: Mapping[str, str]) -> dict[str, Paint]:
    return {family: Paint(*colors.split()) for family, colors in rows.items()}


LIGHT = Theme(
    page="#FFFFFF",
    lane="#F4F6F9",
    ink="#1F2430",
    mute="#4F5866",
    edge="#3C4654",
    skip="#6E7988",
    index="#8B3A8B",
    train="#768192",
    shape="#0B5B8C",
    frame="#C9D0DA",
    paints=_paints(
        {
            "input": "#FFFFFF #4F5866 #1F2430",
            "conv": "#DCEBF7 #0072B2 #005C91",
            "dilated": "#B9D6EE #003A5E #003A5E",
            "down": "#FBE4D5 #C8550F #973D00",
            "up": "#D5EFE6 #00946E #00654B",
            "context": "#FFF3C9 #9C8400 #6B5600",
            "region": "#FBE9C8 #B87A00 #7D5200",
            "predict": "#F7E3EE #A8327A #8A2A64",
            "merge": "#FFFFFF #1F2430 #1F2430",
            "plain": "#F3F5F7 #768192 #4F5866",
        }
    ),
)

DARK = Theme(
    page="#12161D",
    lane="#1A2029",
    ink="#F2F5F9",
    mute="#B4BECB",
    edge="#C5CEDA",
    skip="#8E9AAB",
    index="#D99BE0",
    train="#8592A3",
    shape="#8CCBF4",
    frame="#3A4453",
    paints=_paints(
        {
            "input": "#12161D #B4BECB #F2F5F9",
            "conv": "#123A56 #56B4E9 #8CCBF4",
            "dilated": "#1A4E78 #B9E2FA #CBE9FB",
            "down": "#4A2610 #F08A45 #F7AE80",
            "up": "#0F3D33 #2FBF95 #62D8B4",
            "context": "#3D3510 #F2E36B #F5EA94",
            "region": "#453112 #E0A030 #F2C16A",
            "predict": "#43233A #D983B5 #EBABD0",
            "merge": "#12161D #F2F5F9 #F2F5F9",
            "plain": "#1A2029 #8592A3 #B4BECB",
        }
    ),
)

THEMES = {"light": LIGHT, "dark": DARK}

# How a layer's own family (Style.family) is painted; what is not listed has its own colours.
PAINT_OF = {"norm": "plain", "act": "plain", "shape": "plain"}

# Families in the legend's fixed order, with the words for each.
LEGEND = {
    "conv": "convolution",
    "down": "downsample",
    "up": "upsample",
    "predict": "prediction",
    "dilated": "dilated",
    "context": "context",
    "region": "region",
    "plain": "other",
}


def paint_name(family: str) -> str:
    """The name in `Theme.paints` a family is drawn with."""
    name = PAINT_OF.get(family, family)
    return name if name in LIGHT.paints else "plain"
