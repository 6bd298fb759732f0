"""Drawing (SEG4xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {
    "SEG401": Entry(
        "Graphviz is missing",
        "`--layout dot` leaves the placing to Graphviz, and neither its program `dot` nor the "
        "package pygraphviz is installed. Without the option segc places everything itself and "
        "needs neither.",
    ),
    "SEG402": Entry(
        "Graphviz failed",
        "Graphviz was given the network's DOT and took longer than 20 s, stopped with an error, "
        "or wrote something a picture must not hold. Fold a few blocks, or let segc place the "
        "picture itself.",
    ),
    "SEG403": Entry(
        "a package for this format is missing",
        "PNG is made from the SVG by resvg-py (`pip install 'segc[png]'`) or the program "
        "rsvg-convert, with any sans-serif font of the system; PPTX by python-pptx "
        "(`pip install 'segc[pptx]'`). SVG, PDF, HTML and DOT need nothing.",
    ),
    "SEG404": Entry(
        "no such block to expand or fold",
        "`--expand` and `--fold` take the path of a block, a group or a repeat as `segc summary` "
        "writes it (`backbone.layer3`), or a pattern with `*`.",
    ),
    "SEG405": Entry(
        "no such picture format",
        "The suffix of `-o` chooses the format: .svg, .dot, .pdf, .png, .pptx or .html.",
    ),
}
