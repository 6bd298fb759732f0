"""Opening files: what may be read, from where, and whose fault it is if not."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from segc.diag import Fail
from segc.source import SIZE_LIMIT, Source


def code(call: Callable[[], Source]) -> tuple[str, int]:
    """The code and exit status of the failure."""
    with pytest.raises(Fail) as failed:
        call()
    (found,) = failed.value.diagnostics
    assert found.loc is not None
    return found.code, failed.value.exit


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec directory with a block file, and a secret beside it."""
    root = tmp_path / "specs"
    (root / "blocks").mkdir(parents=True)
    (root / "net.yaml").write_text("segc: 1\n")
    (root / "blocks" / "vgg.yaml").write_text("segc: 1\nblocks: {}\n")
    (tmp_path / "secret.yaml").write_text("password: hunter2\n")
    return root


def test_text_bom_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\n")
    source = Source.open(path)
    assert (source.text, source.bom, source.file) == ("a: 1\r\nb: 2\n", True, str(path))
    assert source.lines == ["a: 1", "b: 2", ""]
    assert Source.from_text("x").file == "<text>"


def test_only_newlines_end_lines() -> None:
    """`str.splitlines` would also split at these, and every place after them would be wrong."""
    assert len(Source.from_text("a\x0b\x0c\x1c\x85\u2028b\nc").lines) == 2


def test_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * SIZE_LIMIT)
    assert len(Source.open(path).text) == SIZE_LIMIT
    path.write_bytes(b"#" * (SIZE_LIMIT + 1))
    assert code(lambda: Source.open(path)) == ("SEG003", 1)
    assert len(Source.open(path, limit=2 * SIZE_LIMIT).text) == SIZE_LIMIT + 1


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: 1\nb: \xe9\n", (2, 4)),
        ("\u00e4\u00f6: ".encode() + b"\xff", (1, 5)),
        ("a: 1\n".encode("utf-16"), (1, 1)),
        (b"a: \xed\xa0\x80\n", (1, 4)),
    ],
)
def test_not_utf_8_is_placed(tmp_path: Path, data: bytes, place: tuple[int, int]) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(Fail) as failed:
        Source.open(path)
    (found,) = failed.value.diagnostics
    assert found.code == "SEG004" and found.loc is not None
    assert (found.loc.line, found.loc.column) == place


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "no/such/file.yaml", "\udcff\ud800.yaml"])
def test_impossible_names(name: str) -> None:
    assert code(lambda: Source.open(name)) == ("SEG020", 1)


def test_permission_is_the_machines_fault(tmp_path: Path) -> None:
    """In a child without root's rights, as root may read everything."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n")
    path.chmod(0)
    tmp_path.chmod(0o755)
    script = (
        "import os, sys\n"
        "from segc.source import Source\n"
        "from segc.diag import Fail\n"
        "os.getuid() or os.setuid(65534)\n"
        "try:\n Source.open(sys.argv[1])\n"
        "except Fail as fail:\n print(fail.diagnostics[0].code, fail.exit)\n"
    )
    command = [sys.executable, "-c", script, path.name]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60
    )
    assert (done.stdout, done.stderr) == ("SEG023 3\n", "")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    give(b"a: 1\n")
    assert Source.open("-") == Source("-", "a: 1\n")
    give(b"#" * (SIZE_LIMIT + 1))
    assert code(lambda: Source.open("-")) == ("SEG003", 1)
    monkeypatch.setattr(sys, "stdin", None)
    assert code(lambda: Source.open("-")) == ("SEG023", 3)


def test_inside(spec: Path) -> None:
    source = Source.open_inside(spec, "blocks/vgg.yaml")
    assert source.text == "segc: 1\nblocks: {}\n"
    assert source.file == f"{spec}/blocks/vgg.yaml"
    assert Source.open(spec / "net.yaml").open_beside("blocks/vgg.yaml") == source


def test_beside_a_bare_name(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec)
    assert Source.open("net.yaml").open_beside("blocks/vgg.yaml").file == "blocks/vgg.yaml"
    assert Source.from_text("x", "-").open_beside("net.yaml").file == "net.yaml"


@pytest.mark.parametrize(
    "relative",
    [
        "../secret.yaml",
        "blocks/../../secret.yaml",
        "blocks/../net.yaml",
        "/etc/passwd",
        "./net.yaml",
        "blocks//vgg.yaml",
        "blocks/",
        "..",
        ".",
        "blocks\\vgg.yaml",
    ],
)
def test_names_that_could_lead_outside(spec: Path, relative: str) -> None:
    assert code(lambda: Source.open_inside(spec, relative)) == ("SEG022", 1)


def test_links_and_devices_inside(spec: Path) -> None:
    secret = spec.parent / "secret.yaml"
    (spec / "link.yaml").symlink_to(secret)
    (spec / "inner.yaml").symlink_to("net.yaml")
    (spec / "folder").symlink_to(spec.parent)
    (spec / "loop").symlink_to("loop")
    (spec / "prefix").mkdir()
    os.link(secret, spec / "hard.yaml")
    os.mkfifo(spec / "pipe.yaml")
    for relative in ("link.yaml", "inner.yaml", "folder/secret.yaml", "loop", "hard.yaml"):
        assert code(lambda name=relative: Source.open_inside(spec, name)) == ("SEG022", 1), relative
    for relative in ("pipe.yaml", "blocks"):
        assert code(lambda name=relative: Source.open_inside(spec, name)) == ("SEG021", 1), relative
    for relative in ("", "a\0b", "net.yaml/x", "absent.yaml", "absent/x.yaml", "x" * 300):
        assert code(lambda name=relative: Source.open_inside(spec, name)) == ("SEG020", 1), relative


def test_a_directory_with_a_similar_name_is_outside(spec: Path) -> None:
    evil = spec.parent / "specs_evil"
    evil.mkdir()
    (evil / "x.yaml").write_text("a: 1\n")
    assert code(lambda: Source.open_inside(spec, "../specs_evil/x.yaml")) == ("SEG022", 1)


def test_file_swapped_for_a_link_while_it_is_read(spec: Path) -> None:
    """The check and the read use one descriptor: a race never shows the file outside."""
    target, other, stop = spec / "race.yaml", spec / "other", threading.Event()
    target.write_text("a: 1\n")

    def swap() -> None:
        while not stop.is_set():
            for make in (
                lambda: other.symlink_to("../secret.yaml"),
                lambda: other.write_text("a: 1\n"),
            ):
                make()
                os.replace(other, target)

    thread = threading.Thread(target=swap)
    thread.start()
    texts, refused = set(), 0
    try:
        for _ in range(1_000):
            try:
                texts.add(Source.open_inside(spec, "race.yaml").text)
            except Fail:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert texts <= {"a: 1\n", ""}  # "" while the honest file is being written
    assert refused


@pytest.fixture
def repository(spec: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository whose first commit has another text than the second."""
    root = spec.parent
    monkeypatch.chdir(root)

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "specs")
    git("commit", "--quiet", "-m", "one")
    (spec / "net.yaml").write_text("segc: 1\nmodel: Later\n")
    (spec / "blocks" / "vgg.yaml").write_text("later: 1\n")
    git("commit", "--quiet", "-a", "-m", "two")
    return root


def test_revision(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = Source.open("HEAD~1:specs/net.yaml")
    now = Source.open("HEAD:specs/net.yaml")
    assert (then.text, now.text) == ("segc: 1\n", "segc: 1\nmodel: Later\n")
    assert then.file == "HEAD~1:specs/net.yaml"
    assert then.open_beside("blocks/vgg.yaml").text == "segc: 1\nblocks: {}\n"
    assert code(lambda: then.open_beside("../secret.yaml")) == ("SEG022", 1)
    monkeypatch.chdir(repository / "specs")
    assert Source.at_revision("HEAD~1:net.yaml").text == "segc: 1\n"  # relative to here
    assert Source.at_revision("HEAD~1:specs/net.yaml").text == "segc: 1\n"  # as git says it


@pytest.mark.parametrize(
    "name",
    ["HEAD:absent.yaml", "nowhere:specs/net.yaml", "--help:x", ":x", "HEAD:", "HEAD:specs"],
)
def test_what_git_does_not_have(repository: Path, name: str) -> None:
    assert code(lambda: Source.open(name)) == ("SEG025", 1)


def test_a_file_with_a_colon_is_a_file(repository: Path) -> None:
    (repository / "HEAD:x.yaml").write_text("a: 1\n")
    assert Source.open("HEAD:x.yaml").text == "a: 1\n"


def test_large_file_in_git(repository: Path) -> None:
    assert code(lambda: Source.open("HEAD:specs/net.yaml", limit=10)) == ("SEG003", 1)


def test_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert code(lambda: Source.open("HEAD:specs/net.yaml")) == ("SEG025", 3)


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code(lambda: Source.open("HEAD:net.yaml")) == ("SEG025", 1)
