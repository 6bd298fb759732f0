"""The graph of a spec: inputs, layers, transforms, outputs, losses and recipe put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segc.diag import Report
from segc.ir import Graph, Input, Ref
from segc.op import REGISTRY
from segc.read.expand import Expander, TooLarge
from segc.read.inits import read_init
from segc.read.names import check_function, check_identifier, check_local
from segc.read.resolve import BROKEN, Frame
from segc.read.spec import Spec
from segc.read.transform import read_transforms
from segc.read.unread import check_unread
from segc.read.values import ValueFault, YNode, as_mapping, is_text, number, shown, unknown_key
from segc.read.yaml import Mapping_, Scalar, Sequence_

INPUT_KEYS = {"shape": "sizes, for example [N, 3, H, W]", "dtype": "float or int"}
MAX_INPUTS = 64
MAX_AXES = 8
DTYPES = ("float", "int")
CONSTRAINT_WORDS = ("floor", "ceil", "min", "max")  # functions in the printed sizes


def build_graph(
    spec: Spec, env: Mapping[str, Any], report: Report, max_layers: int, file: str
) -> Graph:
    """Expand a spec with parameter values `env`; faults are reported, what can stand stands."""
    top = {name: value for name, (_, value) in spec.top.items()}
    inputs = _inputs(top["inputs"], env, report) if "inputs" in top else {}
    expander = Expander(spec.blocks, report, max_layers)
    names: dict[str, str | Ref] = {name: Ref(name) for name in inputs}
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
        children=tuple(d.name for d in spec.layers),
        params=dict(env),
        defaults={name: p.default for name, p in spec.params.items()},
        output_only={
            name: only
            for name, ref in outputs.items()
            if (only := _only(ref, expander)) is not None
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


def _only(ref: Ref, expander: Expander) -> str | None:
    return expander.nodes[ref.node].only if ref.node in expander.nodes else None


def _inputs(node: YNode, env: Mapping[str, Any], report: Report) -> dict[str, Input]:
    mapping = as_mapping(node, "`inputs`", report)
    found: dict[str, Input] = {}
    if mapping is not None and len(mapping.entries) > MAX_INPUTS:
        message = f"{len(mapping.entries):,} inputs, the limit is {MAX_INPUTS}"
        report.error("SEG313", message, mapping.loc)
    for key, value in mapping.entries[:MAX_INPUTS] if mapping else ():
        if check_identifier(key, report, "input") and check_local(key, report):
            check_function(key, report)
        shape, dtype = value, "float"
        if isinstance(value, Mapping_):
            entries = {k.text: (k, v) for k, v in value.entries}
            for k, _ in entries.values():
                if k.text not in INPUT_KEYS:
                    unknown_key(k, INPUT_KEYS, f"input `{key.text}`", report, "SEG107")
            shape = entries["shape"][1] if "shape" in entries else value
            dtype = _dtype(entries["dtype"][1], report) if "dtype" in entries else "float"
        sizes = _shape(shape, env, report)
        found[key.text] = Input(key.text, sizes, dtype, key.loc)
    if mapping is not None and not mapping.entries:
        report.error("SEG104", "`inputs` is empty", mapping.loc, hint="image: [N, 3, H, W]")
    return found


def _dtype(node: YNode, report: Report) -> str:
    if isinstance(node, Scalar) and node.value in DTYPES:
        return node.text
    message = f"{shown(node)} is not a type of values"
    report.error("SEG105", message, node.loc, hint=f"one of {', '.join(DTYPES)}")
    return "float"


def _shape(node: YNode, env: Mapping[str, Any], report: Report) -> tuple[int | str, ...]:
    if not isinstance(node, Sequence_) or not node.items:
        message = f"an input needs its shape, got {shown(node)}"
        report.error("SEG103", message, node.loc, hint="for example [N, 3, H, W]")
        return ()
    if len(node.items) > MAX_AXES:
        report.error("SEG313", f"{len(node.items):,} axes, the limit is {MAX_AXES}", node.loc)
    return tuple(_size(item, env, report) for item in node.items[:MAX_AXES])


def _size(item: YNode, env: Mapping[str, Any], report: Report) -> int | str:
    """A symbol (a plain name that is no parameter), or a positive integer expression."""
    if is_text(item) and item.text not in env and item.text.isidentifier():
        if item.text in CONSTRAINT_WORDS:
            message = f"`{item.text}` is a function in the printed sizes"
            report.error("SEG306", message, item.loc, hint="name the size otherwise")
        elif check_identifier(item, report, "size"):
            check_local(item, report)
        return item.text
    try:
        value = number(item, "int", env)
        if value >= 1:
            return int(value)
        report.error("SEG105", f"a size is at least 1, got {value}", item.loc)
    except ValueFault as fault:
        fault.tell(report, "a size")
    return 1


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
        ref = expander.resolver.value(value.text, value.loc, frame, "")
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
