"""The semantic difference of two networks: named edits, and what follows from them.

Both specs are read and checked first, so spelling, order of keys, defaults written out and
expressions of equal value make no difference. `diff_match` decides which layer is which,
this module says what changed, `diff_effects` what follows, `diff_render` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from segc.analyse import Sizes, params_of
from segc.check import Checked
from segc.diff_effects import Effects, effects
from segc.diff_match import Matching, match
from segc.ir import Node, Ref


@dataclass(frozen=True, slots=True)
class Edit:
    """One change.

    kind: added, removed, renamed, operator, attribute, wiring, presence, setting (of a layer);
    block, parameter, repeat (of a group or the spec); input, output, loss, recipe, init, text.
    where: the layer or group, by its name in the second network (removed: in the first).
    what: the attribute, parameter or key. params: change in the layer's learned values.
    because: index of the edit this one follows from (a parameter), or None.
    """

    kind: str
    where: str
    what: str = ""
    before: Any = None
    after: Any = None
    op: str = ""
    params: int = 0
    because: int | None = None


@dataclass(frozen=True, repr=False)
class Diff:
    """All edits between two networks and their consequences."""

    a: Checked
    b: Checked
    matching: Matching
    edits: tuple[Edit, ...]
    effects: Effects
    following: tuple[
        tuple[str, int], ...
    ]  # layers not edited whose parameters changed, by how many

    @property
    def identical(self) -> bool:
        """True if nothing changed but layout and comments."""
        return not self.edits

    def __repr__(self) -> str:
        """What `segc diff` prints."""
        from segc.diff_render import as_text

        return as_text(self, (self.a.graph.file, self.b.graph.file)).rstrip("\n")


def diff(a: Checked, b: Checked, sizes: Sizes | None = None) -> Diff:
    """What changed from `a` to `b`; with `sizes` also in cost."""
    matching = match(a.graph, b.graph)
    edits = [*_spec_edits(a, b), *_block_edits(matching), *_layer_edits(a, b, matching)]
    edits += _output_edits(matching)
    edits = _explained(edits, matching)
    following = tuple(_following(a, b, matching, edits))
    return Diff(a, b, matching, tuple(edits), effects(a, b, matching, sizes), following)


def _following(a: Checked, b: Checked, m: Matching, edits: list[Edit]) -> Iterator[tuple[str, int]]:
    """Layers with other weights because what they read has other channels."""
    edited = {e.where for e in edits if e.kind != "renamed"}
    for before, after in m.pairs:
        delta = params_of(b, after) - params_of(a, before)
        if delta and after.name not in edited:
            yield after.name, delta


# --- the spec as a whole --------------------------------------------------------------------------
def _spec_edits(a: Checked, b: Checked) -> Iterator[Edit]:
    old, new = a.graph, b.graph
    yield from _changes("parameter", "", old.params, new.params)
    yield from _changes("text", "", _text(old), _text(new))
    shapes, others = ({n: i.shape for n, i in g.inputs.items()} for g in (old, new))
    yield from _changes("input", "", shapes, others)
    init, other = (
        {f"{op}.{w}": text for op, by in g.inits.items() for w, text in _inits(by).items()}
        for g in (old, new)
    )
    yield from _changes("init", "", init, other)
    for name in dict.fromkeys((*old.losses, *new.losses)):
        yield from _section("loss", name, old.losses.get(name), new.losses.get(name))
    yield from _section("recipe", "", old.recipe or None, new.recipe or None)


def _section(kind: str, name: str, old: Any, new: Any) -> Iterator[Edit]:
    """Edits key by key, or one if the whole section came or went."""
    if old is None or new is None:
        if old != new:
            yield Edit(kind, "", name, old and dict(old), new and dict(new))
        return
    yield from _changes(kind, "", _flat(old, name), _flat(new, name))


def _text(graph: Any) -> dict[str, str]:
    return {"model": graph.name, **{k: getattr(graph, k) for k in ("title", "source", "notes")}}


def _inits(by_weight: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Weight -> its initialiser in words: `kaiming_normal {mode: fan_out}`."""
    return {
        weight: " ".join([name, *([show(args)] if args else [])])
        for weight, init in by_weight.items()
        for name, args in init.items()
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _changes(
    kind: str, where: str, old: Mapping[str, Any], new: Mapping[str, Any], op: str = ""
) -> Iterator[Edit]:
    """An edit for every key whose value differs; None stands for a key that is not there."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if (before != after) or type(before) is not type(after):
            yield Edit(kind, where, key, before, after, op)


# --- groups ---------------------------------------------------------------------------------------
def _block_edits(m: Matching) -> Iterator[Edit]:
    for path, other in m.scopes.items():
        old, new = m.a.scopes[path], m.b.scopes[other]
        if old.block != new.block:
            yield Edit("block", other, "block", old.block, new.block)
        elif old.absent == new.absent:
            yield from _changes("parameter", other, old.params, new.params)
        if old.kind == new.kind == "repeat" and len(old.children) != len(new.children):
            yield Edit("repeat", other, "repeat", len(old.children), len(new.children))
        if old.absent != new.absent:
            yield Edit("presence", other, "when", not old.absent, not new.absent)


# --- layers ---------------------------------------------------------------------------------------
def _layer_edits(a: Checked, b: Checked, m: Matching) -> Iterator[Edit]:
    for node in m.removed:
        if not node.absent:
            yield Edit(
                "removed", node.name, "", _what(node), None, node.op.name, -params_of(a, node)
            )
    for node in m.b.nodes:
        name = m.to_a.get(node.name)
        if name is None:
            if not node.absent:
                gained = params_of(b, node)
                yield Edit("added", node.name, "", None, _what(node), node.op.name, gained)
            continue
        before = m.a.by_name[name]
        edits = list(_pair_edits(before, node, m))
        delta = params_of(b, node) - params_of(a, before)
        causes = [i for i, e in enumerate(edits) if e.kind != "renamed"]
        if delta and causes:
            edits[causes[0]] = replace(edits[causes[0]], params=delta)
        yield from edits


def _what(node: Node) -> str:
    """A layer in a few words: its operator and what was given of it."""
    given = [
        f"{k} {show(v)}" for k, v in node.op.values.items() if node.op.attrs[k].kind != "Operand"
    ]
    return ", ".join([node.op.name, *given])


def _pair_edits(a: Node, b: Node, m: Matching) -> Iterator[Edit]:
    if a.name != b.name:
        yield Edit("renamed", b.name, "", a.name, b.name, b.op.name)
    if a.absent != b.absent:
        yield Edit("presence", b.name, "when", not a.absent, not b.absent, b.op.name)
        return
    if a.op.name != b.op.name:
        yield Edit("operator", b.name, "op", _what(a), _what(b), b.op.name)
    else:
        yield from _changes("attribute", b.name, _attributes(a), _attributes(b), b.op.name)
    yield from _changes("setting", b.name, _settings(a, m), _settings(b, None), b.op.name)
    yield from _wiring(a, b, m)


def _attributes(node: Node) -> dict[str, Any]:
    return {k: getattr(node.op, k) for k, attr in node.op.attrs.items() if attr.kind != "Operand"}


def _settings(node: Node, m: Matching | None) -> dict[str, Any]:
    """The keys any layer may have; names of the first network as the second has them."""
    shared = node.shared and m.to_b.get(node.shared, node.shared) if m else node.shared
    inits = {f"init.{weight}": text for weight, text in _inits(node.init).items()}
    return {"only": node.only, "freeze": node.freeze, "use": shared, **inits}


def _wiring(a: Node, b: Node, m: Matching) -> Iterator[Edit]:
    """Operands that come from elsewhere now, apart from layers put in or taken out between."""
    old = [_through(ref, m.a.by_name, lambda n: n not in m.to_b) for ref in a.inputs]
    new = [_through(ref, m.b.by_name, lambda n: n not in m.to_a) for ref in b.inputs]
    mapped = [m.mapped(ref) or ref for ref in old]
    if mapped == new:
        return
    direct = [m.mapped(ref) for ref in a.inputs]
    if direct == list(b.inputs):
        return
    yield Edit("wiring", b.name, "from", _refs(a.inputs), _refs(b.inputs), b.op.name)


def _through(ref: Ref, nodes: Mapping[str, Node], skipped: Callable[[str], bool]) -> Ref:
    """The value before the layers that only one network has, along their first operands."""
    while ref.node in nodes and (skipped(ref.node) or nodes[ref.node].absent):
        inputs = nodes[ref.node].inputs
        if not inputs:
            break
        ref = inputs[0]
    return ref


def _refs(refs: Iterable[Ref]) -> tuple[str, ...]:
    return tuple(str(ref) for ref in refs)


def _output_edits(m: Matching) -> Iterator[Edit]:
    old, new = m.a.outputs, m.b.outputs
    for name in dict.fromkeys((*old, *new)):
        if name in old and name in new:
            passed = _through(new[name], m.b.by_name, lambda n: n not in m.to_a)
            if m.mapped(old[name]) in (new[name], passed):
                continue
        before = str(old[name]) if name in old else None
        after = str(new[name]) if name in new else None
        yield Edit("output", "", name, before, after)
    phases, others = ({f"{n} only": p for n, p in g.output_only.items()} for g in (m.a, m.b))
    yield from _changes("output", "", phases, others)


# --- causes ---------------------------------------------------------------------------------------
def _explained(edits: list[Edit], m: Matching) -> list[Edit]:
    """Attach to every edit the parameter change it follows from, the outermost first.

    A value follows from a parameter if both changed from the same value to the same, or else by
    the same factor (`out_channels: 4 * width`).
    """
    kinds = ("parameter", "repeat", "presence")
    causes: dict[str, list[int]] = {}
    for i, edit in enumerate(edits):
        if edit.kind in kinds and not edit.op:
            causes.setdefault(edit.where, []).append(i)
    done = []
    for i, edit in enumerate(edits):
        around = [c for group in _groups_around(edit.where) for c in causes.get(group, ())]
        near = [c for c in around if c != i and _may_cause(edits[c], edit)]
        found = [c for c in near if _equally(edits[c], edit)]
        found += [c for c in near if edit.kind != "presence" and _by_one_factor(edits[c], edit)]
        done.append(replace(edit, because=found[0]) if found else edit)
    return done


def _groups_around(path: str) -> Iterator[str]:
    """The groups a layer (or group) lies in, outermost first; "" is the spec."""
    yield ""
    end = path.find(".")
    while end >= 0:
        yield path[:end]
        end = path.find(".", end + 1)


def _may_cause(cause: Edit, edit: Edit) -> bool:
    """A parameter acts on values; a repeat on the layers of its copies."""
    if cause.kind in ("repeat", "presence"):
        layers = edit.kind in ("added", "removed")
        return layers and (cause.kind == "presence" or _is_copy(edit, cause))
    if edit.kind == "parameter":
        return bool(edit.where)
    return edit.kind in ("attribute", "presence", "repeat")


def _equally(cause: Edit, edit: Edit) -> bool:
    if cause.kind in ("repeat", "presence"):
        return True
    before, after = _number(edit.before), _number(edit.after)
    if before is not None and after is not None:
        return (before, after) == (_number(cause.before), _number(cause.after))
    return (edit.before, edit.after) == (cause.before, cause.after)


def _by_one_factor(cause: Edit, edit: Edit) -> bool:
    old, new = _number(edit.before), _number(edit.after)
    was, now = _number(cause.before), _number(cause.after)
    if not old or not was or new is None or now is None:
        return False
    return old * now == new * was


def _is_copy(edit: Edit, repeat: Edit) -> bool:
    """True for a layer of a copy that a longer (or shorter) repeat has more (or less)."""
    number = edit.where[len(repeat.where) + 1 :].partition(".")[0]
    fewer = min(repeat.before, repeat.after)
    return number.isdigit() and int(number) >= fewer


def _number(value: Any) -> float | None:
    if isinstance(value, tuple) and value and all(v == value[0] for v in value):
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


def show(value: Any) -> str:
    """A value as a spec writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        if (
            value
            and len(value) in (2, 4)
            and all(v == value[0] and not isinstance(v, str) for v in value)
        ):
            return show(value[0])
        return "[" + ", ".join(show(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {show(v)}" for k, v in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
