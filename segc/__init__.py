"""segc: a compiler for segmentation networks, from a YAML layer graph to plain PyTorch.

    graph = segc.load("specs/unet.yaml", classes=5)     # a checked Graph
    segc.check(graph)                                   # accepted sizes, totals
    segc.diff(graph, segc.load("specs/unet.yaml"))      # edits and consequences
    segc.draw(graph).svg()
    segc.build("specs/unet.yaml", "generated")          # the files
    model = segc.module("specs/unet.yaml", classes=5)   # a torch.nn.Module

Faults of a spec raise `segc.Fail`, whose `diagnostics` say what, where, and the way out.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from segc.version import __version__

__all__ = ["Fail", "Graph", "__version__", "build", "check", "diff", "draw", "load", "module"]


def _offered(name: str) -> Any:
    """A function of `segc.api`, imported when it is first used: the command line needs none."""

    def get(_: ModuleType) -> Any:
        from segc import api

        return getattr(api, name)

    # The import system binds submodules (segc.check, segc.draw) to the same names on the package;
    # the functions win, the submodules stay reachable by `from segc.check import …`.
    return property(get, lambda package, submodule: None)


class _Package(ModuleType):
    """This package, with the functions of `segc.api` as attributes."""


for _name in __all__:
    if _name != "__version__":
        setattr(_Package, _name, _offered(_name))
sys.modules[__name__].__class__ = _Package
