"""`transforms:` of a spec: each entry is one rewrite with its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.ir import Graph
from segc.loc import Loc
from segc.op import Problem
from segc.read.values import ValueFault, YNode, attribute, shown
from segc.read.yaml import Mapping_, Scalar, Sequence_
from segc.transforms import TRANSFORMS, Transform


def read_transforms(node: YNode, graph: Graph, env: Mapping[str, Any], report: Report) -> Graph:
    """Apply the transforms in order; a faulty one is reported and left out."""
    if not isinstance(node, Sequence_):
        hint = "for example - stride_to_dilation: {layers: backbone, output_stride: 8}"
        report.error("SEG103", f"`transforms` is a list, got {shown(node)}", node.loc, hint=hint)
        return graph
    for item in node.items:
        if not isinstance(item, Mapping_) or len(item.entries) != 1:
            hint = "one transform an entry, with its arguments"
            report.error("SEG103", "a transform needs a name", item.loc, hint=hint)
            continue
        key, arguments = item.entries[0]
        transform = _transform(key, arguments, env, report)
        if transform is not None and not report.failed:
            graph = _apply(transform, graph, key.loc, arguments, report)
    return graph


def _transform(
    key: Scalar, node: YNode, env: Mapping[str, Any], report: Report
) -> Transform | None:
    cls = TRANSFORMS.get(key.text)
    if cls is None:
        hint = report.suggest(key.text, TRANSFORMS, "there is")
        report.error("SEG101", f"unknown transform `{key.text}`", key.loc, hint=hint)
        return None
    if not isinstance(node, Mapping_):
        report.error("SEG103", f"`{key.text}` needs arguments, got {shown(node)}", node.loc)
        return None
    values: dict[str, Any] = {}
    ok = True
    for name, value in node.entries:
        if name.text not in cls.attrs:
            hint = report.suggest(name.text, cls.attrs, "it has")
            message = f"`{key.text}` has no argument `{name.text}`"
            report.error("SEG102", message, name.loc, hint=hint)
            ok = False
            continue
        try:
            values[name.text] = attribute(cls.attrs[name.text], value, env)
        except ValueFault as fault:
            fault.tell(report, f"`{name.text}`")
            ok = False
    for a in cls.attrs.values():
        if ok and a.required and a.name not in values:
            report.error("SEG104", f"`{key.text}` needs `{a.name}` ({a.doc})", key.loc)
            ok = False
    return cls(**values) if ok else None


def _apply(transform: Transform, graph: Graph, loc: Loc, arguments: YNode, report: Report) -> Graph:
    try:
        return transform.apply(graph)
    except Problem as problem:
        if isinstance(arguments, Mapping_):
            places = {k.text: v.loc for k, v in arguments.entries}
            loc = places.get(problem.attr or "", loc)
        report.error(problem.code, problem.message, loc, hint=problem.hint)
        return graph
