"""`extends`: a variant states only what differs; the two documents are merged key by key.

`params`, `outputs`, `losses`, `init`, `blocks` and `weights` merge by name; `recipe` by key, and
by key again inside it, and inside each of its `cases`; a parameter given as a plain value changes
the default and keeps range and choices. `layers` merge by name: an entry with op, block or use
replaces the layer, one without changes the keys it states, `{remove: true}` drops it, a new one
goes to the end or `after:` another. Block files of both are used. `name:` with nothing behind it
removes an entry.
"""

from __future__ import annotations

from segc.diag import Report
from segc.read.yaml import Mapping_, Scalar, Sequence_

YNode = Scalar | Mapping_ | Sequence_
Entry = tuple[Scalar, YNode]
_ONE_OF = frozenset(("optimizer", "schedule"))  # sections of the recipe that are one thing
_BY_NAME = frozenset(("params", "outputs", "losses", "init", "blocks", "weights"))


def merge(base: Mapping_, variant: Mapping_, report: Report) -> Mapping_:
    """The document a variant stands for; the positions stay those of the file they come from."""
    entries = _by_key(base)
    for key, value in variant.entries:
        old = entries.get(key.text)
        if old is not None and _is_nothing(value):
            del entries[key.text]
            continue
        if old is not None:
            value = _merge_section(key.text, old[1], value, report)
        entries[key.text] = (key, value)
    return Mapping_(tuple(entries.values()), variant.loc)


def _by_key(mapping: Mapping_) -> dict[str, Entry]:
    return {key.text: (key, value) for key, value in mapping.entries}


def _is_nothing(value: YNode) -> bool:
    return isinstance(value, Scalar) and value.value is None


def _merge_section(name: str, base: YNode, variant: YNode, report: Report) -> YNode:
    if name == "use" and isinstance(base, Sequence_) and isinstance(variant, Sequence_):
        return Sequence_(base.items + variant.items, variant.loc)
    if not isinstance(base, Mapping_) or not isinstance(variant, Mapping_):
        return variant
    if name == "layers":
        return _layers(base, variant, report)
    if name == "recipe":
        return _by_name(base, variant, report, inner=True)
    if name in _BY_NAME:
        return _by_name(base, variant, report, inner=name in ("losses", "init", "params"))
    return variant


def _by_name(base: Mapping_, variant: Mapping_, report: Report, inner: bool) -> Mapping_:
    entries = _by_key(base)
    for key, value in variant.entries:
        old = entries.get(key.text)
        if _is_nothing(value):
            _forget(key, entries, report)
            continue
        if inner and old is not None and not _another(key, old[1], value):
            value = _inner(old[1], value, report, deep=key.text == "cases")
        entries[key.text] = (key, value)
    return Mapping_(tuple(entries.values()), base.loc)


def _another(key: Scalar, old: YNode, value: YNode) -> bool:
    """Another optimizer or schedule than the base has: it takes the place of that one."""
    if key.text not in _ONE_OF or not isinstance(old, Mapping_) or not isinstance(value, Mapping_):
        return False
    return not _by_key(old).keys() & _by_key(value).keys()


def _inner(old: YNode, value: YNode, report: Report, deep: bool = False) -> YNode:
    """An entry merged key by key; with `deep`, what these keys hold too."""
    if not isinstance(old, Mapping_):
        return value
    if isinstance(value, Mapping_):
        return _by_name(old, value, report, inner=deep)
    entries = _by_key(old)
    if "type" not in entries and "default" not in entries:
        return value
    key = Scalar("default", value.loc, "default", False)  # a parameter's new default
    return Mapping_(tuple({**entries, "default": (key, value)}.values()), value.loc)


def _layers(base: Mapping_, variant: Mapping_, report: Report) -> Mapping_:
    entries = _by_key(base)
    for key, value in variant.entries:
        keys = _by_key(value) if isinstance(value, Mapping_) else {}
        if "remove" in keys:
            _remove(key, keys, entries, report)
        elif "after" in keys and isinstance(value, Mapping_):
            entries = _insert(key, value, keys["after"][1], entries, report)
        else:
            entries[key.text] = (key, _layer(entries.get(key.text), value, report))
    return Mapping_(tuple(entries.values()), base.loc)


def _layer(old: Entry | None, value: YNode, report: Report) -> YNode:
    if old is None or not isinstance(value, Mapping_):
        return value
    keys = _by_key(value)
    merged = _as_mapping(old[1])
    if merged is None or {"op", "block", "use"} & keys.keys():
        return value
    for name, (k, v) in keys.items():
        before = merged.get(name)
        if name == "layers" and before and isinstance(before[1], Mapping_):
            v = _layers(before[1], v, report) if isinstance(v, Mapping_) else v
        merged[name] = (k, v)
    return Mapping_(tuple(merged.values()), value.loc)


def _as_mapping(layer: YNode) -> dict[str, Entry] | None:
    """The entries of a layer; `relu` alone is `{op: relu}`."""
    if isinstance(layer, Mapping_):
        return _by_key(layer)
    if not isinstance(layer, Scalar) or not isinstance(layer.value, str):
        return None
    return {"op": (Scalar("op", layer.loc, "op", False), layer)}


def _remove(key: Scalar, keys: dict[str, Entry], entries: dict[str, Entry], report: Report) -> None:
    word, value = keys["remove"]
    if not isinstance(value, Scalar) or value.value is not True:
        report.error("SEG103", "`remove` is true or left out", value.loc)
    elif len(keys) > 1:
        message = f"`{key.text}` is removed, so it takes no other keys"
        report.error("SEG113", message, word.loc, hint="to replace a layer, give its `op`")
    else:
        _forget(key, entries, report)


def _forget(key: Scalar, entries: dict[str, Entry], report: Report) -> None:
    if key.text in entries:
        del entries[key.text]
        return
    hint = report.suggest(key.text, entries, "it has")
    report.error("SEG301", f"the base has no `{key.text}` to remove", key.loc, hint=hint)


def _insert(
    key: Scalar, value: Mapping_, after: YNode, entries: dict[str, Entry], report: Report
) -> dict[str, Entry]:
    place = after.text if isinstance(after, Scalar) else ""
    rest = Mapping_(tuple(e for e in value.entries if e[0].text != "after"), value.loc)
    body = _layer(entries.get(key.text), rest, report)
    if place not in entries or place == key.text:
        hint = report.suggest(place, [n for n in entries if n != key.text], "there is")
        report.error("SEG301", f"there is no layer `{place}` to come after", after.loc, hint=hint)
    out: dict[str, Entry] = {}
    for name, entry in entries.items():
        if name != key.text:
            out[name] = entry
        if name == place:
            out[key.text] = (key, body)
    return out
