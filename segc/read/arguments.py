"""The values a block is given for its parameters, and what a layer says of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.op import Op
from segc.read.inits import read_init
from segc.read.params import ParamDecl, check_param
from segc.read.spec import BlockDecl, LayerDecl
from segc.read.values import ValueFault, YNode, number, shown, text
from segc.read.yaml import Scalar, Sequence_


def block_values(
    decl: LayerDecl, block: BlockDecl, env: Mapping[str, Any], report: Report
) -> dict[str, Any] | None:
    """Parameter values of one instance, in the order of declaration; None after a report."""
    values: dict[str, Any] = {}
    ok = True
    for name, param in block.params.items():
        if name in decl.attrs:
            values[name] = _value(param, decl.attrs[name][1], env, report)
            ok = ok and values[name] is not None
        else:
            values[name] = param.default
    return values if ok else None


def _value(param: ParamDecl, node: YNode, env: Mapping[str, Any], report: Report) -> Any:
    try:
        if param.type == "str":
            value: Any = text(node, env)
        elif param.type == "list":
            value = _list(node, env)
        else:
            value = number(node, param.type, env)
    except ValueFault as fault:
        fault.tell(report, f"`{param.name}`")
        return None
    return value if check_param(param, value, node.loc, report) else None


def _list(node: YNode, env: Mapping[str, Any]) -> tuple[Any, ...]:
    if isinstance(node, Sequence_):
        return tuple(number(item, "float", env) for item in node.items)
    if isinstance(node, Scalar) and node.text in env and isinstance(env[node.text], tuple):
        return tuple(env[node.text])
    raise ValueFault("SEG103", f"needs a list, got {shown(node)}", node.loc)


def layer_init(
    decl: LayerDecl, cls: type[Op], env: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Initialisers by weight."""
    if "init" not in decl.keys:
        return {}
    return read_init(decl.keys["init"], cls.weights, f"`{decl.target}`", env, report)


def layer_freeze(decl: LayerDecl, cls: type[Op], env: Mapping[str, Any], report: Report) -> bool:
    """Whether the layer's weights stay as they are."""
    if "freeze" not in decl.keys:
        return False
    node = decl.keys["freeze"]
    if not cls.weights:
        message = f"`{decl.target}` has no weights to freeze"
        report.error("SEG107", message, node.loc)
    try:
        return bool(number(node, "bool", env))
    except ValueFault as fault:
        fault.tell(report, "`freeze`")
        return False
