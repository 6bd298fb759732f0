"""Builds replace all files of a network or none, and never lose what segc did not write."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segc import publish
from segc.diag import Fail

OLD = {"model.py": "old model\n", "train.py": "old train\n", "gone.py": "old\n"}
NEW = {"model.py": "new model\n", "train.py": "new train\n", "added.py": "new\n"}


def put(target: Path, files: dict[str, str], force: bool = False) -> bool:
    with publish.claim(target) as out:
        return out.write(files, force=force)


def contents(directory: Path) -> dict[str, str]:
    return {
        p.name: p.read_text() for p in directory.iterdir() if p.is_file() and p.name != ".segc.json"
    }


def beside(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir() if p.name != target.name)


def refused(target: Path, files: dict[str, str], force: bool = False) -> Fail:
    with pytest.raises(Fail) as caught:
        put(target, files, force)
    return caught.value


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "generated" / "net"


def test_writes_and_replaces_every_file(target: Path) -> None:
    assert put(target, OLD)
    assert contents(target) == OLD
    assert put(target, NEW)
    assert contents(target) == NEW, "a file no longer built is removed"
    assert beside(target) == []


def test_equal_output_is_not_touched(target: Path) -> None:
    put(target, OLD)
    before = (target / "model.py").stat()
    assert not put(target, OLD)
    after = (target / "model.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_manifest_bytes_depend_on_the_files_only(target: Path, tmp_path: Path) -> None:
    put(target, OLD)
    put(tmp_path / "other", dict(reversed(OLD.items())))
    first = (target / ".segc.json").read_bytes()
    assert first == (tmp_path / "other" / ".segc.json").read_bytes()
    assert sorted(json.loads(first)["sha256"]) == sorted(OLD)


def test_modes_are_kept(target: Path) -> None:
    put(target, OLD)
    (target / "train.py").chmod(0o750)
    target.chmod(0o711)
    put(target, NEW)
    assert (target / "train.py").stat().st_mode & 0o777 == 0o750
    assert target.stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize(
    ("name", "why"),
    [("notes.txt", "not written by segc"), ("model.py", "edited since")],
)
def test_foreign_and_edited_files_stop_the_build(target: Path, name: str, why: str) -> None:
    put(target, OLD)
    (target / name).write_text("mine\n")
    before = contents(target)
    fault = refused(target, NEW)
    assert fault.exit == 1
    assert fault.diagnostics[0].code == "SEG081"
    assert name in fault.diagnostics[0].message
    assert why in fault.diagnostics[0].message
    assert contents(target) == before


def test_a_directory_without_manifest_is_foreign(target: Path) -> None:
    target.mkdir(parents=True)
    (target / "main.c").write_text("mine\n")
    assert refused(target, NEW).diagnostics[0].code == "SEG081"
    assert contents(target) == {"main.c": "mine\n"}


def test_files_that_already_hold_the_result_are_adopted(target: Path) -> None:
    target.mkdir(parents=True)
    for name, text in NEW.items():
        (target / name).write_text(text)
    assert put(target, NEW), "the manifest was missing"
    assert not put(target, NEW)


def test_force_replaces_edited_files_and_keeps_the_others(target: Path) -> None:
    put(target, OLD)
    (target / "model.py").write_text("mine\n")
    (target / "notes.txt").write_text("keep\n")
    put(target, NEW, force=True)
    assert contents(target) == {**NEW, "notes.txt": "keep\n"}


def test_directories_of_others_are_carried_over(target: Path) -> None:
    put(target, OLD)
    (target / "runs" / "a").mkdir(parents=True)
    (target / "runs" / "a" / "last.pt").write_text("weights")
    (target / "__pycache__").mkdir()
    (target / "__pycache__" / "model.pyc").write_text("x")
    put(target, NEW)
    assert (target / "runs" / "a" / "last.pt").read_text() == "weights"
    assert not (target / "__pycache__").exists(), "stale bytecode goes"


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_in_the_place_of_a_file_is_never_removed(target: Path, force: bool) -> None:
    (target / "model.py").mkdir(parents=True)
    (target / "model.py" / "x").write_text("mine")
    assert "is a directory" in refused(target, NEW, force).diagnostics[0].message
    assert (target / "model.py" / "x").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_output_that_is_no_directory(target: Path, tmp_path: Path, kind: str, force: bool) -> None:
    target.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(elsewhere)
    if kind == "link":
        elsewhere.mkdir()
    fault = refused(target, NEW, force)
    assert (fault.exit, fault.diagnostics[0].code) == (1, "SEG082")
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


def test_links_in_the_directory_are_not_written_through(target: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    put(target, OLD)
    (target / "model.py").unlink()
    (target / "model.py").symlink_to(precious)
    assert "not a regular file" in refused(target, NEW).diagnostics[0].message
    put(target, NEW, force=True)
    assert precious.read_text() == "keep"
    assert not (target / "model.py").is_symlink()
    assert contents(target) == NEW


def test_second_build_at_the_same_time_exits_3(target: Path) -> None:
    with publish.claim(target):
        fault = refused(target, NEW)
    assert (fault.exit, fault.diagnostics[0].code) == (3, "SEG084")
    assert put(target, NEW), "the lock is gone with its holder"
    assert beside(target) == []


def test_builds_into_neighbours_do_not_wait(target: Path) -> None:
    with publish.claim(target), publish.claim(target.with_name("other")) as out:
        assert out.write(NEW)


def test_corrupt_manifest_protects_everything(target: Path) -> None:
    put(target, OLD)
    for text in ("", "[]", '{"sha256": 3}', "[" * 100_000):
        (target / ".segc.json").write_text(text)
        assert "model.py" in refused(target, NEW).diagnostics[0].message


def test_differences_names_what_a_build_would_change(target: Path) -> None:
    put(target, OLD)
    assert publish.differences(target, OLD) == []
    found = publish.differences(target, NEW)
    assert found == [
        (".segc.json", "differs"),
        ("added.py", "missing"),
        ("gone.py", "stale"),
        ("model.py", "differs"),
        ("train.py", "differs"),
    ]


def test_full_disk_changes_nothing(target: Path) -> None:
    """A file size limit makes the kernel refuse in the middle of a write, as a full disk does."""
    put(target, OLD)
    program = f"""
import resource, sys
from pathlib import Path
from segc import publish
from segc.diag import Fail
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with publish.claim(Path({str(target)!r})) as out:
        out.write({{"model.py": "x" * 50_000}})
except Fail as fault:
    print(fault.diagnostics[0].message)
    sys.exit(fault.exit)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert os.strerror(errno.EFBIG) in done.stdout
    assert contents(target) == OLD
    assert beside(target) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    assert refused(Path("/proc/self/segc-out/net"), NEW).exit == 3


def test_without_exchange_two_renames_do(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_exchange", lambda a, b: False)
    put(target, OLD)
    (target / "runs").mkdir()
    put(target, NEW)
    assert contents(target) == NEW
    assert (target / "runs").is_dir()
    assert beside(target) == []


@pytest.mark.parametrize("step", ["_sync", "_exchange", "_clear", "_write"])
def test_a_refusal_at_any_step_leaves_old_or_new(
    target: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(publish, step)
    for fail_at in range(6):
        put(target, OLD, force=True)
        calls = iter(range(100))

        def broken(*args: object, at: int = fail_at, n: object = calls) -> object:
            if next(n) == at:  # type: ignore[call-overload]
                raise OSError(errno.EIO, "broken")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(publish, step, broken)
            try:
                put(target, NEW)
            except Fail as fault:
                assert fault.exit == 3
        assert contents(target) in (OLD, NEW)


def test_recovers_from_a_kill_between_two_renames(target: Path) -> None:
    put(target, OLD)
    target.rename(target.with_name(".net.segc-old"))
    with publish.claim(target):
        assert contents(target) == OLD


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_builds_leave_old_or_new_whole(
    target: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    """SIGKILL at random moments: the reader sees one build; the next run clears the rest."""
    if not exchange:
        monkeypatch.setattr(publish, "_exchange", lambda a, b: False)
    builds = [{f"f{i}.py": f"{tag} {i}\n" * 50 for i in range(12)} for tag in ("a", "b")]
    put(target, builds[0])
    (target / "runs").mkdir()
    (target / "runs" / "log").write_text("mine")
    rng = random.Random(0)
    killed = 0
    for round_ in range(60):
        child = os.fork()
        if child == 0:
            try:
                for turn in range(100):
                    put(target, builds[(round_ + turn) % 2])
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        if exchange:
            assert contents(target) in builds
        with publish.claim(target):
            assert contents(target) in builds
            assert (target / "runs" / "log").read_text() == "mine"
        assert beside(target) == []
    assert killed > 50


def test_kill_loop_would_catch_writing_in_place(target: Path) -> None:
    """The control of the test above: a writer without staging is caught torn."""
    builds = [{f"f{i}.py": f"{tag} {i}\n" * 50 for i in range(12)} for tag in ("a", "b")]
    target.mkdir(parents=True)
    rng = random.Random(1)
    torn = 0
    for _ in range(40):
        child = os.fork()
        if child == 0:
            for turn in range(10_000):
                for name, text in builds[turn % 2].items():
                    (target / name).write_text(text)
            os._exit(0)
        time.sleep(rng.uniform(0.005, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        torn += contents(target) not in builds
    assert torn > 3
