"""A difference as a reviewer would write it down: text, Markdown, JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from segc.analyse import Totals
from segc.diff import Diff, Edit
from segc.diff_effects import Effects, Keys, Shape
from segc.diff_lines import NAMES_SHOWN, cost_text, pattern, sections, shortest, some
from segc.summary import mib, si

Titles = tuple[str, str]
EDITS_SHOWN = 150  # lines of text, apart from what follows from one edit


def as_text(diff: Diff, titles: Titles) -> str:
    """The edits, grouped and folded, then what follows from them."""
    if diff.identical:
        return f"{titles[0]} and {titles[1]} are the same network\n"
    lines = [f"{titles[0]} -> {titles[1]}", ""]
    for line, children in _shown(diff):
        lines.append(line)
        lines += [f"    {child}" for child in children]
    lines += ["", "What follows"]
    rows = list(_consequences(diff))
    width = max(len(title) for title, _ in rows)
    for title, facts in rows:
        for i, fact in enumerate(facts):
            lines.append(f"  {title if not i else '':<{width}}  {fact}")
    return "\n".join(lines) + "\n"


def as_markdown(diff: Diff, titles: Titles) -> str:
    """The same as Markdown, for a comment on a change."""
    if diff.identical:
        return f"`{titles[0]}` and `{titles[1]}` are the same network.\n"
    lines = [f"### `{titles[0]}` → `{titles[1]}`", ""]
    for line, children in _shown(diff):
        lines.append(f"- {_md(line)}")
        lines += [f"  - {_md(child)}" for child in children]
    lines += ["", "| what follows | |", "|---|---|"]
    for title, facts in _consequences(diff):
        lines.append(f"| {title} | {'<br>'.join(_md(fact) for fact in facts)} |")
    return "\n".join(lines) + "\n"


def _shown(diff: Diff) -> list[tuple[str, list[str]]]:
    """The edits a reader can take in; JSON has them all."""
    found = list(sections(diff))
    rest = len(found) - EDITS_SHOWN
    more: list[tuple[str, list[str]]] = (
        [(f"and {rest:,} more; --json lists them all", [])] if rest > 0 else []
    )
    return found[:EDITS_SHOWN] + more


def _md(text: str) -> str:
    for char in "\\`*_|<>":
        text = text.replace(char, "\\" + char)
    return text


# --- consequences ---------------------------------------------------------------------------------
def _consequences(diff: Diff) -> Iterator[tuple[str, list[str]]]:
    effects = diff.effects
    yield "parameters", [_delta(effects, "params", "{:,}".format)]
    if effects.totals[0].trainable - effects.totals[0].params != (
        effects.totals[1].trainable - effects.totals[1].params
    ):
        yield "trainable", [_delta(effects, "trainable", "{:,}".format)]
    if effects.sizes:
        yield from _costs(effects)
    if effects.inputs[0] != effects.inputs[1]:
        texts = [", ".join(c) or "every size" for c in effects.inputs]
        yield "accepts", [f"{texts[0]} -> {texts[1]}", *_news(effects.accepted)]
    if effects.outputs:
        yield "outputs", [f"{n}: {_size(x)} -> {_size(y)}" for n, x, y in effects.outputs]
    if effects.maps:
        yield "maps", [_map(m.before, m.after, m.first, m.count) for m in effects.maps[:6]]
    if diff.following:
        names = [name for name, _ in diff.following]
        total = sum(delta for _, delta in diff.following)
        plural = "layers follow" if len(names) > 1 else "layer follows"
        yield "followers", [f"{pattern(names)}: {len(names)} {plural} its input{cost_text(total)}"]
    yield "checkpoints", _checkpoints(effects.keys)


def _delta(effects: Effects, quantity: str, text: Any) -> str:
    before, after = (getattr(t, quantity) for t in effects.totals)
    if before == after:
        return f"{text(before)}, unchanged"
    share = f", {100 * (after - before) / before:+.1f} %" if before else ""
    return f"{text(before)} -> {text(after)} ({after - before:+,}{share})"


def _costs(effects: Effects) -> Iterator[tuple[str, list[str]]]:
    at = ", ".join(f"{n} {'x'.join(map(str, s))}" for n, s in effects.sizes.items())
    refused = [
        f"{w} network: {r}" for w, r in zip(("first", "second"), effects.refused, strict=True) if r
    ]
    if refused:
        yield "cost", [f"at {at}: {r}" for r in refused]
        return
    yield "MACs", [f"{_delta(effects, 'macs', si)} at {at}"]
    memory = [mib(t.peak_bytes) for t in effects.totals]
    same = memory[0] == memory[1]
    yield "memory", [f"{memory[0]} MiB, unchanged" if same else f"{memory[0]} -> {memory[1]} MiB"]


def _news(accepted: tuple[tuple[str, ...], tuple[str, ...]]) -> list[str]:
    return [f"now {text}" for text in accepted[1] if text not in accepted[0]]


def _size(shape: Shape | None) -> str:
    return "none" if shape is None else " x ".join(shape)


def _map(before: Shape, after: Shape, first: str, count: int) -> str:
    """`1/16 of the input instead of 1/32`; the width is only said where it behaves otherwise."""
    where = f"{first} and {count - 1} more" if count > 1 else first
    alike = all(s[0].replace("H", "W") == s[1] for s in (before, after))
    old, new = (s[0] if alike else " x ".join(s) for s in (before, after))
    parts = [_part(text) for text in (old, new)]
    if None in parts or parts[0] == parts[1]:
        return f"{where}: {old} -> {new}"
    return f"{where}: {parts[1]} of the input instead of {parts[0]}"


_PART = re.compile(r"(?:floor\()?\(?H(?: [+-] \d+)?\)? / (\d+)\)?(?: [+-] \d+)?")


def _part(size: str) -> str | None:
    """`1/16` for H / 16 and floor((H + 15) / 16)."""
    match = _PART.fullmatch(size)
    return f"1/{match[1]}" if match else "all" if size == "H" else None


def _checkpoints(keys: Keys) -> list[str]:
    if keys.strict:
        return [f"load unchanged: {keys.kept:,} tensors"]
    if not (keys.lost or keys.gained or keys.reshaped):
        pairs = {shortest(*pair): None for pair in keys.renamed}
        shown = ", ".join(f"{a} -> {b}" for a, b in list(pairs)[:NAMES_SHOWN])
        more = f" and {len(pairs) - NAMES_SHOWN} more" if len(pairs) > NAMES_SHOWN else ""
        return [f"load once {len(keys.renamed)} keys are renamed: {shown}{more}"]
    facts = [f"do not load as they are: {keys.kept:,} tensors fit"]
    if keys.renamed:
        facts.append(f"{len(keys.renamed)} of them under another name")
    if keys.reshaped:
        key, old, new = keys.reshaped[0]
        sample = f"{key} {'x'.join(old)} -> {'x'.join(new)}"
        facts.append(f"{len(keys.reshaped)} reshaped, e.g. {sample}")
    for word, names in (("gone", keys.lost), ("new", keys.gained)):
        if names:
            facts.append(f"{len(names)} {word}: {some(names)}")
    return facts


# --- JSON -----------------------------------------------------------------------------------------
def as_json(diff: Diff, titles: Titles) -> dict[str, Any]:
    """Every edit by itself, and the consequences."""
    effects = diff.effects
    return {
        "format_version": 1,
        "ok": True,
        "a": titles[0],
        "b": titles[1],
        "identical": diff.identical,
        "edits": [_edit(e) for e in diff.edits],
        "consequences": {
            **{q: _both(effects.totals, q) for q in _QUANTITIES if _both(effects.totals, q)},
            "constraints": [list(c) for c in effects.inputs],
            "outputs": {n: [_list(x), _list(y)] for n, x, y in effects.outputs},
            "maps": [
                {"before": m.before, "after": m.after, "first": m.first, "layers": m.count}
                for m in effects.maps
            ],
            "following": dict(diff.following),
            "checkpoint": _keys(effects.keys),
        },
    }


_QUANTITIES = ("layers", "params", "trainable", "macs", "activation_bytes", "peak_bytes")


def _both(totals: tuple[Totals, Totals], quantity: str) -> list[int] | None:
    values = [getattr(t, quantity) for t in totals]
    return None if None in values else values


def _list(shape: Shape | None) -> list[int | str] | None:
    return None if shape is None else [int(d) if d.isdigit() else d for d in shape]


def _keys(keys: Keys) -> dict[str, Any]:
    return {
        "loads": keys.strict,
        "kept": keys.kept,
        "renamed": dict(keys.renamed),
        "reshaped": {k: [_list(x), _list(y)] for k, x, y in keys.reshaped},
        "lost": list(keys.lost),
        "gained": list(keys.gained),
    }


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "kind": edit.kind,
        "where": edit.where,
        "what": edit.what,
        "before": _plain_value(edit.before),
        "after": _plain_value(edit.after),
        "op": edit.op,
        "params": edit.params,
        "because": edit.because,
    }


def _plain_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain_value(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain_value(v) for k, v in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
