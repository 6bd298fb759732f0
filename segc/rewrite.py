"""Optimisations as values: what a rule answers about a place in the graph.

A rule looks at one node and says `Rewrite` (what changes and how each new weight is made), `Skip`
(why it does not apply here) or nothing (it is not about this node). Rules never touch the graph;
`optimise` carries their answers out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from segc.check import Checked
from segc.ir import Node, Ref

Argument = str | int | float | bool | None | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """How weights of the deploy network are made from those of the plain one.

    function: one of `rules/weights.py`, which from_model calls with the state dict and `args`
    (names of layers first). The function takes what it needs out of the state dict and puts the
    new tensors in.
    """

    function: str
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One edit of the graph.

    put: for each layer that is replaced, the layers that stand in its place, in order; readers
    read the last of them. The same name with another operator changes a layer. instead: for each
    layer that goes, the value its readers read instead. What nobody reads any more goes by
    itself. moves: the weights that must be made anew. dear: what is to be said where it does not
    pay, if the figures do not say it.
    """

    put: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    instead: Mapping[str, Ref] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    dear: str = ""

    @property
    def touched(self) -> frozenset[str]:
        """The layers it replaces or drops."""
        return frozenset((*self.put, *self.instead))


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a rule that could have applied did not."""

    node: str
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A named optimisation.

    level "safe": it only removes work, so it always applies. Level "all": it exchanges one
    computation for another; the cost model decides. apply: looks at one layer that is there.
    """

    name: str
    level: str
    apply: Callable[[Checked, Node], Rewrite | Skip | None]

    @property
    def page(self) -> str:
        """Its algebra, as its file states it; the first line says what becomes what."""
        return (sys.modules[self.apply.__module__].__doc__ or "").strip()

    @property
    def about(self) -> str:
        """What becomes what."""
        return self.page.split("\n", 1)[0]


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that applied at a layer: multiply-accumulates and bytes moved, before less after."""

    node: str
    rule: str
    macs: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Optimised:
    """The graph after all rules, the weights to convert, and what happened where."""

    checked: Checked
    moves: tuple[Move, ...] = ()
    fired: tuple[Fired, ...] = ()
    skipped: tuple[tuple[str, Skip], ...] = ()
    unused: tuple[str, ...] = ()  # layers with weights that inference does not have
