"""Files a spec stands on: `use` (block files) and `extends` (variants), before declarations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from segc.diag import Fail, Note, Report
from segc.loc import Loc
from segc.read.spec import BlockDecl, check_version, read_blocks
from segc.read.values import YNode, as_mapping, shown, unknown_key
from segc.read.variant import merge
from segc.read.yaml import STRICT, Limits, Mapping_, Scalar, Sequence_, parse
from segc.source import Source

MAX_DEPTH = 8
MAX_SIZE = 4 << 20  # characters of all included files
_T = TypeVar("_T")
BLOCK_FILE_KEYS = ("segc", "title", "source", "notes", "use", "blocks", "weights")


@dataclass
class Files:
    """Everything read for one spec; `sources` by the name diagnostics use."""

    report: Report
    limits: Limits = STRICT
    sources: dict[str, Source] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)  # the chain being read, to find cycles
    libraries: dict[str, dict[str, BlockDecl]] = field(default_factory=dict)  # those read, by file
    named: dict[tuple[str, str], Source] = field(default_factory=dict)  # by file and name in it
    weights: dict[str, YNode] = field(default_factory=dict)  # `weights:` of those read, by file
    size: int = 0  # characters read so far

    def document(self, source: Source) -> Mapping_ | None:
        """The spec with its variants merged in, or None after a report."""
        self.sources[source.file] = source
        document = parse(source, self.report, self.limits)
        if document is None:
            return None
        for key, value in document.entries:
            if key.text == "extends":
                base = self._nested(value, source, self.document)
                rest = Mapping_(
                    tuple(e for e in document.entries if e[0].text != "extends"), document.loc
                )
                return merge(base, rest, self.report) if base is not None else None
        return document

    def blocks(self, document: Mapping_) -> dict[str, BlockDecl]:
        """The blocks of the files a spec uses, by name."""
        found: dict[str, BlockDecl] = {}
        for key, value in document.entries:
            if key.text == "use":
                self._use(value, found)
        return found

    def _use(self, value: YNode, found: dict[str, BlockDecl]) -> None:
        if not isinstance(value, Sequence_):
            hint = "for example use: [blocks/resnet.yaml]"
            message = f"`use` needs a list of files, got {shown(value)}"
            self.report.error("SEG103", message, value.loc, hint=hint)
            return
        for item in value.items:
            beside = self.sources.get(item.loc.file)
            if beside is None:
                continue
            blocks = self._nested(item, beside, self._block_file)
            for name, block in (blocks or {}).items():
                self._add_block(name, block, found, item.loc)

    def _add_block(
        self, name: str, block: BlockDecl, found: dict[str, BlockDecl], loc: Loc
    ) -> None:
        other = found.get(name)
        if other is not None and other.loc != block.loc:
            notes = (Note(other.loc, "one is here"), Note(block.loc, "the other is here"))
            self.report.error("SEG310", f"two block files define `{name}`", loc, notes=notes)
        found[name] = block

    def _block_file(self, source: Source) -> dict[str, BlockDecl]:
        if source.file not in self.libraries:
            self.libraries[source.file] = self._library(source) or {}
        return self.libraries[source.file]

    def _library(self, source: Source) -> dict[str, BlockDecl] | None:
        self.sources[source.file] = source
        document = parse(source, self.report, self.limits)
        if document is None:
            return None
        entries = {key.text: (key, value) for key, value in document.entries}
        for key, _ in entries.values():
            if key.text not in BLOCK_FILE_KEYS:
                unknown_key(key, BLOCK_FILE_KEYS, "a block file", self.report, "SEG106")
        check_version(entries.get("segc"), self.report)
        found: dict[str, BlockDecl] = {}
        if "use" in entries:
            self._use(entries["use"][1], found)
        if "blocks" in entries and as_mapping(entries["blocks"][1], "`blocks`", self.report):
            found.update(read_blocks(entries["blocks"][1], found, self.report))
        if "weights" in entries:
            self.weights[source.file] = entries["weights"][1]
        return found

    def _nested(self, node: YNode, source: Source, read: Callable[[Source], _T]) -> _T | None:
        """Open a file named in another one and read it; the chain may not bite its tail."""
        other = self._opened(node, source)
        if other is None:
            return None
        chain = [*self.open, source.file]
        if other.file in chain:
            way = " -> ".join([*chain[chain.index(other.file) :], other.file])
            self.report.error("SEG312", f"files include each other: {way}", node.loc)
            return None
        if len(chain) > MAX_DEPTH:
            message = f"files include files more than {MAX_DEPTH} deep"
            self.report.error("SEG312", message, node.loc, hint="name the last ones directly")
            return None
        self.open.append(source.file)
        try:
            return read(other)
        finally:
            self.open.pop()

    def _opened(self, node: YNode, source: Source) -> Source | None:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            message = f"needs the name of a file, got {shown(node)}"
            self.report.error("SEG103", message, node.loc)
            return None
        known = self.named.get((source.file, node.text))
        if known is not None:
            return known
        try:
            other = source.open_beside(node.text)
        except Fail as fail:
            if fail.exit != 1:
                raise
            for d in fail.diagnostics:
                self.report.error(d.code, d.message, node.loc, hint=d.hint)
            return None
        self.size += len(other.text) if other.file not in self.sources else 0
        if self.size <= MAX_SIZE:
            self.named[source.file, node.text] = other
            return other
        message = f"the files of this spec have more than {MAX_SIZE >> 20} MiB"
        self.report.error("SEG003", message, node.loc)
        return None
