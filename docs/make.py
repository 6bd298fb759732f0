"""Write the generated pages: operators, diagnostics and schema in docs/, the table in specs/.

python docs/make.py [--check]     --check: exit 1 if a page on disk is out of date
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def pages() -> dict[str, str]:
    """Path from the repository's root -> text."""
    from segc.manual import diagnostics_page, ops_page
    from segc.schema import schema

    return {
        "docs/ops.md": ops_page(),
        "docs/diagnostics.md": diagnostics_page(),
        "docs/segc.schema.json": json.dumps(schema(7), indent=1, ensure_ascii=True) + "\n",
        "specs/README.md": zoo_page(),
    }


def zoo_page() -> str:
    """A table of all specs: source, parameters, MACs, output stride, field, accepted sizes."""
    rows = [zoo_row(path) for path in sorted((ROOT / "specs").glob("*.yaml"))]
    head = ["spec", "network", "source", "parameters", "MACs", "at", "stride", "field", "accepts"]
    lines = [
        "# The networks",
        "",
        "Written by `docs/make.py`. MACs are multiply-accumulates of convolutions and linear",
        "layers, at the size the spec trains on (224 for classifiers); stride is the coarsest one",
        "a convolution with a window works at, field the receptive field of the first output,",
        "both in input pixels.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def zoo_row(path: Path) -> list[str]:
    """The cells of one spec."""
    from segc.analyse import reference_sizes, table
    from segc.build import check_source
    from segc.source import Source
    from segc.summary import si

    checked = check_source(Source.open(path), {})
    sizes = reference_sizes(checked)
    found = table(checked, sizes)
    graph = checked.graph
    first = next(iter(graph.outputs.values())).node
    out = next(row for row in found.rows if row.node.name == first)
    windows = [
        r for r in found.rows if r.macs and max(r.node.op.values.get("kernel_size", (1,))) > 1
    ]
    strides = [max(row.stride) for row in windows if row.stride]
    field = out.receptive_field or (None, None)
    title, built = graph.title.replace("|", "/"), f"../generated/{path.stem}"
    return [
        f"[{path.stem}]({path.name})",
        f"[{title}]({built}/report.md) ([picture]({built}/diagram.svg))",
        graph.source.replace("|", "/"),
        f"{found.totals.params:,}",
        si(found.totals.macs),
        ", ".join("x".join(str(d) for d in s[2:]) or "x".join(map(str, s)) for s in sizes.values()),
        f"{max(strides, default=1)}",
        "all" if None in field else str(max(f for f in field if f is not None)),
        "; ".join(f"`{c}`" for c in checked.domain.constraints()) or "any size",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if one is stale")
    check = parser.parse_args().check
    stale = 0
    for name, text in pages().items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = 1
        if check:
            print(f"out of date: {name}")
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {name}")
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main())
