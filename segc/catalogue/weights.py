"""Weights (SEG5xx)."""

from __future__ import annotations

from segc.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {}
