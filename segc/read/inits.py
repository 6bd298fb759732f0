"""Initialisers of weights: `init: {weight: bilinear, bias: zeros}`, named as in torch.nn.init."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from segc.diag import Report
from segc.op import Attr
from segc.read.values import Env, ValueFault, YNode, attribute, shown
from segc.read.yaml import Mapping_, Scalar

_MODE = Attr("mode", "str", "which fan", "fan_in", choices=("fan_in", "fan_out"))
_NONLINEARITY = Attr(
    "nonlinearity", "str", "what follows", "relu", choices=("relu", "leaky_relu", "linear", "tanh")
)
_GAIN = Attr("gain", "float", "factor of the standard deviation", 1.0)

# Name -> (arguments, one sentence). torch.nn.init has them all but `bilinear`.
INITIALISERS: dict[str, tuple[tuple[Attr, ...], str]] = {
    "zeros": ((), "all zero"),
    "ones": ((), "all one"),
    "constant": ((Attr("value", "float", "the value"),), "one value"),
    "normal": (
        (Attr("mean", "float", "mean", 0.0), Attr("std", "float", "deviation", 1.0, min=0)),
        "Gaussian",
    ),
    "trunc_normal": (
        (Attr("mean", "float", "mean", 0.0), Attr("std", "float", "deviation", 1.0, min=0)),
        "Gaussian cut at two deviations",
    ),
    "uniform": (
        (Attr("a", "float", "lower end", 0.0), Attr("b", "float", "upper end", 1.0)),
        "uniform between a and b",
    ),
    "kaiming_normal": ((_MODE, _NONLINEARITY), "He et al. 2015, Gaussian (Caffe's msra)"),
    "kaiming_uniform": ((_MODE, _NONLINEARITY), "He et al. 2015, uniform"),
    "xavier_normal": ((_GAIN,), "Glorot and Bengio 2010, Gaussian"),
    "xavier_uniform": ((_GAIN,), "Glorot and Bengio 2010, uniform"),
    "orthogonal": ((_GAIN,), "Saxe et al. 2013"),
    "dirac": ((), "the identity of a convolution"),
    "bilinear": ((), "the kernel that interpolates bilinearly (Long et al. 2015)"),
}


def read_init(
    node: YNode, weights: Iterable[str], what: str, env: Env, report: Report
) -> dict[str, dict[str, Any]]:
    """`{weight: {normal: {std: 0.01}}, bias: zeros}` -> {"weight": {"normal": {...}}, …}."""
    weights = tuple(weights)
    found: dict[str, dict[str, Any]] = {}
    if not isinstance(node, Mapping_):
        hint = "for example init: {weight: kaiming_normal, bias: zeros}"
        report.error("SEG103", f"`init` needs a mapping, got {shown(node)}", node.loc, hint=hint)
        return found
    for key, value in node.entries:
        if key.text not in weights:
            message = f"{what} has no weight `{key.text}`"
            near = report.suggest(key.text, weights, "it has")
            report.error("SEG107", message, key.loc, hint=near)
            continue
        init = _initialiser(value, env, report)
        if init is not None:
            found[key.text] = init
    return found


def _initialiser(node: YNode, env: Env, report: Report) -> dict[str, Any] | None:
    name, args = _named(node, report)
    if name is None:
        return None
    if name.text not in INITIALISERS:
        hint = report.suggest(name.text, INITIALISERS, "there is")
        report.error("SEG105", f"`{name.text}` is not an initialiser", name.loc, hint=hint)
        return None
    known = {a.name: a for a in INITIALISERS[name.text][0]}
    values: dict[str, Any] = {}
    for key, value in args:
        if key.text not in known:
            hint = report.suggest(key.text, known, "it has")
            message = f"`{name.text}` has no argument `{key.text}`"
            report.error("SEG102", message, key.loc, hint=hint)
            continue
        try:
            values[key.text] = attribute(known[key.text], value, env)
        except ValueFault as fault:
            fault.tell(report, f"`{key.text}`")
    for a in known.values():
        if a.required and a.name not in values:
            report.error("SEG104", f"`{name.text}` needs `{a.name}`", name.loc)
    defaults: Mapping[str, Any] = {n: a.default for n, a in known.items() if not a.required}
    return {name.text: {**defaults, **values}}


def _named(node: YNode, report: Report) -> tuple[Scalar | None, tuple[tuple[Scalar, YNode], ...]]:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node, ()
    if isinstance(node, Mapping_) and len(node.entries) == 1:
        key, value = node.entries[0]
        if isinstance(value, Mapping_):
            return key, value.entries
        node = value
    hint = "for example kaiming_normal, or {normal: {std: 0.01}}"
    report.error("SEG103", f"needs an initialiser, got {shown(node)}", node.loc, hint=hint)
    return None, ()
