"""The coarsest view: encoder, context, decoder and head, with their share of the parameters."""

from __future__ import annotations

from dataclasses import replace

from segc.draw.facts import Facts
from segc.draw.model import Item, Link, View
from segc.draw.view import make_view
from segc.ir import Ref

PHASES = ("encoder", "context", "decoder", "head")


def system_view(facts: Facts) -> View:
    """The block view with everything between two phases as one box."""
    view = make_view(facts)
    phase = _phases(view)
    groups: dict[str, list[Item]] = {}
    for item in view.items:
        groups.setdefault(phase[item.id], []).append(item)
    items = [_box(facts, name, members) for name, members in groups.items()]
    order = {name: i for i, name in enumerate(["", *PHASES])}
    items.sort(key=lambda item: order.get(item.id, -1))
    links: dict[tuple[str, str], Link] = {}
    for link in view.links:
        pair = phase[link.src], phase[link.dst]
        if pair[0] != pair[1] and link.kind != "index":
            links.setdefault(pair, Link(*pair, "flow", "", link.shape))
    return View(view.title, view.subtitle, tuple(items), _with_skips(items, links))


def _phases(view: View) -> dict[str, str]:
    """Which phase each item belongs to: before, along and after the coarsest stride."""
    strides = [i.stride for i in view.items if i.stride is not None]
    deepest = max(strides)
    leading: set[str] = set()  # items on the way to the coarsest stride, or on it
    for item in reversed(view.items):
        if item.stride == deepest or any(k.dst in leading for k in view.after[item.id]):
            leading.add(item.id)
    at: dict[str, int] = {}
    arrived: set[str] = set()
    for item in view.items:
        behind = [at[k.src] for k in view.before[item.id]]
        below = any(k.src in arrived for k in view.before[item.id])
        if item.stride == deepest or below:
            arrived.add(item.id)
        wish = (1 if below else 0) if item.id in leading else 2
        if item.family == "predict":
            wish = 3
        at[item.id] = max([wish, *behind]) if item.family != "input" else -1
    return {name: name if i < 0 else PHASES[i] for name, i in at.items()}


def _box(facts: Facts, name: str, members: list[Item]) -> Item:
    first, last = members[0], members[-1]
    if first.family == "input" and len(members) == 1:
        return first
    params = sum(facts.params.get(n, 0) for item in members for n in item.members)
    part = 100 * params / facts.total if facts.total else 0.0
    share = f" · {part:.0f} %" if part >= 1 or not params else " · < 1 %"
    family = {"context": "context", "head": "predict"}.get(name, "conv")
    ref = Ref(last.members[-1]) if last.members else None
    shape = facts.shape_text(ref) if ref is not None else last.shape
    tip = ", ".join(item.id for item in members)
    return Item(
        name, "box", family, name, f"{params:,} parameters{share}", shape, last.stride, last.size,
        tip=tip[:500], members=tuple(n for item in members for n in item.members),
    )  # fmt: skip


def _with_skips(items: list[Item], links: dict[tuple[str, str], Link]) -> tuple[Link, ...]:
    """Links past a neighbour are skips."""
    place = {item.id: i for i, item in enumerate(items)}
    return tuple(
        replace(k, kind="skip") if place[k.dst] > place[k.src] + 1 else k for k in links.values()
    )
