"""What operators and blocks can be told: their names, arguments and required arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Note, Report, listing
from segc.op import REGISTRY
from segc.read.spec import LAYER_KEYS, BlockDecl, LayerDecl


class Signatures:
    """Checks a layer as it is written against the operator or block it names."""

    def __init__(self, blocks: Mapping[str, BlockDecl], report: Report) -> None:
        self.blocks, self.report = blocks, report

    def exists(self, decl: LayerDecl) -> bool:
        """Report an operator or block nobody knows."""
        if decl.kind == "op" and decl.target not in REGISTRY:
            self._unknown_operator(decl)
            return False
        if decl.kind == "block" and decl.target not in self.blocks:
            hint = self.report.suggest(decl.target, self.blocks, "blocks here:")
            message = f"unknown block `{decl.target}`"
            self.report.error("SEG110", message, decl.target_loc, hint=hint)
            return False
        return True

    def _unknown_operator(self, decl: LayerDecl) -> None:
        if decl.target in self.blocks:
            hint = f"it is a block: write `block: {decl.target}`"
        else:
            hint = self.report.suggest(decl.target, REGISTRY) or "`segc explain` lists them"
        message = f"unknown operator `{decl.target}`"
        self.report.error("SEG101", message, decl.target_loc, hint=hint)

    def complete(self, decl: LayerDecl) -> bool:
        """Report arguments that do not exist and those that are missing."""
        known = self._known(decl)
        ok = True
        for name, (key, _) in decl.attrs.items():
            if name in known:
                continue
            hint = self.report.suggest(name, (*known, *LAYER_KEYS))
            hint = hint or (f"it has {listing(known)}" if known else "it has none")
            message = f"`{decl.target}` has no argument `{name}`"
            self.report.error("SEG102", message, key.loc, hint=hint)
            ok = False
        return ok and not self._missing(decl)

    def _known(self, decl: LayerDecl) -> Mapping[str, Any]:
        if decl.kind == "op":
            return REGISTRY[decl.target].attrs
        return self.blocks[decl.target].params if decl.kind == "block" else {}

    def _missing(self, decl: LayerDecl) -> bool:
        missing = [(n, doc) for n, doc in self._required(decl) if n not in decl.attrs]
        if not missing:
            return False
        what, notes = f"`{decl.target}`", []
        if decl.kind == "block":
            what = f"block `{decl.target}`"
            declared = self.blocks[decl.target].params
            notes = [Note(declared[name].loc, f"`{name}` is declared here") for name, _ in missing]
        needs = " and ".join(f"`{name}` ({doc})" for name, doc in missing)
        add = ", ".join(f"{name}: …" for name, _ in missing)
        hint = f"add `{add}` to `{decl.name}`"
        self.report.error("SEG104", f"{what} needs {needs}", decl.loc, hint=hint, notes=notes)
        return True

    def _required(self, decl: LayerDecl) -> list[tuple[str, str]]:
        """Arguments that must be given, with what they are."""
        if decl.kind == "op":
            return [(n, a.doc) for n, a in REGISTRY[decl.target].attrs.items() if a.required]
        params = self.blocks[decl.target].params if decl.kind == "block" else {}
        return [(n, p.doc or p.type) for n, p in params.items() if p.default is None]

    def unexpanded(self, decl: LayerDecl) -> None:
        """Report what can be told of a layer that is not expanded: its `when` is false, or nothing
        uses its block."""
        for inner in decl.layers:
            self.unexpanded(inner)
        if decl.kind in ("op", "block") and self.exists(decl):
            self.complete(decl)
