"""Row sets: named sets of rows whose number depends on the data (anchors kept, RoIs, detections).

In a shape a row set is a symbol of its own as the first size, so two sets are equal only if they
are the same one. What is known of each set stands here: the layer that made it, an upper bound,
the set it is a part of. A value that joins two phases has rows that are another set in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from segc.dim import DimLike, evaluate, substitute, symbol, symbols

PHASES = ("train", "test")
GROUND_TRUTH = 16  # rows of ground truth that figures are quoted for where none are given


@dataclass(frozen=True, slots=True)
class RowSet:
    """A named set of rows.

    `bound`: the most rows it can have, None where the data decide (ground truth). `of`: the rows it
    was chosen from. `phases`: for a set that joins two phases, the set it is in each.
    """

    name: str
    node: str
    bound: DimLike | None = None
    of: DimLike | None = None
    phases: Mapping[str, DimLike] = field(default_factory=dict)


@dataclass
class RowSets:
    """All row sets of a network, in the order in which they arise."""

    sets: dict[str, RowSet] = field(default_factory=dict)

    def new(
        self,
        node: str,
        bound: DimLike | None,
        of: DimLike | None = None,
        phases: Mapping[str, DimLike] | None = None,
        port: str = "",
    ) -> DimLike:
        """The symbol of a set that a layer makes, named after it."""
        wanted = "_".join([*node.split("."), *([port] if port else [])]) or "rows"
        wanted = f"rows_{wanted}" if wanted[0].isdigit() else wanted
        name, n = wanted, 2
        while name in self.sets and self.sets[name].node != node:
            name, n = f"{wanted}_{n}", n + 1
        self.sets[name] = RowSet(name, node, bound, of, dict(phases or {}))
        return symbol(name)

    def named(self, name: str) -> None:
        """A set whose size the data give: rows of an input."""
        self.sets.setdefault(name, RowSet(name, name))

    def among(self, d: DimLike) -> bool:
        """The size depends on the number of rows of some set."""
        return not isinstance(d, int) and any(name in self.sets for name in symbols(d))

    def project(self, d: DimLike, phase: str) -> DimLike:
        """The size as it is in one phase."""
        while True:
            joined = {
                n: self.sets[n].phases[phase]
                for n in symbols(d)
                if n in self.sets and phase in self.sets[n].phases
            }
            if not joined:
                return d
            d = substitute(d, joined)

    def size(self, d: DimLike, env: Mapping[str, int], phase: str) -> int:
        """The number of rows at most, with the input sizes `env`."""
        return evaluate(d, self.sizes(env, phase))

    def sizes(self, env: Mapping[str, int], phase: str) -> dict[str, int]:
        """The values of all symbols in one phase: sets as large as they can be."""
        full = dict(env)
        for name, found in self.sets.items():
            if name in full:
                continue
            own = found.phases.get(phase, found.bound)
            full[name] = GROUND_TRUTH if own is None else evaluate(own, full)
        return full


class CountedRows:
    """Row sets for a `Need` of concrete sizes: as many rows as there can be."""

    def rows(self, bound: DimLike | None, of: DimLike | None = None, port: str = "") -> DimLike:
        return GROUND_TRUTH if bound is None else bound

    def joined(self, train: DimLike, test: DimLike) -> DimLike:
        return test


def phases_of(only: str | None) -> Iterable[str]:
    """The phases in which a layer with this `only` computes."""
    if only in PHASES:
        return (only,)
    return () if only == "checkpoint" else PHASES


def listed(phase: str | None) -> str:
    return {"train": "in training only", "test": "outside training only"}.get(phase or "", "")
