"""The Python interface: what the verbs do, as functions."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segc import ir
from segc.analyse import reference_sizes, table
from segc.build import Built, check_source
from segc.build import build as build_source
from segc.check import Checked
from segc.diag import Fail
from segc.source import Source

if TYPE_CHECKING:
    from segc.diff import Diff
    from segc.draw import Drawing

__all__ = ["Fail", "Graph", "build", "check", "diff", "draw", "load", "module"]


@dataclass(frozen=True, repr=False)
class Graph:
    """A checked network. Prints as its layer table; a notebook shows its diagram."""

    checked: Checked

    @property
    def graph(self) -> ir.Graph:
        """The layers, scopes, inputs and outputs."""
        return self.checked.graph

    def __repr__(self) -> str:
        from segc.summary import as_text

        return as_text(self.checked, table(self.checked, reference_sizes(self.checked)))

    def _repr_svg_(self) -> str:
        return draw(self).svg()


def load(path: str | PathLike[str], **params: Any) -> Graph:
    """Read and check a spec with parameter values; Fail with every problem it has."""
    return Graph(check_source(Source.open(path), params))


def check(graph: Graph) -> dict[str, Any]:
    """Accepted sizes, outputs and totals of a network, as plain data."""
    checked = graph.checked
    totals = table(checked).totals
    return {
        "model": checked.graph.name,
        "constraints": list(checked.domain.constraints()),
        "outputs": {
            name: [checked.domain.simplify(d) for d in checked.shape(ref)]
            for name, ref in checked.graph.outputs.items()
        },
        "layers": totals.layers,
        "params": totals.params,
        "trainable": totals.trainable,
    }


def diff(a: Graph, b: Graph) -> Diff:
    """The edits that lead from `a` to `b`, and what follows from them."""
    from segc.diff import diff as compare

    return compare(a.checked, b.checked)


def draw(graph: Graph, **options: Any) -> Drawing:
    """The diagram; options as `segc.draw.draw` takes them (level, theme, expand, fold, sizes)."""
    from segc.draw import draw as picture

    return picture(graph.checked, **options)


def build(
    path: str | PathLike[str], out: str | PathLike[str] = "generated", **params: Any
) -> Built:
    """Write every file of a network into `out`/<name of the spec>/, all of them or none."""
    from segc.publish import claim

    built = build_source(Source.open(path), params)
    with claim(Path(out) / Path(path).stem) as target:
        target.write(built.files)
    return built


def module(path: str | PathLike[str], **params: Any) -> Any:
    """An instance of the emitted torch.nn.Module, with freshly initialised weights."""
    from segc.build import Maker
    from segc.emit.module import model_source
    from segc.verify import network

    make = Maker(Source.open(path), params)
    return network(model_source(make), "segc_module", device="cpu")
