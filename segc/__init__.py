"""segc: a compiler for segmentation networks, from a YAML layer graph to plain PyTorch.

    graph = segc.load("specs/unet.yaml", classes=5)     # a checked Graph
    segc.check(graph)                                   # derived facts, as `segc check --json`
    print(segc.diff(graph, segc.load("specs/unet.yaml")))
    segc.draw(graph).svg()
    segc.build("specs/unet.yaml", "generated")          # the files
    model = segc.module("specs/unet.yaml", classes=5)   # a torch.nn.Module

Faults of a spec raise `segc.Fail`, whose `diagnostics` say what, where, and the way out.
"""

from __future__ import annotations

from segc.version import __version__

__all__ = ["Fail", "__version__", "build", "check", "diff", "draw", "load", "module"]

_API = ("Fail", "build", "check", "diff", "draw", "load", "module")


def __getattr__(name: str) -> object:
    """Import the Python interface when it is first used; the command line never needs it."""
    if name in _API:
        from segc import api

        return getattr(api, name)
    raise AttributeError(f"module 'segc' has no attribute '{name}'")
