"""As run.py, but reads the whole spec, checks it and makes its table.

python tests/hostile/check.py FILE…
"""

from __future__ import annotations

import json
import sys

import run

from segc.analyse import table
from segc.check import verify
from segc.diag import Fail, Report, in_order
from segc.diag_format import render
from segc.read import read
from segc.source import Source


def check(path: str, pure: bool) -> tuple[int, dict[str, object]]:
    """What `segc check` does, apart from its arguments."""
    report, sources = Report(), {}
    status = 0
    try:
        graph = read(Source.open(path), {}, report, sources=sources)
        checked = verify(graph, report) if graph is not None else None
        if checked is not None:
            table(checked)
        status = 1 if report.failed else 0
    except Fail as fail:
        report.diagnostics += fail.diagnostics
        status = fail.exit
    found = in_order(report.diagnostics)
    first = found[0].loc if found else None
    return status, {
        "codes": [d.code for d in found],
        "place": [first.line, first.column] if first else None,
        "output": "".join(
            render(found, sources, fmt) for fmt in ("text", "json", "github", "sarif")
        ),
    }


if __name__ == "__main__":
    run.read = check
    for name in sys.argv[1:]:
        print(json.dumps({"file": name, **run.in_child(name, False)}), flush=True)
