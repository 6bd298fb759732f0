"""The shape of a catalogue entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """The manual page of one diagnostic code.

    `text` says what it means and why it is refused, `bad` is a spec (or fragment) that triggers
    it, `good` the same after the fix. Either may be empty where no spec text can show it.
    """

    title: str
    text: str
    bad: str = ""
    good: str = ""
