"""Pyramids: values by level, and layers that have one copy a level or are applied to every level.

`levels: {p2: a, p3: b}` names a pyramid. `each: level` on a layer that reads one makes a layer of
its own for every level, numbered 0, 1, …; `share: level` makes one and applies it again. Only the
reader knows pyramids: in the graph there are the values of the levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from segc.diag import Note, listing
from segc.ir import Ref, Scope
from segc.loc import Loc
from segc.read.names import check_identifier
from segc.read.resolve import BROKEN, Frame, Levels, Value
from segc.read.reuse import again
from segc.read.spec import LayerDecl
from segc.read.values import is_name, shown
from segc.read.yaml import Mapping_, Scalar

if TYPE_CHECKING:
    from segc.read.expand import Expander

MODES = ("each", "share")
MAX_LEVELS = 64


@dataclass(frozen=True, slots=True)
class Wired:
    """A layer's operands, resolved; `refs` are values of the graph, `values` may be pyramids."""

    values: tuple[Value, ...]
    locs: tuple[Loc, ...]
    given: bool  # `from` was written

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(ref for value in self.values for ref in flat(value))

    @property
    def ref_locs(self) -> tuple[Loc, ...]:
        """The place of each of `refs`."""
        pairs = zip(self.values, self.locs, strict=True)
        return tuple(loc for value, loc in pairs for _ in flat(value))

    @property
    def levels(self) -> Levels | None:
        """The first pyramid among the operands."""
        return next((v for v in self.values if isinstance(v, Levels)), None)

    def named(self, names: Iterable[str]) -> tuple[tuple[str, Ref], ...]:
        """The operands by the names of a block's inputs; a pyramid's levels by their own."""
        found: dict[str, Ref] = {}
        plain = list(names)
        for name, value in zip(plain, self.values, strict=True):
            if isinstance(value, Ref):
                found[name] = value
                continue
            for level, ref in zip(value.names, value.refs, strict=True):
                clash = level in plain or level in found
                found[f"{name}_{level}" if clash else level] = ref
        return tuple(found.items())

    def at(self, level: str) -> Wired:
        """The operands of one level."""
        return replace(
            self, values=tuple(v.at(level) if isinstance(v, Levels) else v for v in self.values)
        )


def flat(value: Value) -> tuple[Ref, ...]:
    return (value,) if isinstance(value, Ref) else value.refs


def is_mapped(decl: LayerDecl) -> bool:
    """It says how levels are read."""
    return any(mode in decl.keys for mode in MODES)


def mode_of(decl: LayerDecl, expander: Expander) -> str | None:
    """`each` or `share` if the layer says so; a fault in the key is reported."""
    found = [mode for mode in MODES if mode in decl.keys]
    for mode in found:
        node = decl.keys[mode]
        if not (isinstance(node, Scalar) and node.text == "level"):
            message = f"`{mode}` is `level` or left out, got {shown(node)}"
            expander.report.error("SEG105", message, node.loc, hint=f"write `{mode}: level`")
    if len(found) == 2:
        message = f"`{decl.name}` cannot have one layer a level and share one"
        expander.report.error("SEG113", message, decl.keys["share"].loc, hint="leave one out")
    return found[0] if found else None


def named_levels(decl: LayerDecl, path: str, frame: Frame, expander: Expander) -> Value:
    """`levels: {p2: a, p3: b}`."""
    node = decl.keys["levels"]
    for name, (key, _) in decl.attrs.items():
        expander.report.error("SEG107", f"unknown key `{name}` in a pyramid", key.loc)
    for name in sorted(decl.keys.keys() - {"levels"}):
        message = f"a pyramid only names values, `{name}` says nothing of it"
        hint = "give it to a layer that reads the pyramid, or to those that it names"
        expander.report.error("SEG107", message, decl.keys[name].loc, hint=hint)
    if not isinstance(node, Mapping_) or not node.entries:
        message = f"`levels` names the levels of a pyramid, got {shown(node)}"
        expander.report.error("SEG103", message, node.loc, hint="for example {p2: a, p3: b}")
        return BROKEN
    if len(node.entries) > MAX_LEVELS:
        message = f"{len(node.entries):,} levels, the limit is {MAX_LEVELS}"
        expander.report.error("SEG313", message, node.loc)
        return BROKEN
    names, refs = [], []
    for key, item in node.entries:
        if not check_identifier(key, expander.report, "level"):
            return BROKEN
        if not is_name(item):
            message = f"the level `{key.text}` needs the name of a layer, got {shown(item)}"
            expander.report.error("SEG103", message, item.loc, hint="for example {p2: layer1}")
            return BROKEN
        ref = expander.resolver.value(item.text, item.loc, frame, decl.name)
        names.append(key.text)
        refs.append(ref if isinstance(ref, Ref) else BROKEN)
        if isinstance(ref, Levels):
            message = f"`{item.text}` is a pyramid itself"
            hint = f"name one of its levels: {', '.join(f'{item.text}.{n}' for n in ref.names)}"
            expander.report.error("SEG316", message, item.loc, hint=hint)
    if BROKEN in refs:
        return BROKEN
    return Levels(tuple(names), tuple(refs), ("",) * len(names))


def mapped(
    mode: str, decl: LayerDecl, path: str, frame: Frame, wired: Wired, only: str | None,
    expander: Expander,
) -> Value:  # fmt: skip
    """The layer once a level, with weights of its own (`each`) or the same ones (`share`)."""
    levels = wired.levels
    if levels is None:
        if BROKEN not in wired.values:
            message = f"`{decl.name}` reads no pyramid"
            hint = f"leave out `{mode}`, or read one: `maps: {{levels: {{p2: …}}}}` names it"
            expander.report.error("SEG316", message, decl.keys[mode].loc, hint=hint)
        return BROKEN
    if not _alike(decl, wired, levels, expander):
        return BROKEN
    make = _each if mode == "each" else _share
    paths, refs = make(decl, path, frame, wired, only, expander, levels)
    if BROKEN in refs or len(refs) < len(levels.names):
        return BROKEN
    labels = (f"{decl.name}_{level}" for level in levels.names)
    expander.labels |= dict(zip(refs, labels, strict=True))
    if mode == "each":
        operands = tuple((f"x{n}" if n else "x", r) for n, r in enumerate(wired.refs))
        children = tuple(str(n) for n in range(len(refs)))
        expander.scopes[path] = Scope(
            path, "repeat", decl.loc, inputs=operands, output=refs[-1], children=children, only=only
        )
    return Levels(levels.names, tuple(refs), tuple(paths))


def _alike(decl: LayerDecl, wired: Wired, levels: Levels, expander: Expander) -> bool:
    for value, loc in zip(wired.values, wired.locs, strict=True):
        if isinstance(value, Levels) and value.names != levels.names:
            message = f"`{decl.name}` reads pyramids with different levels: "
            message += f"{', '.join(levels.names)} and {', '.join(value.names)}"
            expander.report.error("SEG316", message, loc, hint="name the same levels in both")
            return False
    return True


def _each(
    decl: LayerDecl, path: str, frame: Frame, wired: Wired, only: str | None, expander: Expander,
    levels: Levels,
) -> tuple[list[str], list[Ref]]:  # fmt: skip
    paths, refs = [], []
    faults = len(expander.report.diagnostics)
    expander.made[path] = decl, frame, None
    for n, level in enumerate(levels.names):
        env = {**frame.env, "i": n}
        with expander.resolver.level_of(level):
            value = expander.one(decl, f"{path}.{n}", frame, env, wired.at(level), only)
        paths.append(f"{path}.{n}")
        refs.append(value if isinstance(value, Ref) else BROKEN)
        if len(expander.report.diagnostics) > faults:
            break  # the other levels have the same fault
    return paths, refs


def _share(
    decl: LayerDecl, path: str, frame: Frame, wired: Wired, only: str | None, expander: Expander,
    levels: Levels,
) -> tuple[list[str], list[Ref]]:  # fmt: skip
    paths, refs = [], []
    for n, level in enumerate(levels.names):
        operands = wired.at(level)
        with expander.resolver.level_of(level):
            if n == 0:
                at = path
                value = expander.one(decl, at, frame, frame.env, operands, only)
            else:
                at = f"{path}_{level}"
                name = f"{decl.name}_{level}"
                if name in frame.by_name:
                    message = f"`{decl.name}` at level `{level}` would have the name of `{name}`"
                    place, hint = frame.by_name[name].loc, "rename one of the two, or the level"
                    expander.report.error("SEG310", message, place, hint=hint)
                    break
                value = again(expander, decl, path, at, operands, only)
                expander.applied.setdefault(path, []).append(name)
        if not isinstance(value, Ref) or value == BROKEN:
            break
        paths.append(at)
        refs.append(value)
    return paths, refs


def refuse(decl: LayerDecl, wired: Wired, path: str, expander: Expander) -> Value:
    """An operator that takes one value reads a pyramid without a word on its levels."""
    levels = wired.levels
    assert levels is not None
    loc = next(
        loc for v, loc in zip(wired.values, wired.locs, strict=True) if isinstance(v, Levels)
    )
    message = f"`{decl.name}` reads a pyramid ({listing(levels.names)}), "
    message += f"{decl.target or 'a group'} takes one value"
    hint = "`each: level` makes a layer a level, `share: level` applies one to all"
    expander.report.error("SEG316", message, loc, hint=hint, notes=_entrance(path, expander))
    return BROKEN


def _entrance(path: str, expander: Expander) -> tuple[Note, ...]:
    """Where the block around a layer is used, if it is in one."""
    around = path.rpartition(".")[0]
    while around:
        decl = expander.made[around][0] if around in expander.made else None
        if decl is not None and decl.kind == "block":
            place = decl.keys["from"].loc if "from" in decl.keys else decl.loc
            return (Note(place, f"`{around}` gives the block a pyramid here"),)
        around = around.rpartition(".")[0]
    return ()
