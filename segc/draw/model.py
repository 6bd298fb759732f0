"""The view: what a picture shows, before anything has a place.

Items are boxes, pills and circles in topological order; every text and number in them is final.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to draw.

    kind: box | pill (one layer that changes the resolution) | circle (a join: `symbol`).
    `stride` is the output stride in input pixels, None where it has none (a global value);
    `size` the height and width of the output at the picture's input size. `count` > 1 marks a
    repeat. `scope` is the path of the block it lives in.
    """

    id: str
    kind: str
    family: str
    name: str
    detail: str = ""
    shape: str = ""
    stride: Fraction | None = None
    size: tuple[int, int] | None = None
    count: int = 1
    symbol: str = ""
    arrow: str = ""
    only: bool = False
    scope: str = ""
    tip: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A value on its way from one item to another. kind: flow | skip | index | train."""

    src: str
    dst: str
    kind: str = "flow"
    label: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Fan:
    """Three or more parallel branches of one item each, from one source into one join."""

    id: str
    title: str
    branches: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Title, subtitle, items, links and fans; `copies` counts equal blocks drawn once."""

    title: str
    subtitle: str
    items: tuple[Item, ...]
    links: tuple[Link, ...]
    fans: tuple[Fan, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}

    @cached_property
    def after(self) -> dict[str, list[Link]]:
        """Links by their source."""
        table: dict[str, list[Link]] = {item.id: [] for item in self.items}
        for link in self.links:
            table[link.src].append(link)
        return table

    @cached_property
    def before(self) -> dict[str, list[Link]]:
        """Links by their target."""
        table: dict[str, list[Link]] = {item.id: [] for item in self.items}
        for link in self.links:
            table[link.dst].append(link)
        return table
