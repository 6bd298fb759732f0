"""Spec text with its name: opening it safely, and quoting a place in it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import NoReturn

from segc.diag import Diagnostic, Fail
from segc.loc import Loc as Loc

SIZE_LIMIT = 1 << 20  # bytes of one spec file
EXCERPT_WIDTH = 100  # characters of a source line shown around a fault
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_DIR = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True)
class Source:
    """The text of one spec file.

    file: the name as the user typed it, with `/`. text: decoded, without a byte order mark.
    bom: whether the file began with one. revision: the git revision it was read at, or None.
    """

    file: str
    text: str
    bom: bool = False
    revision: str | None = None

    @staticmethod
    def from_text(text: str, file: str = "<text>") -> Source:
        """A source that lives in memory."""
        return Source(file, text)

    @staticmethod
    def open(path: str | os.PathLike[str], limit: int = SIZE_LIMIT) -> Source:
        """Read a path, `REV:path` (a version in git) or `-` (standard input).

        Raises Fail: exit 1 if the file is at fault, 3 if the machine refuses it.
        """
        name = os.fspath(path)
        if name == "-":
            return _decode("-", _read_stdin(limit), limit)
        if ":" in name and not os.path.lexists(_checked_name(name)):
            return Source.at_revision(name, limit)
        return _decode(_posix(name), _read_path(name, limit), limit)

    @staticmethod
    def at_revision(spec: str, limit: int = SIZE_LIMIT) -> Source:
        """Read `REV:path` from git, the path being relative to the working directory.

        Raises Fail as `open` does.
        """
        revision, _, path = _checked_name(spec).partition(":")
        if not revision or revision.startswith("-") or not path:
            _refuse("SEG025", spec, f"`{spec}` is neither a file nor REV:path", _AS_REVISION)
        data = _git_blob(spec, revision, path, limit)
        return _decode(_posix(spec), data, limit, revision)

    @staticmethod
    def open_inside(root: str | os.PathLike[str], relative: str, limit: int = SIZE_LIMIT) -> Source:
        """Read the file `relative`, which must lie inside the directory `root`.

        Absolute names, `..`, links (symbolic and hard) and anything but a regular file are
        refused; the check and the read use the same descriptor, so nothing can be swapped between.
        """
        name = _posix(os.path.join(os.fspath(root), relative)) if relative else relative
        return _decode(name, _read_inside(os.fspath(root) or ".", relative, name, limit), limit)

    def open_beside(self, relative: str, limit: int = SIZE_LIMIT) -> Source:
        """Read a file inside this one's directory, at the same git revision."""
        if self.revision is None:  # standard input and text in memory: beside the user
            return Source.open_inside(os.path.dirname(self.file), relative, limit)
        _inner_parts(relative, relative)
        path = self.file.partition(":")[2]
        inner = str(PurePosixPath(path).parent / relative)
        return Source.at_revision(f"{self.revision}:{inner}", limit)

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends. Only `\\n` and `\\r\\n` end a line."""
        return [line.removesuffix("\r") for line in self.text.split("\n")]

    def excerpt(self, loc: Loc, ascii_only: bool = False) -> str:
        """The source line and a line of carets under the stretch, without control characters."""
        line = self.lines[loc.line - 1] if 1 <= loc.line <= len(self.lines) else ""
        if not line:
            return ""
        start = min(loc.column - 1, len(line))
        end = max(start + 1, min(loc.end_column - 1, len(line)))
        left = max(0, start - EXCERPT_WIDTH // 2) if len(line) > EXCERPT_WIDTH else 0
        right = left + EXCERPT_WIDTH
        head = "..." if left else ""
        before = head + visible(line[left:start], ascii_only)
        under = visible(line[start : min(end, right)], ascii_only)
        after = visible(line[min(end, right) : right], ascii_only)
        tail = "..." if right < len(line) else ""
        carets = " " * _columns(before) + "^" * max(1, _columns(under))
        return f"{before}{under}{after}{tail}\n{carets}"


def visible(text: str, ascii_only: bool = False) -> str:
    """`text` with everything that could act on a terminal written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _shows(c, ascii_only) else _escape(c) for c in text)


def _shows(char: str, ascii_only: bool) -> bool:
    if char.isascii() or not ascii_only:
        return char.isprintable()
    return False


def _escape(char: str) -> str:
    if char in "\t\n\r":
        return {"\t": " ", "\n": "\\n", "\r": "\\r"}[char]
    if char.isascii():
        return f"\\x{ord(char):02x}"
    return char.encode("ascii", "backslashreplace").decode()


def _columns(text: str) -> int:
    """Width on a terminal: wide East Asian characters take two columns, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


_AS_REVISION = "a version in git is written REV:path, e.g. HEAD~1:specs/unet.yaml"


def _posix(name: str) -> str:
    return name.replace(os.sep, "/")


def _refuse(code: str, file: str, message: str, hint: str | None = None, exit: int = 1) -> NoReturn:
    raise Fail(Diagnostic(code, message, Loc(file, 1, 1, 1), hint), exit=exit)


def _checked_name(name: str) -> str:
    if not name or "\0" in name:
        _refuse("SEG020", name, "not a possible file name")
    return name


def _machine(error: OSError, name: str) -> NoReturn:
    """Say what the operating system said, and whose fault it is."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        _refuse("SEG020", name, f"cannot open: {_reason(error)}")
    if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):
        _refuse("SEG021", name, "not a regular file")
    _refuse("SEG023", name, f"cannot read: {_reason(error)}", exit=3)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "unknown reason"


def _read_stdin(limit: int) -> bytes:
    if sys.stdin is None:
        _refuse("SEG023", "-", "standard input is closed", exit=3)
    try:
        return sys.stdin.buffer.read(limit + 1)
    except OSError as error:
        _machine(error, "-")


def _read_path(name: str, limit: int) -> bytes:
    try:
        fd = os.open(_checked_name(name), _OPEN)
    except OSError as error:
        _machine(error, name)
    except UnicodeError:
        _refuse("SEG020", name, "not a possible file name")
    return _read_fd(fd, name, limit)


def _read_fd(fd: int, name: str, limit: int, single_link: bool = False) -> bytes:
    """Read at most `limit` + 1 bytes of a regular file, and close it."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            _refuse("SEG021", name, "not a regular file", "name a file of YAML text, or `-`")
        if single_link and status.st_nlink > 1:
            _refuse("SEG022", name, "an included file may not be a hard link", _INSIDE)
        chunks, size = [], 0
        while size <= limit and (chunk := os.read(fd, limit + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)
    except OSError as error:
        _machine(error, name)
    finally:
        os.close(fd)


_INSIDE = "name a plain file inside the spec's directory, such as blocks/vgg16.yaml"


def _inner_parts(relative: str, name: str) -> list[str]:
    parts = _checked_name(relative).split("/")
    if "\\" in relative or any(part in ("", ".", "..") for part in parts):
        _refuse("SEG022", name, f"`{relative}` is not a name inside the spec's directory", _INSIDE)
    return parts


def _read_inside(root: str, relative: str, name: str, limit: int) -> bytes:
    """Walk down from `root` one directory at a time, following no link."""
    *folders, last = _inner_parts(relative, name)
    here = -1
    try:
        here = os.open(root, _DIR)
        for folder in folders:
            below = os.open(folder, _DIR | _NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        fd = os.open(last, _OPEN | _NOFOLLOW, dir_fd=here)
    except OSError as error:
        if here >= 0 and _is_link(here, error):
            _refuse("SEG022", name, f"`{relative}` goes through a symbolic link", _INSIDE)
        _machine(error, name)
    except UnicodeError:
        _refuse("SEG020", name, "not a possible file name")
    finally:
        if here >= 0:
            os.close(here)
    return _read_fd(fd, name, limit, single_link=True)


def _is_link(folder: int, error: OSError) -> bool:
    """O_NOFOLLOW reports a link as ELOOP, and O_DIRECTORY a link (or a file) as ENOTDIR."""
    if error.errno == errno.ELOOP:
        return True
    if error.errno != errno.ENOTDIR or not isinstance(error.filename, str):
        return False
    try:
        return stat.S_ISLNK(os.stat(error.filename, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _git_blob(spec: str, revision: str, path: str, limit: int) -> bytes:
    """The bytes of `revision:path`: relative to here as other paths, else to the repository."""
    import subprocess  # 3 ms, only needed here

    reason = ""
    for inner in (path if path.startswith("./") else f"./{path}", path):
        command = ["git", "--no-pager", "cat-file", "blob", f"{revision}:{inner}"]
        try:
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            ) as git:
                assert git.stdout is not None and git.stderr is not None
                data = git.stdout.read(limit + 1)
                if len(data) > limit:
                    git.kill()
                    return data
                reason = reason or git.stderr.read(1000).decode("utf-8", "replace")
        except OSError as error:
            _refuse("SEG025", spec, f"cannot run git: {_reason(error)}", exit=3)
        if git.returncode == 0:
            return data
    said = (reason.strip().splitlines() or ["git gave no reason"])[-1].removeprefix("fatal: ")
    _refuse("SEG025", spec, f"no such file or version in git: {said}", _AS_REVISION)


def _decode(file: str, data: bytes, limit: int, revision: str | None = None) -> Source:
    if len(data) > limit:
        _refuse(
            "SEG003",
            file,
            f"larger than {_human(limit)}",
            "split it: shared blocks go into files named under `use`",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse_bytes(file, data, error)
    return Source(file, text.removeprefix("\ufeff"), text.startswith("\ufeff"), revision)


def _human(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size:,} bytes"


def _refuse_bytes(file: str, data: bytes, error: UnicodeDecodeError) -> NoReturn:
    before = data[: error.start]
    line = before.count(b"\n") + 1
    tail = before[before.rfind(b"\n") + 1 :]
    column = len(tail.decode("utf-8", "replace")) + 1
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]
    kind = "; it looks like UTF-16 or UTF-32" if wide else ""
    raise Fail(
        Diagnostic(
            "SEG004",
            f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8{kind}",
            Loc(file, line, column, column + 1),
            "save the file as UTF-8",
        )
    )
