"""The command line: `segc VERB SPEC… [options]`. One module per verb, imported when it is used."""

from __future__ import annotations

from segc.cli.frame import main

__all__ = ["main"]
