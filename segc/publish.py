"""Write the files of one network so that a reader finds the old ones or the new ones, whole.

The new files are staged in a sibling directory on the same file system, synced, and swapped with
the old directory in one system call (`renameat2` with RENAME_EXCHANGE; where the kernel or the
file system lacks it, by two renames). What a killed run leaves behind is cleared by the next.

A manifest (`.segc.json`: sha256 of every file) tells segc's files from others: a file that is
not in it, or that was edited since, stops the build. Directories segc did not make (`runs/`) are
carried over untouched.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segc.diag import Diagnostic, Fail

MANIFEST = ".segc.json"
_DIRECTORY = "is a directory"
_CACHE = "__pycache__"  # made by running the emitted scripts: never anybody's work


@dataclass(frozen=True, slots=True)
class Output:
    """An output directory this process holds the lock of; `write` replaces its files."""

    target: Path

    def write(self, files: Mapping[str, str], *, force: bool = False) -> bool:
        """Replace the directory's files by `files` (name -> text); False if they are there already.

        Raises Fail: exit 1 if it holds files that are not segc's (unless `force`), exit 3 if the
        machine refuses; then nothing has changed.
        """
        clash = [c for c in foreign(self.target, files) if not force or c[1] == _DIRECTORY]
        if clash:
            raise Fail(_not_ours(self.target, clash))
        if not differences(self.target, files):
            return False
        with _machine(self.target):
            _stage(self.target, files)
            _swap(self.target)
        with contextlib.suppress(OSError):  # the new files stand; the next build clears the rest
            _clear(self.target)
        return True


@contextlib.contextmanager
def claim(target: Path) -> Iterator[Output]:
    """Hold the output directory `target` against other builds and clear what killed ones left.

    Raises Fail: exit 3 if another process holds it or the machine refuses, exit 1 if `target` is
    a symbolic link or not a directory.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise Fail(_not_a_directory(target))
    with _machine(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target):
        with _machine(target):
            _recover(target)
        yield Output(target)


def differences(target: Path, files: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is on disk against what should be: (name, "missing" | "differs" | "stale"), sorted.

    "stale" is a file the manifest lists that a build no longer writes.
    """
    wanted = _with_manifest(files)
    found = [(name, _compare(target / name, text)) for name, text in wanted.items()]
    stale = [(name, "stale") for name in _manifest(target) if name not in wanted]
    present = [(name, state) for name, state in found if state]
    return sorted(present + [(n, s) for n, s in stale if (target / n).exists()])


def foreign(target: Path, files: Mapping[str, str]) -> list[tuple[str, str]]:
    """What in `target` a build must not replace unasked: (name, why), sorted.

    A file outside the manifest, one edited since, or a directory or link in the place of a file.
    Files that already hold what the build would write are nobody's loss.
    """
    known = _manifest(target)
    wanted = _with_manifest(files)
    found = []
    for entry in sorted(_entries(target)):
        why = _objection(target / entry, entry, known, wanted)
        if why:
            found.append((entry, why))
    return found


def _objection(
    path: Path, name: str, known: Mapping[str, str], wanted: Mapping[str, str]
) -> str | None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        return _DIRECTORY if name in wanted else None
    if not stat.S_ISREG(mode):
        return "is not a regular file"
    if name == MANIFEST or (name in wanted and not _compare(path, wanted[name])):
        return None
    if name not in known:
        return "was not written by segc"
    return None if _digest(path.read_bytes()) == known[name] else "was edited since segc wrote it"


# --- the steps of a build -----------------------------------------------------------------------
def _stage(target: Path, files: Mapping[str, str]) -> None:
    """Write every file into `.name.segc-new`, synced; the manifest first, to know leftovers by."""
    stage = _beside(target, "new")
    stage.mkdir()
    try:
        if target.exists():
            stage.chmod(stat.S_IMODE(target.stat().st_mode))
        everything = _with_manifest(files)
        for name in (MANIFEST, *sorted(files)):
            _write(stage / name, everything[name], target / name)
        _sync(stage)
    except OSError:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def _write(path: Path, text: str, old: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(handle, "wb") as out:
        out.write(text.encode("utf-8"))
        out.flush()
        if old.is_file() and not old.is_symlink():
            os.fchmod(handle, stat.S_IMODE(old.stat().st_mode))
        os.fsync(handle)


def _swap(target: Path) -> None:
    """Put the staged directory in the place of `target`; the old one ends beside it."""
    stage, old = _beside(target, "new"), _beside(target, "old")
    if not target.exists():
        os.rename(stage, target)
    elif not _exchange(stage, target):
        os.rename(target, old)
        try:
            os.rename(stage, target)
        except OSError:
            os.rename(old, target)
            raise
    _sync(target.parent)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two directories in one step (Linux 3.15+); False where that does not exist."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if libc.renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(b))


def _recover(target: Path) -> None:
    """Undo a half-done swap of a killed run, then clear its leftovers."""
    old = _beside(target, "old")
    if old.is_dir() and not target.exists():
        os.rename(old, target)
    _clear(target)


def _clear(target: Path) -> None:
    """Remove the directories beside `target`, once what is not segc's has moved into it."""
    for leftover in (_beside(target, "new"), _beside(target, "old")):
        if not leftover.is_dir() or leftover.is_symlink():
            continue
        ours = _manifest(leftover)
        for name in sorted(_entries(leftover)):
            if name != MANIFEST and name not in ours and not os.path.lexists(target / name):
                target.mkdir(exist_ok=True)
                os.rename(leftover / name, target / name)
        shutil.rmtree(leftover)


# --- lock, names, manifest ----------------------------------------------------------------------
@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold `.name.segc-lock`; the kernel lets go of it if this process dies."""
    try:
        import fcntl
    except ImportError:  # no flock on this system: builds there must not overlap
        yield
        return
    path = _beside(target, "lock")
    with _machine(target):
        handle = _open_lock(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Fail(_busy(target), exit=3) from None
        if not _same_file(handle, path):  # its holder removed it between our open and our lock
            raise Fail(_busy(target), exit=3)
        try:
            yield
        finally:  # while it is still locked, so nobody else's lock is removed
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _beside(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.segc-{role}"


def _with_manifest(files: Mapping[str, str]) -> dict[str, str]:
    sums = {name: _digest(files[name].encode("utf-8")) for name in sorted(files)}
    text = json.dumps({"written_by": "segc", "sha256": sums}, indent=1) + "\n"
    return {MANIFEST: text, **files}


def _manifest(directory: Path) -> dict[str, str]:
    """The checksums of the files segc wrote into `directory`; empty if there is no manifest."""
    try:
        sums = json.loads((directory / MANIFEST).read_text("utf-8"))["sha256"]
        return {str(name): str(value) for name, value in sums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _entries(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return [name for name in os.listdir(directory) if name != _CACHE]


def _compare(path: Path, text: str) -> str | None:
    """None if `path` is a regular file that holds exactly `text`."""
    if path.is_symlink() or not path.is_file():
        return "missing" if not os.path.lexists(path) else "differs"
    return None if path.read_bytes() == text.encode("utf-8") else "differs"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- what can go wrong --------------------------------------------------------------------------
@contextlib.contextmanager
def _machine(target: Path) -> Iterator[None]:
    """Turn a refusal of the machine into exit 3, the output directory being what it was."""
    try:
        yield
    except OSError as error:
        raise Fail(_refused(target, error), exit=3) from error


def _refused(target: Path, error: OSError) -> Diagnostic:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Diagnostic(
        "SEG083",
        f"cannot write {target.as_posix()}: {reason}; nothing was changed there",
        hint="free some space, or choose another directory with -o",
    )


def _busy(target: Path) -> Diagnostic:
    return Diagnostic(
        "SEG084",
        f"another build is writing {target.as_posix()}",
        hint="wait for it to end, or choose another directory with -o",
    )


def _not_a_directory(target: Path) -> Diagnostic:
    what = "a symbolic link" if target.is_symlink() else "not a directory"
    return Diagnostic(
        "SEG082",
        f"{target.as_posix()} is {what}: segc writes into a directory of its own",
        hint="remove it, or choose another directory with -o",
    )


def _not_ours(target: Path, clash: list[tuple[str, str]]) -> Diagnostic:
    shown = "; ".join(f"{name} {why}" for name, why in clash[:5])
    more = f"; and {len(clash) - 5} more" if len(clash) > 5 else ""
    return Diagnostic(
        "SEG081",
        f"{target.as_posix()} holds files a build would lose: {shown}{more}",
        hint="move them elsewhere, or replace them with --force",
    )
