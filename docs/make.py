"""Write the generated pages: docs/ops.md, docs/diagnostics.md, docs/segc.schema.json.

python docs/make.py [--check]     --check: exit 1 if a page on disk is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """File name -> text."""
    from segc.manual import diagnostics_page, ops_page
    from segc.schema import schema

    return {
        "ops.md": ops_page(),
        "diagnostics.md": diagnostics_page(),
        "segc.schema.json": json.dumps(schema(7), indent=1, ensure_ascii=True) + "\n",
    }


def main() -> int:
    stale = 0
    for name, text in pages().items():
        path = HERE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            print(f"out of date: docs/{name}")
            stale = 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote docs/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
