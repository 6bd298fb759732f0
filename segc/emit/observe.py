"""Other settings of the spec's parameters, to learn what each of them changes.

A parameter that changes numbers only is *free*: the emitted constructor takes it. One whose other
values fail, or change which layers there are or how they are wired, is *fixed* at its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segc.check import Checked
from segc.diag import Fail
from segc.emit.structure import Builder
from segc.emit.views import View

Build = Callable[[Mapping[str, Any]], Checked]
JOINT = 2  # settings of all free parameters at once
LARGE = 2_000  # layers of a network for which fewer settings are tried


@dataclass(frozen=True, eq=False)
class Probe:
    """The network with one parameter changed."""

    name: str
    value: Any
    checked: Checked


class Observations:
    """The network as built and at other settings; `probes` are those of one parameter each."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self._tried: dict[tuple[tuple[str, Any], ...], Checked | None] = {}
        self._views: dict[tuple[int, frozenset[str]], View] = {}
        self._numbers: dict[int, int] = {}
        self.base = build({})
        self.params = dict(self.base.graph.params)
        self.wanted = 2 if len(self.base.graph.nodes) > LARGE else 4  # settings of a number
        self.probes: dict[str, list[Probe]] = {}
        for name, value in self.params.items():
            found = list(self._probe(name, value))
            enough = len(found) >= (1 if isinstance(value, bool) else 2)
            if enough and all(self._alike(p.checked) for p in found):
                self.probes[name] = found

    def _probe(self, name: str, value: Any) -> Iterator[Probe]:
        """The network at nearby values of one parameter, those that make sense."""
        count = 0
        for other in nearby(value):
            checked = self._try({name: other})
            if checked is not None:
                yield Probe(name, other, checked)
                count += 1
            if count == self.wanted:
                return

    def _try(self, settings: Mapping[str, Any]) -> Checked | None:
        key = tuple(settings.items())
        if key not in self._tried:
            try:
                self._tried[key] = self.build(settings)
            except Fail:
                self._tried[key] = None
        return self._tried[key]

    def _view(self, checked: Checked, unboxed: frozenset[str] = frozenset()) -> View:
        """One view a network, which keeps what was found out; numbered as they come, the base 0."""
        number = self._numbers.setdefault(id(checked), len(self._numbers))
        key = number, unboxed
        if key not in self._views:
            self._views[key] = View(number, checked, unboxed)
        return self._views[key]

    def _alike(self, other: Checked) -> bool:
        """The same layers, wired alike: the two can be one class."""
        a, b = self._view(self.base), self._view(other)
        if tuple(a.graph.outputs) != tuple(b.graph.outputs) or a.graph.inits != b.graph.inits:
            return False
        both = a.present & b.present
        if a.identities & both != b.identities & both:
            return False
        if a.structure == b.structure:
            return True
        builder = Builder([a, b])
        builder.build()
        return builder.of[a.number, ""] is builder.of[b.number, ""]

    @property
    def free(self) -> tuple[str, ...]:
        return tuple(self.probes)

    def fix(self, name: str) -> None:
        """Take a parameter as fixed after all."""
        del self.probes[name]

    def views(self, unboxed: frozenset[str] = frozenset()) -> list[View]:
        """The network as built (first), every probe, and some with all parameters changed."""
        found = [self.base, *(p.checked for probes in self.probes.values() for p in probes)]
        if len(self.probes) > 1:
            for k in range(JOINT):
                settings = {n: p[min(k, len(p) - 1)].value for n, p in self.probes.items()}
                joint = self._try(settings)
                if joint is not None and self._alike(joint):
                    found.append(joint)
        return [self._view(checked, unboxed) for checked in found]


def nearby(value: Any) -> list[Any]:
    """Other values to try: `64` -> 65, 128, 63, 512, 66."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        wanted = [value + 1, 2 * value, value - 1, 8 * value, value + 2, 3 * value, value // 2]
    elif isinstance(value, float):
        wanted = [value / 2, 0.75 * value, value + 0.125, 2 * value]  # type: ignore[list-item]
    else:
        return []
    return [v for v in dict.fromkeys(wanted) if v != value and v >= 0]
