"""Whatever a file holds: a diagnostic, quickly, in little memory; no traceback, no signal.

Small files lie in tests/hostile, named `CODE-LINE-COLUMN-what.yaml` for the first diagnostic they
must give (`ok-what.yaml`: none from the reader). Large and special ones are made here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CORPUS = sorted((HERE / "hostile").glob("*.yaml"))
RUN = HERE / "hostile" / "run.py"
MIB = 1 << 20

MIB_OF_LINES = "".join(f"a{i}: {{b: c}}\n" for i in range(80_000))[:MIB]

LARGE: dict[str, tuple[str, str]] = {  # what: (text, code of the first diagnostic)
    "open brackets": ("[" * 60_000, "SEG011"),
    "open braces": ("a: " + "{b: " * 60_000, "SEG011"),
    "nested lists by dashes": ("a:\n" + "- " * 100_000 + "x\n", "SEG011"),
    "nested keys by question marks": ("? " * 100_000 + "x\n", "SEG016"),
    "nested keys by indentation": ("".join(" " * i + "a:\n" for i in range(1_000)), "SEG011"),
    "one value too many": ("a: [" + "1," * 50_000 + "1]\n", "SEG012"),
    "a megabyte of values": ("a: [" + "1," * 500_000 + "1]\n", "SEG012"),
    "a megabyte of short keys": (MIB_OF_LINES, "SEG012"),
    "10,001 keys": ("".join(f"k{i}: 1\n" for i in range(10_001)), "SEG012"),
    "10,001 keys in braces": ("{" + ", ".join(f"k{i}" for i in range(10_001)) + "}", "SEG012"),
    "a text of 5,000 characters": ("a: " + "x" * 5_000 + "\n", "SEG012"),
    "a megabyte of text": ("a: " + "x" * (MIB - 10) + "\n", "SEG012"),
    "a megabyte of quoted text": ('a: "' + "x" * (MIB - 10) + '"\n', "SEG012"),
    "a megabyte of folded text": ("a: >\n" + " x\n" * 300_000, "SEG012"),
    "a megabyte of escapes": ('a: "' + "\\x41" * 250_000 + '"\n', "SEG012"),
    "a megabyte of comment": ("#" * (MIB - 1) + "\n", "SEG001"),
    "a megabyte of empty lines": ("\n" * MIB, "SEG001"),
    "a megabyte of spaces": (" " * MIB, "SEG001"),
    "a megabyte of tabs": ("\t" * MIB, "SEG017"),
    "tabs on every line": ("\t\n" * 500_000, "SEG017"),
    "a megabyte of zero-width spaces": ("\u200b" * 300_000, "SEG005"),
    "a megabyte of NUL": ("\0" * MIB, "SEG005"),
    "a megabyte of lone carriage returns": ("\r" * MIB, "SEG005"),
    "an unclosed quote of a megabyte": ('a: "' + "x\n" * 500_000, "SEG007"),
    "quotes and hashes": ('a: ["' + ' #"' * 250_000, "SEG007"),
    "backslashes and quotes": ('a: [\n"' + '\\"' * 2_000 + "\n" + "\\" * 500_000, "SEG007"),
    "500,000 colons": (":" * 500_000, "SEG012"),
    "500,000 colons and spaces": (": " * 500_000, "SEG007"),
    "500,000 commas": ("[" + "," * 500_000, "SEG007"),
    "500,000 anchors": ("a: [" + "&a x," * 200_000 + "]", "SEG009"),
    "500,000 aliases": ("a: [" + "*a ," * 200_000 + "]", "SEG009"),
    "500,000 exclamation marks": ("a: " + "!" * 500_000, "SEG010"),
    "100,000 documents": ("a: 1\n" + "---\n" * 100_000, "SEG006"),
    "100,000 directives": ("%A b\n" * 100_000, "SEG010"),
    "9,000 duplicate keys": ("".join("a: 1\n" for _ in range(9_000)), "SEG008"),
    "9,000 bad booleans": ("a: [" + "no, " * 9_000 + "]", "SEG013"),
    "a number of 4,000 digits": ("a: " + "9" * 4_000 + "\n", "SEG015"),
    "a number of 900,000 digits": ("a: " + "9" * 900_000 + "\n", "SEG012"),
    "an exponent of 4,000 digits": ("a: 1.0e+" + "9" * 4_000 + "\n", "SEG015"),
    "a fraction of 4,000 digits": ("a: 0." + "0" * 3_900 + "1\n", "SEG015"),
    "base 60 of 4,000 digits": ("a: 1" + ":30" * 1_300 + "\n", "SEG014"),
    "underscores": ("a: 1" + "_" * 4_000 + "x\n", "ok"),
    "digits that are no number": ("a: " + "1" * 4_000 + "x\n", "ok"),
    "50,000 values": ("a: [" + "1, " * 49_997 + "1]\n", "ok"),
}


def outcomes(files: list[Path | str], *options: str) -> Iterator[dict[str, Any]]:
    """Run the files, each in its own process."""
    command = [sys.executable, str(RUN), *options, *map(str, files)]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    yield from map(json.loads, lines)


def assert_inert(outcome: dict[str, Any]) -> None:
    """What holds for every input there is."""
    assert outcome["status"] in (0, 1, 3), outcome
    assert "Traceback" not in outcome["output"]
    assert (outcome["status"] == 0) == (not outcome["codes"]), outcome
    assert outcome["mebibytes"] < 64, outcome["mebibytes"]
    bad = {c for c in outcome["output"] if not (c.isprintable() or c == "\n")}
    assert not bad, f"acts on a terminal: {bad}"


def test_small_files() -> None:
    assert len(CORPUS) > 100
    for path, outcome in zip(CORPUS, outcomes(CORPUS), strict=True):
        assert_inert(outcome)
        first, *rest = path.stem.split("-")
        if first == "ok":
            assert outcome["codes"] == [], path.name
        else:
            got = [outcome["codes"][0], *map(str, outcome["place"])]
            assert got == [first, *rest[:2]], path.name


def test_small_files_without_libyaml() -> None:
    """The pure-Python parser accepts and refuses the same files."""
    for path, outcome in zip(CORPUS, outcomes(CORPUS, "--pure"), strict=True):
        assert_inert(outcome)
        assert (outcome["status"] == 0) == path.stem.startswith("ok"), path.name


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("large")
    files = {}
    for number, (what, (text, _)) in enumerate(LARGE.items()):
        files[what] = folder / f"{number}.yaml"
        files[what].write_bytes(text.encode())
    return files


def test_large_files(large: dict[str, Path]) -> None:
    for what, outcome in zip(large, outcomes([*large.values()]), strict=True):
        assert_inert(outcome)
        assert (outcome["codes"] or ["ok"])[0] == LARGE[what][1], what


def test_large_files_without_libyaml(large: dict[str, Path]) -> None:
    files = {what: path for what, path in large.items() if path.stat().st_size < 700_000}
    for what, outcome in zip(files, outcomes([*files.values()], "--pure"), strict=True):
        assert_inert(outcome)
        assert (outcome["status"] == 0) == (LARGE[what][1] == "ok"), what


def test_file_of_the_largest_size_and_one_byte_more(tmp_path: Path) -> None:
    line = "# " + "x" * 97 + "\n"
    text = "segc: 1\n" + line * ((MIB - 8) // 100)
    fits, over = tmp_path / "fits.yaml", tmp_path / "over.yaml"
    fits.write_text(text + "#" * (MIB - len(text)))
    over.write_text(text + "#" * (MIB - len(text) + 1))
    first, second = outcomes([fits, over])
    assert first["codes"] == []
    assert second["codes"] == ["SEG003"]


def test_what_is_not_a_regular_file(tmp_path: Path) -> None:
    """Refused at once: a pipe would block for ever, /dev/zero never ends."""
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    cases: dict[Path | str, str] = {
        pipe: "SEG021",
        tmp_path: "SEG021",
        "/dev/zero": "SEG021",
        "/dev/null": "SEG021",
        loop: "SEG020",
        tmp_path / "absent.yaml": "SEG020",
        tmp_path / "a" / "b.yaml": "SEG020",
        tmp_path / ("x" * 300): "SEG020",
    }
    for outcome, code in zip(outcomes([*cases]), cases.values(), strict=True):
        assert_inert(outcome)
        assert outcome["codes"] == [code], outcome
        assert outcome["status"] == 1


def test_known_bad_reader_is_caught(tmp_path: Path) -> None:
    """The harness itself: a reader that recurses, hangs or eats memory must not pass it."""
    sabotage = {
        "while True: pass": -9,  # killed for its CPU time
        "bytearray(1 << 30)": 70,  # MemoryError, reported as a bug
        "raise RecursionError": 70,
        "import os; os.abort()": -6,
    }
    spec = tmp_path / "a.yaml"
    spec.write_text("a: 1\n")
    for code, status in sabotage.items():
        script = (
            f"import runpy, sys, segc.read.yaml as y\n"
            f"def parse(*a, **k):\n exec({code!r})\n"
            f"y.parse = parse\nsys.argv = ['run', {str(spec)!r}]\n"
            f"runpy.run_path({str(RUN)!r}, run_name='__main__')\n"
        )
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=60
        )
        outcome = json.loads(done.stdout)
        assert outcome["status"] == status, (code, outcome)
        with pytest.raises(AssertionError):
            assert_inert(outcome)
