"""Diagnostics: what is wrong, where, and the way out. `diag_format` prints them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segc.loc import Loc

WORD_LIMIT = 100  # characters of a word that suggestions are sought for
CROWD = 20  # diagnostics after which no more suggestions are sought
COMPARED = 200  # candidates a word is compared with closely
LISTED = 10  # names a hint enumerates


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that matters, or a remark without a place."""

    loc: Loc | None
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault. `hint` is the way out; `severity` is "error" or "warning"."""

    code: str
    message: str
    loc: Loc | None = None
    hint: str | None = None
    notes: tuple[Note, ...] = ()
    severity: str = "error"


class Fail(Exception):
    """The only exception for faults of the user's input or machine; the CLI prints it.

    `exit` is the exit status: 1 the input is at fault, 3 the machine refused.
    """

    def __init__(self, *diagnostics: Diagnostic, exit: int = 1) -> None:
        super().__init__("; ".join(f"{d.code} {d.message}" for d in diagnostics[:3]))
        self.diagnostics = diagnostics
        self.exit = exit


class Report:
    """Collects the diagnostics of one run, each once: a block used twice has its fault once."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.failed = False
        self._seen: set[Diagnostic] = set()

    def add(self, diagnostic: Diagnostic) -> None:
        """Take one diagnostic; an error makes the report failed."""
        self.failed = self.failed or diagnostic.severity == "error"
        if diagnostic not in self._seen:
            self._seen.add(diagnostic)
            self.diagnostics.append(diagnostic)

    @property
    def crowded(self) -> bool:
        """True once there are so many diagnostics that nobody reads the hints of further ones."""
        return len(self.diagnostics) >= CROWD

    def suggest(self, word: str, candidates: Iterable[str], otherwise: str = "") -> str | None:
        """A hint: "did you mean `stride`?", else `otherwise` and the candidates it introduces."""
        if self.crowded:
            return None
        names = list(candidates)
        return did_you_mean(word, names) or (f"{otherwise} {listing(names)}" if otherwise else None)

    def error(
        self,
        code: str,
        message: str,
        loc: Loc | None = None,
        *,
        hint: str | None = None,
        notes: Iterable[Note] = (),
    ) -> None:
        """Record a fault that stops the build."""
        self.add(Diagnostic(code, message, loc, hint, tuple(notes)))

    def warning(
        self,
        code: str,
        message: str,
        loc: Loc | None = None,
        *,
        hint: str | None = None,
        notes: Iterable[Note] = (),
    ) -> None:
        """Record something that does not stop the build."""
        self.add(Diagnostic(code, message, loc, hint, tuple(notes), "warning"))

    def raise_if_failed(self) -> None:
        """Raise `Fail` with everything collected if any of it is an error."""
        if self.failed:
            raise Fail(*in_order(self.diagnostics))


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By file (in order of first mention), then line and column; placeless ones first; stable."""
    found = list(diagnostics)
    rank: dict[str, int] = {}
    for d in found:
        if d.loc is not None:
            rank.setdefault(d.loc.file, len(rank))

    def key(d: Diagnostic) -> tuple[int, int, int]:
        if d.loc is None:
            return (-1, 0, 0)
        return (rank[d.loc.file], d.loc.line, d.loc.column)

    return sorted(dict.fromkeys(found), key=key)


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, if one is near enough to be a slip of the pen."""
    from difflib import get_close_matches  # 9 ms, only needed on the way to an error

    if len(word) > WORD_LIMIT:
        return None
    names = sorted({c for c in candidates if c != word})
    if len(names) > COMPARED:
        names = sorted(sorted(names, key=lambda name: -ends_alike(word, name))[:COMPARED])
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(name.lower().replace("-", "_"), name)
    near = get_close_matches(word.lower().replace("-", "_"), list(by_folded), n=1, cutoff=0.65)
    return by_folded[near[0]] if near else None


def ends_alike(a: str, b: str) -> int:
    """Characters two words share at their start and at their end."""
    most = min(len(a), len(b))
    start = next((n for n in range(most) if a[n] != b[n]), most)
    most -= start
    return start + next((n for n in range(most) if a[-1 - n] != b[-1 - n]), most)


def listing(names: Iterable[str]) -> str:
    """`a, b, c`, shortened where there are many; "none" where there are none."""
    found = list(names)
    shown = ", ".join(found[:LISTED])
    return (shown or "none") + (f" and {len(found) - LISTED:,} more" if len(found) > LISTED else "")


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """A hint such as "did you mean `kernel_size`?", or None if nothing is near."""
    near = closest(word, candidates)
    return None if near is None else f"did you mean `{near}`?"
