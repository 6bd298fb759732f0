"""`extends`: a variant states only what differs; the two documents are merged key by key.

`params`, `outputs`, `losses`, `init` and `blocks` merge by name; `recipe` by key, and by key again
inside it; `layers` by name: an entry with op, block or use replaces the layer, one without changes
the keys it states, `{remove: true}` drops it, a new one goes to the end or `after:` another.
"""

from __future__ import annotations

from segc.diag import Report, did_you_mean
from segc.read.yaml import Mapping_, Scalar, Sequence_

YNode = Scalar | Mapping_ | Sequence_
Entry = tuple[Scalar, YNode]
_BY_NAME = frozenset(("params", "outputs", "losses", "init", "blocks"))


def merge(base: Mapping_, variant: Mapping_, report: Report) -> Mapping_:
    """The document a variant stands for; the positions stay those of the file they come from."""
    entries: dict[str, Entry] = {key.text: (key, value) for key, value in base.entries}
    for key, value in variant.entries:
        old = entries.get(key.text)
        if old is not None and isinstance(old[1], Mapping_) and isinstance(value, Mapping_):
            value = _merge_section(key.text, old[1], value, report)
        entries[key.text] = (key, value)
    return Mapping_(tuple(entries.values()), variant.loc)


def _merge_section(name: str, base: Mapping_, variant: Mapping_, report: Report) -> Mapping_:
    if name == "layers":
        return _layers(base, variant, report)
    if name == "recipe":
        return _by_name(base, variant, inner=True)
    if name in _BY_NAME:
        return _by_name(base, variant, inner=name in ("losses", "init"))
    return variant


def _by_name(base: Mapping_, variant: Mapping_, inner: bool) -> Mapping_:
    entries: dict[str, Entry] = {key.text: (key, value) for key, value in base.entries}
    for key, value in variant.entries:
        old = entries.get(key.text)
        if inner and old and isinstance(old[1], Mapping_) and isinstance(value, Mapping_):
            value = _by_name(old[1], value, inner=False)
        if isinstance(value, Scalar) and value.value is None:
            entries.pop(key.text, None)  # `aux:` with nothing behind it removes the entry
        else:
            entries[key.text] = (key, value)
    return Mapping_(tuple(entries.values()), base.loc)


def _layers(base: Mapping_, variant: Mapping_, report: Report) -> Mapping_:
    entries: dict[str, Entry] = {key.text: (key, value) for key, value in base.entries}
    for key, value in variant.entries:
        keys = {k.text: v for k, v in value.entries} if isinstance(value, Mapping_) else {}
        if "remove" in keys:
            _remove(key, keys["remove"], entries, report)
        elif "after" in keys and isinstance(value, Mapping_):
            entries = _insert(key, value, keys["after"], entries, report)
        else:
            entries[key.text] = (key, _layer(entries.get(key.text), value, keys, report))
    return Mapping_(tuple(entries.values()), base.loc)


def _layer(old: Entry | None, value: YNode, keys: dict[str, YNode], report: Report) -> YNode:
    if old is None or not isinstance(value, Mapping_) or not isinstance(old[1], Mapping_):
        return value
    if {"op", "block", "use"} & keys.keys():
        return value
    merged = {k.text: (k, v) for k, v in old[1].entries}
    for k, v in value.entries:
        before = merged.get(k.text)
        if k.text == "layers" and before and isinstance(before[1], Mapping_):
            v = _layers(before[1], v, report) if isinstance(v, Mapping_) else v
        merged[k.text] = (k, v)
    return Mapping_(tuple(merged.values()), value.loc)


def _remove(key: Scalar, value: YNode, entries: dict[str, Entry], report: Report) -> None:
    if not isinstance(value, Scalar) or value.value is not True:
        report.error("SEG103", "`remove` is true or left out", value.loc)
    elif key.text not in entries:
        hint = did_you_mean(key.text, entries)
        report.error("SEG301", f"the base has no layer `{key.text}`", key.loc, hint=hint)
    else:
        del entries[key.text]


def _insert(
    key: Scalar, value: Mapping_, after: YNode, entries: dict[str, Entry], report: Report
) -> dict[str, Entry]:
    place = after.text if isinstance(after, Scalar) else ""
    body = Mapping_(tuple(e for e in value.entries if e[0].text != "after"), value.loc)
    if place not in entries:
        hint = did_you_mean(place, entries)
        report.error("SEG301", f"there is no layer `{place}` to come after", after.loc, hint=hint)
    out: dict[str, Entry] = {}
    for name, entry in entries.items():
        if name != key.text:
            out[name] = entry
        if name == place:
            out[key.text] = (key, body)
    return out
