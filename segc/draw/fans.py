"""Parallel branches between one source and one join: drawn as a stack."""

from __future__ import annotations

from collections.abc import Sequence

from segc.draw.model import Fan, Item, Link

BRANCHES = 3


def find_fans(
    items: Sequence[Item], links: Sequence[Link]
) -> tuple[list[Item], list[Link], list[Fan]]:
    """The fans; a value that also goes straight into the join becomes a branch `identity`."""
    out_items, out_links = list(items), list(links)
    fans: list[Fan] = []
    by_id = {item.id: item for item in items}
    into: dict[str, list[Link]] = {}
    after: dict[str, list[Link]] = {}
    for link in links:
        into.setdefault(link.dst, []).append(link)
        after.setdefault(link.src, []).append(link)
    for join in items:
        if join.kind != "circle":
            continue
        groups: dict[str, list[str]] = {}
        for link in into.get(join.id, ()):
            branch = by_id[link.src]
            if _is_branch(branch, join, into, after):
                groups.setdefault(into[branch.id][0].src, []).append(branch.id)
        for source, branches in groups.items():
            if len(branches) >= BRANCHES:
                branches += _identity(source, join, by_id, out_items, out_links, branches)
                out_items = _gathered(out_items, branches)
                fan = Fan(f"fan {join.id}", _title(join.scope), tuple(branches))
                fans.append(fan)
    return out_items, out_links, fans


def _title(scope: str) -> str:
    """The block's own name; a number says nothing without the name before it."""
    before, _, name = scope.rpartition(".")
    return f"{before.rpartition('.')[2]}.{name}" if name.isdigit() and before else name


def _is_branch(
    item: Item, join: Item, into: dict[str, list[Link]], after: dict[str, list[Link]]
) -> bool:
    lonely = len(into.get(item.id, ())) == 1 and len(after.get(item.id, ())) == 1
    return lonely and item.kind == "box" and item.stride == join.stride and item.count == 1


def _identity(
    source: str,
    join: Item,
    by_id: dict[str, Item],
    items: list[Item],
    links: list[Link],
    branches: list[str],
) -> list[str]:
    for i, link in enumerate(links):
        if link.src == source and link.dst == join.id:
            name = f"{join.id} identity"
            origin = by_id[source]
            if origin.stride != join.stride:
                return []
            items.append(
                Item(name, "box", "plain", "identity", "", link.shape, join.stride, join.size)
            )
            links[i] = Link(source, name, "flow", "", link.shape)
            links.append(Link(name, join.id, "flow", "", link.shape))
            return [name]
    return []


def _gathered(items: list[Item], branches: list[str]) -> list[Item]:
    """The branches next to each other, where the first of them stood."""
    chosen = [item for item in items if item.id in branches]
    at = next(i for i, item in enumerate(items) if item.id in branches)
    rest = [item for item in items if item.id not in branches]
    return [*rest[:at], *chosen, *rest[at:]]
