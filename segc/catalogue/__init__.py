"""Every diagnostic code: what it means, an example that triggers it, the fix.

One module per family: 0xx YAML and files (08x those written), 1xx schema, 2xx shapes and types,
3xx wiring and names, 4xx style, 5xx weights, 6xx data. `segc explain CODE` and the page
docs/diagnostics.md are made from it.
"""

from __future__ import annotations

from segc.catalogue import data, output, schema, shapes, style, weights, wiring, yaml
from segc.catalogue.entry import Entry

__all__ = ["CATALOGUE", "Entry"]

CATALOGUE: dict[str, Entry] = {
    code: entry
    for family in (yaml, output, schema, shapes, wiring, style, weights, data)
    for code, entry in sorted(family.ENTRIES.items())
}
