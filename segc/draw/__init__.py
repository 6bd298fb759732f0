"""Pictures of a network: view -> layout -> scene -> svg, dot, pdf, png, pptx, html."""

from segc.draw.api import FORMATS, LEVELS, Drawing, draw

__all__ = ["FORMATS", "LEVELS", "Drawing", "draw"]
