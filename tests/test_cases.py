"""Golden cases: each file in tests/cases/check is a spec and, in comments at its end, all that
`check` finds: the diagnostics as they are printed, or what it derives of a sound network.

    SEGC_REGENERATE=1 pytest tests/test_cases.py     # writes them anew; read the difference
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spec_kit import check

from segc.blame import shape_text
from segc.check import Checked
from segc.diag_format import render
from segc.source import Source

CASES = sorted((Path(__file__).parent / "cases" / "check").glob("*.yaml"))
MARK = "#| "


def parts(path: Path) -> tuple[str, str]:
    """The spec and the expected output of a case."""
    lines = path.read_text(encoding="utf-8").splitlines()
    spec = [line for line in lines if not line.startswith(MARK.rstrip())]
    expected = [line[len(MARK) :] for line in lines if line.startswith(MARK.rstrip())]
    return "\n".join(spec) + "\n", "\n".join(expected) + "\n"


def printed(text: str, name: str) -> str:
    checked, found = check(text, file=name)
    if found:
        return render(found, {name: Source.from_text(text, name)}, "text")
    assert checked is not None
    return "".join(line + "\n" for line in derived(checked))


def derived(checked: Checked) -> list[str]:
    """What there is to know of a sound network."""
    lines = [f"ok, {len(checked.graph.nodes)} layers, {sum(checked.params.values())} parameters"]
    for name, ref in checked.graph.outputs.items():
        lines.append(f"{name}: {shape_text(checked.types[ref], checked.domain)}")
    return lines + [f"accepts {text}" for text in checked.domain.constraints()]


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_case(path: Path) -> None:
    text, expected = parts(path)
    got = "\n".join(line.rstrip() for line in printed(text, path.name).splitlines()) + "\n"
    if os.environ.get("SEGC_REGENERATE"):
        marked = "".join(f"{MARK}{line}".rstrip() + "\n" for line in got.splitlines())
        path.write_text(text + marked, encoding="utf-8")
        return
    assert got == expected, f"\n{got}"


def test_there_are_cases() -> None:
    assert len(CASES) >= 12
