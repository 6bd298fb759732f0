"""Codes in the source and pages in the catalogue are the same set; examples do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from spec_kit import faults, shown

from segc.catalogue import CATALOGUE, Entry

ROOT = Path(__file__).parent.parent / "segc"
CODE = re.compile(r"""["'](SEG\d{3})["']""")
COMPLETE = {
    code: entry for code, entry in CATALOGUE.items() if re.match(r"segc: 1\nmodel: ", entry.bad)
}


def raised() -> set[str]:
    """Every code that stands in the source outside the catalogue."""
    files = [p for p in ROOT.rglob("*.py") if "catalogue" not in p.parts]
    return {code for path in files for code in CODE.findall(path.read_text(encoding="utf-8"))}


def test_every_code_raised_has_a_page() -> None:
    assert raised() - CATALOGUE.keys() == set()


def test_every_page_is_of_a_code_raised() -> None:
    assert CATALOGUE.keys() - raised() == set()


@pytest.mark.parametrize("code", CATALOGUE)
def test_page_is_written(code: str) -> None:
    entry = CATALOGUE[code]
    assert 8 <= len(entry.title) <= 70 and not entry.title.endswith(".")
    assert len(entry.text) >= 60 and entry.text.endswith(".")
    assert bool(entry.bad) == bool(entry.good)
    assert entry.bad != entry.good or not entry.bad


def codes(text: str) -> list[str]:
    return [d.code for d in faults(text)]


@pytest.mark.parametrize(("code", "entry"), COMPLETE.items(), ids=COMPLETE)
def test_example_gives_its_code_and_nothing_else(code: str, entry: Entry) -> None:
    assert codes(entry.bad) == [code], shown(faults(entry.bad), entry.bad)


@pytest.mark.parametrize(("code", "entry"), COMPLETE.items(), ids=COMPLETE)
def test_corrected_example_is_sound(code: str, entry: Entry) -> None:
    assert codes(entry.good) == [], shown(faults(entry.good), entry.good)


def test_most_codes_of_the_language_have_a_complete_example() -> None:
    language = [code for code in CATALOGUE if code[3] in "123"]
    without = [code for code in language if code not in COMPLETE]
    assert len(without) <= len(language) // 4, without


@pytest.mark.parametrize("code", sorted(CATALOGUE.keys() - COMPLETE.keys()))
def test_fragment_gives_its_code(code: str) -> None:
    """Examples that are no complete spec: the code is among those found, and gone afterwards."""
    entry = CATALOGUE[code]
    if not entry.bad or code[3] not in "0123":
        return
    if code in ("SEG085",):  # a matter of layout, which check accepts
        assert code not in codes(entry.bad)
        return
    assert code in codes(entry.bad)
    assert code not in codes(entry.good)
