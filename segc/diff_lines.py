"""The edits of a difference as lines: grouped by cause, equal ones folded into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os.path import commonprefix
from typing import Any

from segc.diff import Diff, Edit, show
from segc.ir import Graph, Ref

NAMES_SHOWN = 3


def sections(diff: Diff) -> Iterator[tuple[str, list[str]]]:
    """One line per edit with a cause of its own, and lines for those that follow from it."""
    children: dict[int, list[Edit]] = {}
    for edit in diff.edits:
        if edit.because is not None:
            children.setdefault(_root(diff, edit), []).append(edit)
    top = [(i, e) for i, e in enumerate(diff.edits) if e.because is None]
    for i, edit in top:
        if edit.kind in ("parameter", "repeat"):
            yield _change(edit), _followers(diff, children.get(i, []))
        elif i in children:
            yield _switched([edit]), _followers(diff, children[i])
    rest = [e for i, e in top if e.kind not in ("parameter", "repeat") and i not in children]
    for kinds, printer in _PRINTERS:
        chosen = [e for e in rest if e.kind in kinds]
        yield from ((line, []) for line in printer(diff, chosen))


def _root(diff: Diff, edit: Edit) -> int:
    index = edit.because
    while index is not None and diff.edits[index].because is not None:
        index = diff.edits[index].because
    return -1 if index is None else index


def _followers(diff: Diff, edits: list[Edit]) -> list[str]:
    """Edits that follow from a parameter: layers that came or went, attributes, folded."""
    lines = []
    for kind, sign in (("removed", "-"), ("added", "+")):
        layers = [e for e in edits if e.kind == kind]
        if layers:
            cost = cost_text(sum(e.params for e in layers))
            lines.append(f"{sign} {len(layers)} layers {kind}{cost}")
    rest = [e for e in edits if e.kind in ("attribute", "presence")]
    return lines + list(_folded(diff, rest, scale=True))


def _change(edit: Edit) -> str:
    """One edit of a setting, with the place it is in."""
    word = "" if edit.kind in ("text", "attribute", "setting", "repeat") else edit.kind
    what = " ".join(part for part in (word, edit.what) if part)
    prefix = f"{edit.where}: " if edit.where else ""
    if edit.before is None:
        return f"{prefix}{what} added: {_short(edit.after)}"
    if edit.after is None:
        return f"{prefix}{what} removed, was {_short(edit.before)}"
    return f"{prefix}{what} {_short(edit.before)} -> {_short(edit.after)}"


def _short(value: Any) -> str:
    text = show(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _plain(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    for edit in edits:
        yield _change(edit)


def _texts(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    """Title, source, notes: said, but not quoted at length."""
    for edit in edits:
        short = len(f"{edit.before}{edit.after}") < 70
        yield _change(edit) if short else f"{edit.what} reworded"


def _presence(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    for group in _grouped(edits, lambda e: e.after):
        yield _switched(group)


def _switched(edits: list[Edit]) -> str:
    """Layers or groups whose `when` became true (or false)."""
    word = "switched on" if edits[0].after else "switched off"
    return f"{pattern([e.where for e in edits])}: {word} (`when`)"


def _operators(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    for edit in edits:
        yield f"{edit.where}: {edit.before} -> {edit.after}{cost_text(edit.params)}"


def _blocks(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    for group in _grouped(edits, lambda e: (e.before, e.after)):
        before, after = group[0].before or "a plain group", group[0].after or "a plain group"
        yield f"{pattern([e.where for e in group])}: block {before} -> {after}"


def _renamed(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    """Groups whose name changed as a whole, then single layers."""
    pairs: dict[tuple[str, str], int] = {}
    for edit in edits:
        pair = shortest(edit.before, edit.after)
        pairs[pair] = pairs.get(pair, 0) + 1
    for (old, new), count in pairs.items():
        yield f"{old} renamed {new}" + (f" ({count} layers)" if count > 1 else "")


def shortest(old: str, new: str) -> tuple[str, str]:
    """The outermost part of two names that differs: backbone.a.conv, backbone.b.conv -> a, b."""
    a, b = old.split("."), new.split(".")
    while len(a) > 1 and len(b) > 1 and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return ".".join(a), ".".join(b)


def _added(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    yield from _whole_groups(diff, edits, "+", "added", diff.b.graph)


def _removed(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    yield from _whole_groups(diff, edits, "-", "removed", diff.a.graph)


def _whole_groups(
    diff: Diff, edits: list[Edit], sign: str, word: str, graph: Graph
) -> Iterator[str]:
    """Layers that came or went; a group all of whose layers did is one line."""
    wholes = _wholes((e.where for e in edits), graph) & graph.scopes.keys()
    groups: dict[str, list[Edit]] = {}
    for edit in edits:
        groups.setdefault(_whole(edit.where, wholes), []).append(edit)
    single = [e for name, (e, *_) in groups.items() if e.where == name]
    whole = [(name, members) for name, members in groups.items() if members[0].where != name]
    for alike in _grouped(whole, lambda g: (graph.scopes[g[0]].block, len(g[1]))):
        yield from _groups(alike, sign, word, graph)
    for same in _grouped(
        single, lambda e: (_local(e.where), e.after or e.before, _around(graph, e))
    ):
        yield _layers(same, sign, word, graph)


def _groups(
    alike: list[tuple[str, list[Edit]]], sign: str, word: str, graph: Graph
) -> Iterator[str]:
    """Groups of one block that came or went: a line each, or one for many."""
    if len(alike) > NAMES_SHOWN:
        alike = [(some([name for name, _ in alike]), [e for _, g in alike for e in g])]
    for names, members in alike:
        block = graph.scopes[_outer(members[0].where, names)].block
        what = f" ({block})" if block else ""
        count = f"{len(members)} layer{'s' if len(members) > 1 else ''}"
        yield f"{sign} {names}{what} {word}: {count}{cost_text(sum(e.params for e in members))}"


def _outer(layer: str, names: str) -> str:
    """The group of `names` a layer lies in."""
    first = names.split(",")[0]
    return first if layer.startswith(first + ".") else layer.rpartition(".")[0]


def _layers(edits: list[Edit], sign: str, word: str, graph: Graph) -> str:
    """Layers of one kind that came or went, in one line."""
    first = edits[0]
    what, cost = first.after or first.before, cost_text(sum(e.params for e in edits))
    if len(edits) == 1:
        return f"{sign} {first.where} {word}: {what}{_between(graph, first.where)}{cost}"
    parents = [e.where.rpartition(".")[0] for e in edits]
    blocks = {graph.scopes[p].block for p in parents if p in graph.scopes}
    places = f"{len(edits)} groups"
    if len(blocks) == 1 and None not in blocks:
        places = f"{len(edits)} instances of {next(iter(blocks))}"
    after = _around(graph, first)
    local = f", after {after}" if after else ""
    return f"{sign} {_local(first.where)} {word} in {places}: {what}{local}{cost}"


def _local(name: str) -> str:
    return name.rpartition(".")[2]


def _around(graph: Graph, edit: Edit) -> str:
    """The layers it reads, by their names in its own group."""
    node = graph.by_name[edit.where]
    group = node.scope + "." if node.scope else ""
    return ", ".join(dict.fromkeys(r.node.removeprefix(group) for r in node.inputs))


def _wholes(gone: Iterable[str], graph: Graph) -> set[str]:
    """The groups all of whose layers are gone (or new)."""
    present = _members(n.name for n in graph.nodes if not n.absent)
    return {path for path, count in _members(gone).items() if count == present.get(path)}


def _members(names: Iterable[str]) -> dict[str, int]:
    """Every group with the number of layers in it."""
    counts: dict[str, int] = {}
    for name in names:
        while "." in name:
            name = name.rpartition(".")[0]
            counts[name] = counts.get(name, 0) + 1
    return counts


def _whole(name: str, wholes: set[str]) -> str:
    """The largest group around a layer that is gone (or new) as a whole."""
    best, path = name, name
    while "." in path:
        path = path.rpartition(".")[0]
        best = path if path in wholes else best
    return best


def _between(graph: Graph, name: str) -> str:
    """Where a single layer stands: after what, before what."""
    node = graph.by_name[name]
    ports = [Ref(name, port) for port in node.op.ports]
    users = list(dict.fromkeys(u.name for ref in ports for u in graph.users.get(ref, ())))
    after = (
        f", after {', '.join(dict.fromkeys(r.node for r in node.inputs))}" if node.inputs else ""
    )
    return after + (f", before {pattern(users)}" if users else "")


def _wired(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    for edit in edits:
        before, after = edit.before, edit.after
        cost = cost_text(edit.params)
        if len(before) == len(after):
            moved = [(x, y) for x, y in zip(before, after, strict=True) if x != y]
            pairs = ", ".join(f"{y} instead of {x}" for x, y in moved)
            yield f"{edit.where}: reads {pairs}{cost}"
        else:
            yield f"{edit.where}: reads {show(after)} instead of {show(before)}{cost}"


def _attributes(diff: Diff, edits: list[Edit]) -> Iterator[str]:
    yield from _folded(diff, edits, scale=False)


def _folded(diff: Diff, edits: list[Edit], scale: bool) -> Iterator[str]:
    """Equal changes in one line; with `scale`, all changes by one factor too."""
    if scale:
        by_name = _grouped(edits, lambda e: (e.kind, e.what))
        whole = [g for g in by_name if len({(str(e.before), str(e.after)) for e in g}) > 2]
        for group in whole:
            yield _scaled(group)
        done = {(g[0].kind, g[0].what) for g in whole}
        edits = [e for e in edits if (e.kind, e.what) not in done]

    def alike(e: Edit) -> tuple[str, ...]:
        local = "" if scale else _local(e.where).rstrip("0123456789")
        return e.kind, e.what, str(e.before), str(e.after), e.op, local

    groups = _grouped(edits, alike)
    for same in _grouped(
        groups, lambda g: (g[0].before, g[0].after, [e.where for e in g]).__repr__()
    ):
        names = [e.where for e in same[0]]
        what = " and ".join(g[0].what for g in same)
        count = f" ({len(names)} layers)" if len(names) > 1 else ""
        cost = cost_text(sum(e.params for g in same for e in g))
        change = _change(replace(same[0][0], where="", what=what))
        yield f"{pattern(names)}: {change}{count}{cost}"


def _scaled(group: list[Edit]) -> str:
    changes = list(dict.fromkeys(f"{show(e.before)} -> {show(e.after)}" for e in group))
    shown = changes if len(changes) <= 6 else [*changes[:2], "...", changes[-1]]
    cost = cost_text(sum(e.params for e in group))
    return f"{group[0].what} in {len(group)} layers: {', '.join(shown)}{cost}"


def _grouped(items: Iterable[Any], key: Any) -> list[list[Any]]:
    """Items with equal keys together, in order of first appearance."""
    table: dict[Any, list[Any]] = {}
    for item in items:
        table.setdefault(key(item), []).append(item)
    return list(table.values())


_PRINTERS = (
    (("text", "input", "output"), _texts),
    (("renamed",), _renamed),
    (("removed",), _removed),
    (("added",), _added),
    (("block",), _blocks),
    (("presence",), _presence),
    (("operator",), _operators),
    (("attribute", "setting"), _attributes),
    (("wiring",), _wired),
    (("init", "loss", "recipe"), _plain),
)


def cost_text(params: int) -> str:
    return f" ({params:+,} parameters)" if params else ""


def pattern(names: list[str]) -> str:
    """Many dotted names as one: layer4.0.conv2, layer4.1.conv2 -> layer4.*.conv2."""
    if len(names) <= 1:
        return "".join(names)
    parts = [name.split(".") for name in names]
    if len({len(p) for p in parts}) > 1 or len(parts[0]) == 1:
        return some(names)
    columns = [list(dict.fromkeys(column)) for column in zip(*parts, strict=True)]
    return ".".join(c[0] if len(c) == 1 else commonprefix(c) + "*" for c in columns)


def some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
