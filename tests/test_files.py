"""Block files: where they may lie, how often they are read, what may be in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from spec_kit import names, spec

from segc.diag import Report
from segc.read import read
from segc.source import Source


# --- files -------------------------------------------------------------------------------------
def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "net.yaml"


def load(path: Path, **params: Any) -> tuple[Any, list[Any], dict[str, Source]]:
    report, sources = Report(), {}
    graph = read(Source.open(path), params, report, sources=sources)
    return graph, report.diagnostics, sources


def uses(files: str, layers: str = "a: {block: b}") -> str:
    return spec(layers, before=f"use: [{files}]\n")


LIBRARY = "segc: 1\nblocks: {b: {layers: {r: relu}}}\n"


def test_blocks_of_other_files(tmp_path: Path) -> None:
    net = write(tmp_path, net=uses("blocks/b.yaml"), blocks__b=LIBRARY)
    graph, found, sources = load(net)
    assert found == [] and names(graph) == ["a.r"]
    assert [Path(f).name for f in sources] == ["net.yaml", "b.yaml"]
    assert graph.by_name["a.r"].loc.file.endswith("blocks/b.yaml")


def test_block_files_may_use_others(tmp_path: Path) -> None:
    outer = "segc: 1\nuse: [c.yaml]\nblocks: {b: {layers: {l: {block: c}}}}\n"
    net = write(tmp_path, net=uses("blocks/b.yaml"), blocks__b=outer,
                blocks__c="segc: 1\nblocks: {c: {layers: {r: relu}}}\n")  # fmt: skip
    graph, found, _ = load(net)
    assert found == [] and names(graph) == ["a.l.r"]


def test_a_file_used_twice_is_read_once(tmp_path: Path) -> None:
    shared = "segc: 1\nuse: [c.yaml]\nblocks: {%s: {layers: {l: {block: c}}}}\n"
    common = "segc: 1\nblocks: {c: {layers: {r: relu}}}\n"
    user = uses("b.yaml, d.yaml, b.yaml", "a: {block: b}\ne: {block: d}")
    net = write(tmp_path, net=user, b=shared % "b", d=shared % "d", c=common)
    graph, found, sources = load(net)
    assert found == [] and names(graph) == ["a.l.r", "e.l.r"]
    assert len(sources) == 4


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("absent.yaml", "SEG020"), ("../net.yaml", "SEG022"), ("/etc/passwd", "SEG022"),
        ("./b.yaml", "SEG022"), ("blocks", "SEG021"), ("b.yaml/c", "SEG020"),
        ("link.yaml", "SEG022"), ("hard.yaml", "SEG022"), ("pipe.yaml", "SEG021"),
    ],
)  # fmt: skip
def test_files_that_may_not_be_used(tmp_path: Path, file: str, code: str) -> None:
    net = write(tmp_path, net=uses(file), b=LIBRARY, blocks__c=LIBRARY, secret="secret: 1\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    os.link(tmp_path / "secret.yaml", tmp_path / "hard.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    _, found, _ = load(net)
    assert found[0].code == code
    assert found[0].loc.line == 3 and Path(found[0].loc.file).name == "net.yaml"
    assert not any("secret" in d.message for d in found)


def test_files_that_include_each_other(tmp_path: Path) -> None:
    net = write(
        tmp_path, net=uses("b.yaml"), b="segc: 1\nuse: [c.yaml]\n", c="segc: 1\nuse: [b.yaml]\n"
    )
    _, found, _ = load(net)
    assert [d.code for d in found if d.code == "SEG312"] == ["SEG312"]
    assert "b.yaml -> " in found[0].message and found[0].message.endswith("b.yaml")


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    net = write(tmp_path, net=spec("a: relu", before="use: [net.yaml]\n"))
    _, found, _ = load(net)
    assert [d.code for d in found] == ["SEG312"]


def test_files_too_deep(tmp_path: Path) -> None:
    files = {f"f{i}": f"segc: 1\nuse: [f{i + 1}.yaml]\n" for i in range(10)}
    net = write(tmp_path, net=uses("f0.yaml", "a: relu"), f10="segc: 1\n", **files)
    _, found, _ = load(net)
    assert [d.code for d in found] == ["SEG312"]
    assert "more than 8 deep" in found[0].message


@pytest.mark.parametrize(
    ("library", "code", "words"),
    [
        ("segc: 1\nlayers: {a: relu}\n", "SEG106", "unknown key `layers` in a block file"),
        ("segc: 2\nblocks: {b: {layers: {r: relu}}}\n", "SEG107", "language version"),
        ("segc: 1\nblocks: [b]\n", "SEG103", "`blocks` must be a mapping"),
        ("segc: 1\nuse: b\n", "SEG103", "`use` needs a list of files"),
        ("segc: 1\nuse: [3]\n", "SEG103", "needs the name of a file, got `3`"),
        ("a: [\n", "SEG007", "not closed"),
    ],
)
def test_block_file_at_fault(tmp_path: Path, library: str, code: str, words: str) -> None:
    """The fault lies in the block file, and the message says so."""
    net = write(tmp_path, net=uses("lib.yaml", "a: relu"), lib=library)
    _, found, _ = load(net)
    assert found[0].code == code and words in found[0].message
    assert Path(found[0].loc.file).name == "lib.yaml"


def test_two_blocks_of_one_name(tmp_path: Path) -> None:
    net = write(tmp_path, net=uses("b.yaml, c.yaml"), b=LIBRARY, c=LIBRARY)
    _, found, _ = load(net)
    assert [d.code for d in found] == ["SEG310"] and len(found[0].notes) == 2
    own = uses("b.yaml") + "blocks: {b: {layers: {r: relu}}}\n"
    _, found, _ = load(write(tmp_path, net=own, b=LIBRARY))
    assert [d.code for d in found] == ["SEG310"]


def test_included_files_have_a_common_limit(tmp_path: Path) -> None:
    big = "segc: 1\n" + ("# " + "x" * 97 + "\n") * 10_000
    files = {f"f{i}": big for i in range(6)}
    net = write(tmp_path, net=uses(", ".join(f"f{i}.yaml" for i in range(6)), "a: relu"), **files)
    _, found, _ = load(net)
    assert {d.code for d in found} == {"SEG003"} and "4 MiB" in found[0].message
