"""Diagnostics: order, suggestions, and the four formats, whatever the text contains."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.catalogue import CATALOGUE
from segc.diag import Diagnostic, Fail, Note, Report, did_you_mean, in_order
from segc.diag_format import SHOWN, as_json, as_sarif, render, summary
from segc.source import Loc, Source

TEXT = "segc: 1\nlayers:\n  add: {op: add, from: [conv, pool]}\n  \u65e5\u672c: {op: relu}\n"
SOURCE = Source.from_text(TEXT, "specs/a.yaml")
SOURCES = {SOURCE.file: SOURCE}
FAULT = Diagnostic(
    "SEG203",
    "heights disagree: 64 and 32",
    Loc("specs/a.yaml", 3, 24, 28),
    "resize one of them",
    (Note(Loc("specs/a.yaml", 4, 3, 5), "32 comes from here"), Note(None, "sizes in pixels")),
)


def text(*found: Diagnostic, **options: Any) -> str:
    return render(found, SOURCES, "text", **options)


def test_text_format() -> None:
    assert text(FAULT) == (
        "specs/a.yaml:3:24: error SEG203: heights disagree: 64 and 32\n"
        "  3 |   add: {op: add, from: [conv, pool]}\n"
        "    |                        ^^^^\n"
        "  note: specs/a.yaml:4:3: 32 comes from here\n"
        "  note: sizes in pixels\n"
        "  help: resize one of them\n"
    )


def test_text_without_a_place_or_a_source() -> None:
    assert text(Diagnostic("SEG080", "no")) == "error SEG080: no\n"
    elsewhere = Diagnostic("SEG001", "no", Loc("b.yaml", 1, 1, 1), severity="warning")
    assert text(elsewhere) == "b.yaml:1:1: warning SEG001: no\n"
    past_the_end = Diagnostic("SEG001", "no", Loc("specs/a.yaml", 99, 1, 2))
    assert text(past_the_end) == "specs/a.yaml:99:1: error SEG001: no\n"


def test_colour_changes_no_words() -> None:
    coloured = text(FAULT, color=True)
    assert "\x1b[1;31merror SEG203\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text(FAULT)


def test_carets_stand_under_wide_characters() -> None:
    loc = Loc("specs/a.yaml", 4, 7, 13)  # the braces after two characters of two columns each
    line, carets = SOURCE.excerpt(loc).split("\n")
    width = sum(2 if unicodedata.east_asian_width(c) == "W" else 1 for c in line[: line.index("{")])
    assert carets == " " * width + "^" * 6


def test_carets_when_only_ascii_can_be_shown() -> None:
    line, carets = SOURCE.excerpt(Loc("specs/a.yaml", 4, 3, 5), ascii_only=True).split("\n")
    assert line == "  \\u65e5\\u672c: {op: relu}"
    assert carets == "  ^^^^^^^^^^^^"


def test_long_lines_are_cut_around_the_fault() -> None:
    source = Source.from_text("a: " + "x" * 500_000 + "Y" + "z" * 500_000, "long.yaml")
    line, carets = source.excerpt(Loc("long.yaml", 1, 500_004, 500_005)).split("\n")
    assert line.startswith("...") and line.endswith("...") and len(line) < 120
    assert line[carets.index("^")] == "Y" and carets.count("^") == 1


def test_order_is_that_of_the_file_and_stable() -> None:
    def at(line: int, column: int, message: str, file: str = "a") -> Diagnostic:
        return Diagnostic("SEG100", message, Loc(file, line, column, column + 1))

    found = [at(9, 1, "e"), at(2, 5, "c"), at(1, 1, "f", "b"), at(2, 1, "a"), at(2, 1, "b")]
    found += [at(2, 5, "d"), Diagnostic("SEG100", "first"), at(2, 1, "a")]
    assert [d.message for d in in_order(found)] == ["first", "a", "b", "c", "d", "e", "f"]


def test_twenty_are_shown_and_the_rest_counted() -> None:
    found = [Diagnostic("SEG100", f"fault {n}", Loc("a", n, 1, 2)) for n in range(1, 9_001)]
    lines = text(*found).splitlines()
    assert SHOWN == 20 and len(lines) == 21
    assert lines[-1] == "and 8,980 more"
    assert render(found, {}, "github").splitlines()[-1] == "::notice::and 8,980 more"
    assert len(json.loads(render(found, {}, "json"))) == 9_000


def test_text_is_bounded() -> None:
    notes = tuple(Note(None, "\u202e" * 5_000) for _ in range(100))
    loc = Loc("f" * 9_000, 1, 1, 2)
    found = [
        Diagnostic("SEG100", f"{n}" + "\0" * 90_000, loc, "h" * 9_000, notes) for n in range(50)
    ]
    assert len(text(*found).encode()) <= 64 << 10
    assert text(*found).endswith(" more\n")


def test_summary() -> None:
    warning = Diagnostic("SEG400", "w", severity="warning")
    assert summary([FAULT]) == "1 error"
    assert summary([FAULT, warning, Diagnostic("SEG100", "b")]) == "2 errors, 1 warning"
    assert summary([]) == ""


def test_json_has_the_promised_keys() -> None:
    assert as_json(FAULT) == {
        "code": "SEG203",
        "severity": "error",
        "message": "heights disagree: 64 and 32",
        "hint": "resize one of them",
        "file": "specs/a.yaml",
        "line": 3,
        "column": 24,
        "end_column": 28,
        "notes": [
            {
                "message": "32 comes from here",
                "file": "specs/a.yaml",
                "line": 4,
                "column": 3,
                "end_column": 5,
            },
            {
                "message": "sizes in pixels",
                "file": None,
                "line": None,
                "column": None,
                "end_column": None,
            },
        ],
    }
    assert json.loads(render([FAULT], SOURCES, "json")) == [as_json(FAULT)]


def test_github_format() -> None:
    loc = Loc("specs/a,b:c.yaml", 3, 24, 28)
    found = Diagnostic("SEG203", "100% wrong", loc, "two\nlines", severity="warning")
    assert render([found], {}, "github") == (
        "::warning file=specs/a%2Cb%3Ac.yaml,line=3,endLine=3,col=24,endColumn=28,title=SEG203"
        "::100%25 wrong%0Ahelp: two\\nlines\n"
    )


def test_github_format_cannot_be_broken_out_of() -> None:
    """A line of its own starting with `::` would be a command to the runner."""
    evil = "x\n::set-output name=a::b\r\n::error::y"
    found = Diagnostic("SEG100", evil, Loc(evil, 1, 1, 2), evil, (Note(Loc(evil, 1, 1, 1), evil),))
    assert len(render([found], {}, "github").splitlines()) == 1


def test_sarif() -> None:
    log = as_sarif([FAULT, Diagnostic("SEG008", "twice", Loc("/x y/\u00e4.yaml", 1, 2, 3))])
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in rules] == ["SEG008", "SEG203"]
    assert rules[0]["shortDescription"]["text"] == CATALOGUE["SEG008"].title
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    first, second = run["results"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "specs/a.yaml"},
        "region": {"startLine": 3, "startColumn": 24, "endColumn": 28},
    }
    assert first["relatedLocations"][0]["message"] == {"text": "32 comes from here"}
    place = second["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "file:///x%20y/%C3%A4.yaml"


def test_unknown_format_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="xml"):
        render([], {}, "xml")


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.text(alphabet=st.characters(), max_size=30), st.booleans())
def test_output_is_inert(evil: str, ascii_only: bool) -> None:
    """No control, direction mark or lone surrogate reaches the terminal, from any position."""
    source = Source.from_text(evil + "\n" + evil, evil)
    loc = Loc(evil, 1, 1, len(evil) + 1)
    found = Diagnostic("SEG100", evil, loc, evil, (Note(loc, evil), Note(None, evil)))
    for fmt in ("text", "json", "github", "sarif"):
        shown = render([found], {evil: source}, fmt, ascii_only=ascii_only)
        assert all(c.isprintable() or c == "\n" for c in shown)
        shown.encode("utf-8")
        if ascii_only and fmt == "text":
            assert shown.isascii()
        if fmt in ("json", "sarif"):
            json.loads(shown)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("kernal_size", "did you mean `kernel_size`?"),
        ("kernelsize", "did you mean `kernel_size`?"),
        ("kernel-size", "did you mean `kernel_size`?"),
        ("Stride", "did you mean `stride`?"),
        ("paddign", "did you mean `padding`?"),
        ("zebra", None),
        ("", None),
        ("k" * 100_000, None),
    ],
)
def test_did_you_mean(word: str, expected: str | None) -> None:
    assert did_you_mean(word, ["padding", "stride", "kernel_size", "dilation"]) == expected


def test_suggestions_do_not_depend_on_the_order_of_the_candidates() -> None:
    assert did_you_mean("con", {"conv", "cond", "cons"}) == did_you_mean(
        "con", ["cons", "cond", "conv"]
    )


def test_report() -> None:
    report = Report()
    report.warning("SEG400", "odd")
    report.raise_if_failed()
    report.error("SEG101", "bad", Loc("a", 5, 1, 2), hint="fix it")
    report.error("SEG102", "worse", Loc("a", 2, 1, 2), notes=[Note(None, "n")])
    assert report.failed
    with pytest.raises(Fail) as failed:
        report.raise_if_failed()
    assert [d.code for d in failed.value.diagnostics] == ["SEG400", "SEG102", "SEG101"]
    assert failed.value.exit == 1
    assert "SEG102" in str(failed.value)
