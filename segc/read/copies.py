"""A layer that is not there, and one that is there several times in a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segc.ir import Node, Ref, Scope
from segc.op import REGISTRY
from segc.read.pyramid import Wired
from segc.read.resolve import BROKEN, Frame, Value
from segc.read.spec import LayerDecl

if TYPE_CHECKING:
    from segc.read.expand import Expander


def absent(expander: Expander, decl: LayerDecl, path: str, wired: Wired, only: str | None) -> Value:
    """A layer whose `when` is false hands on what it reads first."""
    expander.signatures.unexpanded(decl)
    if not wired.values:
        return BROKEN
    value, first = wired.values[0], wired.refs[0]
    if decl.kind == "op":
        identity = REGISTRY["identity"]()
        expander.add(Node(path, identity, (first,), decl.loc, only=only, absent=True))
        return value if value != first else Ref(path)
    kind = "block" if decl.kind == "block" else "group"
    block = decl.target if kind == "block" else None
    inputs = (("x", first),)
    expander.scopes[path] = Scope(
        path, kind, decl.loc, block, inputs=inputs, output=first, only=only, absent=True
    )
    return value


def repeated(
    expander: Expander, decl: LayerDecl, path: str, frame: Frame, env: Mapping[str, Any],
    wired: Wired, only: str | None,
) -> Value:  # fmt: skip
    """Copies in a chain, numbered 0, 1, …; each reads the one before, and the other operands."""
    count = expander.number(decl.keys["repeat"], "int", env, "repeat", 1)
    if count < 1 or count > expander.max_layers:
        message = f"`repeat` must be between 1 and {expander.max_layers:,}, got {count:,}"
        expander.report.error("SEG105", message, decl.keys["repeat"].loc)
        return BROKEN
    expander.made[path] = decl, frame, None
    last: Value = BROKEN
    values = wired.values
    faults = len(expander.report.diagnostics)
    for i in range(count):
        inner = {**env, "i": i}
        operands = replace(wired, values=values)
        last = expander.single(decl, f"{path}.{i}", frame, inner, operands, only)
        if len(expander.report.diagnostics) > faults:
            return BROKEN  # the other copies have the same fault
        values = (last, *wired.values[1:]) if wired.values else ()
    output = last if isinstance(last, Ref) else last.refs[0]
    operands_of = tuple((f"x{n}" if n else "x", r) for n, r in enumerate(wired.refs))
    children = tuple(str(i) for i in range(count))
    expander.scopes[path] = Scope(
        path, "repeat", decl.loc, inputs=operands_of, output=output, children=children, only=only
    )
    return last
