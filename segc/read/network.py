"""The graph of a spec: inputs, layers, transforms, outputs, losses and recipe put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.ir import Graph, Input, Ref
from segc.op import REGISTRY
from segc.read.expand import Expander, TooLarge
from segc.read.inits import read_init
from segc.read.inputs import read_inputs
from segc.read.names import check_identifier
from segc.read.resolve import BROKEN, Frame, Value
from segc.read.spec import Spec
from segc.read.transform import read_transforms
from segc.read.unread import check_unread
from segc.read.values import YNode, as_mapping, is_text, shown


def build_graph(
    spec: Spec, env: Mapping[str, Any], report: Report, max_layers: int, file: str
) -> Graph:
    """Expand a spec with parameter values `env`; faults are reported, what can stand stands."""
    top = {name: value for name, (_, value) in spec.top.items()}
    inputs = read_inputs(top["inputs"], env, report) if "inputs" in top else {}
    expander = Expander(spec.blocks, report, max_layers)
    names: dict[str, str | Value] = {name: Ref(name) for name in inputs}
    first = Ref(next(iter(inputs))) if inputs else None
    frame = Frame("", env, spec.layers, names, first)
    try:
        expander.expand_list(frame)
        outputs = _outputs(top["outputs"], expander, frame, report) if "outputs" in top else {}
        expander.check_unused_blocks()
    except TooLarge:
        outputs = {}
    nodes = tuple(expander.nodes.values())
    graph = Graph(
        name=_text(top.get("model")),
        inputs=inputs,
        nodes=nodes,
        scopes=expander.scopes,
        outputs=outputs,
        children=expander.children(frame),
        labels=expander.labels,
        params=dict(env),
        defaults={name: p.default for name, p in spec.params.items()},
        output_only={
            name: only
            for name, ref in outputs.items()
            if (only := _only(ref, expander, inputs)) is not None
        },
        title=_text(top.get("title")),
        source=_text(top.get("source")),
        notes=_text(top.get("notes")),
        block_docs={name: b.doc for name, b in spec.blocks.items() if b.doc},
        param_docs={name: p.doc for name, p in spec.params.items() if p.doc},
        inits=_inits(top["init"], env, report) if "init" in top else {},
        losses=_losses(top, outputs, env, report),
        recipe=_recipe(top, env, report),
        file=file,
        loc=spec.loc,
    )
    if "transforms" in top:
        graph = read_transforms(top["transforms"], graph, env, report)
    if not report.failed:  # a misspelt name would be told twice
        check_unread(spec, report)
    return graph


def _losses(
    top: Mapping[str, YNode], outputs: Mapping[str, Ref], env: Mapping[str, Any], report: Report
) -> Mapping[str, Mapping[str, Any]]:
    if "losses" not in top:
        return {}
    from segc.read.losses import read_losses

    return read_losses(top["losses"], report, tuple(outputs), env)


def _recipe(top: Mapping[str, YNode], env: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
    if "recipe" not in top:
        return {}
    from segc.read.recipe import read_recipe

    return read_recipe(top["recipe"], report, env)


def _text(node: YNode | None) -> str:
    return node.text.strip() if is_text(node) else ""


def _only(ref: Ref, expander: Expander, inputs: Mapping[str, Input]) -> str | None:
    if ref.node in inputs:
        return inputs[ref.node].only
    return expander.nodes[ref.node].only if ref.node in expander.nodes else None


def _outputs(node: YNode, expander: Expander, frame: Frame, report: Report) -> dict[str, Ref]:
    mapping = as_mapping(node, "`outputs`", report)
    found: dict[str, Ref] = {}
    for key, value in mapping.entries if mapping else ():
        if not check_identifier(key, report, "output"):
            continue
        if not is_text(value):
            message = f"output `{key.text}` needs the name of a layer, got {shown(value)}"
            report.error("SEG103", message, value.loc)
            continue
        ref = expander.resolver.single(value.text, value.loc, frame, "")
        if ref != BROKEN:
            found[key.text] = ref
    if mapping is not None and not mapping.entries:
        hint = "name at least one layer, for example {logits: logits}"
        report.error("SEG309", "the network has no outputs", mapping.loc, hint=hint)
    return found


def _inits(node: YNode, env: Mapping[str, Any], report: Report) -> dict[str, Mapping[str, Any]]:
    mapping = as_mapping(node, "`init`", report)
    found: dict[str, Mapping[str, Any]] = {}
    known = [name for name, cls in REGISTRY.items() if cls.weights]
    for key, value in mapping.entries if mapping else ():
        if key.text not in known:
            hint = report.suggest(key.text, known, "operators with weights:")
            message = f"`{key.text}` is not an operator with weights"
            report.error("SEG101", message, key.loc, hint=hint)
            continue
        weights = REGISTRY[key.text].weights
        found[key.text] = read_init(value, weights, f"`{key.text}`", env, report)
    return found
