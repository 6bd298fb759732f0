"""The faults in tests/faults: each is found once, at its place, with the way out.

The second line of each file says what must be found: code, line:column, words of the message,
words of the hint. Everything else in the file is sound, so there is exactly one diagnostic.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from spec_kit import check

from segc.analyse import bind
from segc.diag import Fail
from segc.diag_format import as_json, render
from segc.source import Source

FAULTS = sorted((Path(__file__).parent / "faults").glob("*.yaml"))
TEN = (
    "unknown_op", "misspelt_argument", "wrong_type", "skip_from_the_wrong_scale", "odd_size",
    "dangling_reference", "indices_as_tensor", "indices_of_another_pool", "cycle",
    "unknown_top_level_key",
)  # fmt: skip


def expected(text: str) -> tuple[str, int, int, str, str]:
    """Code, line, column, words of the message, words of the hint."""
    line = text.splitlines()[1]
    assert line.startswith("# expect: ")
    code, place, message, hint = shlex.split(line.removeprefix("# expect: "))
    row, column = map(int, place.split(":"))
    return code, row, column, message, hint


def test_the_ten_faults_are_there() -> None:
    assert set(TEN) < {path.stem for path in FAULTS}


@pytest.mark.parametrize("path", FAULTS, ids=lambda p: p.stem)
def test_found_once_at_its_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code, line, column, message, hint = expected(text)
    _, found = check(text)
    assert len(found) == 1, [d.message for d in found]
    (d,) = found
    assert d.loc is not None
    assert (d.code, d.loc.line, d.loc.column) == (code, line, column)
    assert message in d.message
    assert d.hint is not None and hint in d.hint
    assert d.severity == "error"


@pytest.mark.parametrize("path", FAULTS, ids=lambda p: p.stem)
def test_shown_with_the_line_and_a_caret(path: Path) -> None:
    """What a user sees: the place as editors link it, the line, carets under the words at fault."""
    text = path.read_text(encoding="utf-8")
    _, found = check(text, file="fault.yaml")
    code, line, column, _, hint = expected(text)
    printed = render(found, {"fault.yaml": Source.from_text(text, "fault.yaml")}, "text")
    head, quoted, carets, *rest = printed.splitlines()
    assert head.startswith(f"fault.yaml:{line}:{column}: error {code}: ")
    source = text.splitlines()[line - 1]
    margin = quoted.index("| ") + 2
    assert quoted[margin:] == source
    marked = re.search(r"\^+", carets)
    assert marked is not None and marked.start() == margin + column - 1
    under = source[column - 1 : column - 1 + len(marked.group())]
    assert re.fullmatch(r"[\w.\"-]+", under), f"the carets are under {under!r}"
    assert any(hint in row for row in rest if row.startswith("  help: "))
    assert as_json(found[0])["line"] == line


@pytest.mark.parametrize("path", FAULTS, ids=lambda p: p.stem)
def test_two_faults_are_two_messages(path: Path) -> None:
    """A second, unrelated mistake is found in the same run; the first is still told once."""
    text = path.read_text(encoding="utf-8")
    code, *_ = expected(text)
    _, found = check(text + "unknwon_section: 1\n")
    codes = sorted(d.code for d in found)
    expected_codes = sorted([code, "SEG106"])
    if code == "SEG304":  # what is unread is told once the spec reads well
        expected_codes = ["SEG106"]
    assert codes == expected_codes


def test_an_odd_size_from_the_command_line() -> None:
    """The same mistake in the size asked for instead of the spec."""
    spec = Path(__file__).parent.parent / "specs" / "unet.yaml"
    checked, found = check(str(spec))
    assert checked is not None and found == []
    with pytest.raises(Fail) as refused:
        bind(checked, {"image": (1, 3, 33, 64)})
    (d,) = refused.value.diagnostics
    assert d.code == "SEG213" and d.loc is None
    assert "does not accept N = 1, H = 33, W = 64: H % 16 == 0, W % 16 == 0" in d.message
    assert d.hint == "nearest accepted: H = 32 or 48"
