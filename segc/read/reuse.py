"""`use: layer` inside `layers`: an earlier layer or block applied again with the same weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from segc.diag import Note
from segc.ir import Node, Ref, Scope
from segc.read.resolve import BROKEN, Frame, Value
from segc.read.spec import LayerDecl

if TYPE_CHECKING:
    from segc.read.expand import Expander
    from segc.read.pyramid import Wired


def reapply(
    expander: Expander, decl: LayerDecl, path: str, frame: Frame, wired: Wired, only: str | None
) -> Value:
    """Copy the nodes of the target under a new path, each naming whose weights it shares."""
    places = {name: key.loc for name, (key, _) in decl.attrs.items()}
    places |= {name: decl.keys[name].loc for name in ("init", "freeze") if name in decl.keys}
    for name, loc in places.items():
        message = f"`use` takes no argument `{name}`: it applies `{decl.target}` as it is"
        expander.report.error("SEG102", message, loc)
    if places:
        return BROKEN
    value = expander.resolver.value(decl.target, decl.target_loc, frame, decl.name)
    target = _owner(value, decl.target, expander, frame)
    if target is None:
        if value != BROKEN:
            message = f"`{decl.target}` is an input, not a layer"
            expander.report.error("SEG301", message, decl.target_loc)
        return BROKEN
    if isinstance(target, Node):
        return _apply_node(expander, target, decl, path, wired, only)
    return _apply_scope(expander, target, decl, path, wired, only)


def again(
    expander: Expander, decl: LayerDecl, made: str, path: str, wired: Wired, only: str | None
) -> Value:
    """The layer or group at `made` applied to other values, as `path`."""
    target = expander.scopes.get(made) or expander.nodes.get(made)
    if isinstance(target, Node):
        return _apply_node(expander, target, decl, path, wired, only)
    return BROKEN if target is None else _apply_scope(expander, target, decl, path, wired, only)


def _owner(value: Value, text: str, expander: Expander, frame: Frame) -> Node | Scope | None:
    """The layer or group a name means (not the value of its last layer)."""
    if value == BROKEN:
        return None
    walk: Frame | None = frame
    first, _, rest = text.partition(".")
    while walk is not None:
        base = walk.names.get(first)
        if isinstance(base, str):
            path = f"{base}.{rest}" if rest else base
            return expander.scopes.get(path) or expander.nodes.get(path)
        walk = walk.parent
    return None


def _apply_node(
    expander: Expander, target: Node, decl: LayerDecl, path: str, wired: Wired, only: str | None
) -> Ref:
    own = len(target.inputs) - len(target.op.extra)
    if len(wired.refs) != own:
        _wrong_count(expander, decl, wired, own, target)
        return BROKEN
    node = replace(
        target,
        name=path,
        inputs=wired.refs + target.inputs[own:],
        loc=decl.loc,
        input_locs=wired.ref_locs,
        only=only,
        shared=target.shared or target.name,
        init={},
    )
    expander.add(node)
    return Ref(path)


def _wrong_count(
    expander: Expander, decl: LayerDecl, wired: Wired, own: int, target: Node | Scope
) -> None:
    note = Note(target.loc, "it is defined here")
    message = f"`{decl.target}` reads {own} value(s), `{decl.name}` gives it {len(wired.refs)}"
    expander.report.error("SEG307", message, decl.loc, notes=(note,))


def _apply_scope(
    expander: Expander, target: Scope, decl: LayerDecl, path: str, wired: Wired, only: str | None
) -> Value:
    if target.absent and wired.refs:  # it hands on what it reads first
        first = wired.refs[0]
        expander.scopes[path] = replace(target, path=path, inputs=(("x", first),), output=first)
        return wired.values[0]
    if len(wired.refs) != len(target.inputs):
        _wrong_count(expander, decl, wired, len(target.inputs), target)
        return BROKEN
    nodes, scopes = len(expander.nodes), len(expander.scopes)
    value = expander.expand_again(target.path, path, wired, only)

    def original(name: str) -> str:
        return target.path + name[len(path) :]

    def inside(shared: str | None) -> bool:
        """It is a layer of this application, which owns no weights itself."""
        return shared is None or shared.startswith(f"{path}.")

    for node in list(islice(expander.nodes.values(), nodes, None)):
        if not inside(node.shared):
            continue  # a `use` of a layer outside, which has seen to it
        first_node = expander.nodes[original(node.name)]
        shared = first_node.shared or first_node.name
        expander.nodes[node.name] = replace(node, shared=shared, init={}, freeze=first_node.freeze)
    for scope in list(islice(expander.scopes.values(), scopes, None)):
        if not inside(scope.shared):
            continue
        first_scope = expander.scopes[original(scope.path)]
        shared = first_scope.shared or first_scope.path
        expander.scopes[scope.path] = replace(scope, shared=shared)
    return value
