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
    sizes_of_inputs: frozenset[str] = frozenset()  # names that are taken

    def new(
        self,
        node: str,
        bound: DimLike | None,
        of: DimLike | None = None,
        phases: Mapping[str, DimLike] | None = None,
        port: str = "",
    ) -> DimLike:
        """The symbol of a set that a layer makes, named after it, as briefly as is clear."""
        words = [w for w in (*node.split("."), port) if w] or ["rows"]
        names = ["_".join(words[k:]) for k in reversed(range(len(words)))]
        names += [f"{names[-1]}_{n}" for n in range(2, len(self.sets) + 3)]
        free = (n for n in names if not n[0].isdigit() and n not in self.sizes_of_inputs)
        name = next(n for n in free if n not in self.sets or self.sets[n].node == node + port)
        self.sets[name] = RowSet(name, node + port, bound, of, dict(phases or {}))
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

    def settled(self, counts: Mapping[str, int]) -> RowSets:
        """The sets with as many rows as were counted."""
        sets = {
            name: RowSet(name, found.node, counts[name]) if name in counts else found
            for name, found in self.sets.items()
        }
        return RowSets(sets)

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
