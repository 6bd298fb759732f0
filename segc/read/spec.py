"""The declarations of a spec: what is written, checked key by key, before anything is expanded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from segc.diag import Note, Report
from segc.read.names import check_identifier, check_layer_name, check_local, check_model_name
from segc.read.params import ParamDecl, read_params
from segc.read.values import YNode, as_mapping, is_text, shown, text_of, unknown_key
from segc.read.yaml import Mapping_, Scalar, Sequence_
from segc.source import Loc

# Top-level keys in canonical order, with their description (fmt and the JSON Schema read this).
TOP_LEVEL: dict[str, str] = {
    "segc": "version of the language, 1",
    "extends": "a spec this one is a variant of; state only what differs",
    "model": "class name of the network",
    "title": "the network's name as the literature gives it",
    "source": "the publication",
    "notes": "free text for the reader",
    "params": "parameters with their types or defaults",
    "use": "block files, relative to this file",
    "inputs": "network inputs; a size may be a symbol such as H",
    "blocks": "groups of layers to use more than once",
    "layers": "the network, in order; each layer reads the one before unless `from` says otherwise",
    "transforms": "rewrites that are part of the architecture",
    "init": "initialisers of weights, by operator",
    "outputs": "the values the network returns, by name",
    "losses": "training losses, by name",
    "recipe": "how the network is trained",
    "weights": "layouts of known checkpoints: their names for the layers of this network",
}
BLOCK_KEYS: dict[str, str] = {
    "doc": "one sentence on what the block is",
    "params": "parameters with their types or defaults",
    "inputs": "names of the values the block reads, in the order of `from`",
    "layers": "the layers of the block",
}
# Keys every layer may have; any other key is an attribute of its operator or block.
LAYER_KEYS: dict[str, str] = {
    "op": "the operator",
    "block": "the block to instantiate",
    "layers": "an inline group of layers",
    "use": "an earlier layer whose weights are applied again",
    "levels": "a pyramid: values by the names of their levels",
    "from": "the values it reads; default: the layer before",
    "when": "false: the layer passes its input through",
    "repeat": "number of copies in a chain, numbered 0, 1, … (`i` in expressions)",
    "each": "`level`: a layer of its own for every level of the pyramid it reads",
    "share": "`level`: one layer, applied to every level of the pyramid it reads",
    "only": "`train`, `test`: exists in that phase only; `checkpoint`: only its weights are kept",
    "init": "initialisers of its weights",
    "freeze": "true: its weights are not trained",
}
KINDS = ("op", "block", "layers", "use", "levels")


@dataclass(frozen=True, slots=True)
class LayerDecl:
    """One entry of a `layers:` list; `kind` says which of op, block, layers, use it has."""

    name: str
    loc: Loc
    kind: str
    target: str
    target_loc: Loc
    keys: Mapping[str, YNode] = field(default_factory=dict)  # from, when, repeat, only, init, …
    attrs: Mapping[str, tuple[Scalar, YNode]] = field(default_factory=dict)
    layers: tuple[LayerDecl, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockDecl:
    name: str
    loc: Loc
    params: Mapping[str, ParamDecl]
    inputs: tuple[str, ...]
    layers: tuple[LayerDecl, ...]
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole file (after `extends` and `use`), declarations only."""

    loc: Loc
    top: Mapping[str, tuple[Scalar, YNode]]
    params: Mapping[str, ParamDecl]
    blocks: Mapping[str, BlockDecl]
    layers: tuple[LayerDecl, ...]


def read_spec(document: Mapping_, blocks: Mapping[str, BlockDecl], report: Report) -> Spec:
    """Declarations of a parsed document; `blocks` are those of the files it uses."""
    top: dict[str, tuple[Scalar, YNode]] = {}
    for key, value in document.entries:
        if key.text in TOP_LEVEL:
            top[key.text] = (key, value)
        else:
            unknown_key(key, TOP_LEVEL, "the spec", report, "SEG106")
    _check_head(top, document, report)
    params = read_params(top["params"][1], report) if "params" in top else {}
    own = read_blocks(top["blocks"][1], blocks, report) if "blocks" in top else {}
    layers = read_layers(top["layers"][1], report) if "layers" in top else ()
    return Spec(document.loc, top, params, {**blocks, **own}, layers)


def _check_head(
    top: Mapping[str, tuple[Scalar, YNode]], document: Mapping_, report: Report
) -> None:
    for needed in ("segc", "model", "inputs", "layers", "outputs"):
        if needed not in top:
            hint = f"add `{needed}:` ({TOP_LEVEL[needed]})"
            report.error("SEG104", f"`{needed}` is missing", document.loc, hint=hint)
    check_version(top.get("segc"), report)
    for name in ("title", "source", "notes"):
        if name in top and not is_text(top[name][1]):
            value = top[name][1]
            report.error("SEG103", f"`{name}` must be text, got {shown(value)}", value.loc)
    if "model" in top:
        value = top["model"][1]
        if isinstance(value, Scalar) and isinstance(value.value, str):
            check_model_name(value, report)
        else:
            report.error("SEG103", f"`model` must be a name, got {shown(value)}", value.loc)


def check_version(entry: tuple[Scalar, YNode] | None, report: Report) -> None:
    if entry is None:
        return
    value = entry[1]
    if not isinstance(value, Scalar) or type(value.value) is not int or value.value != 1:
        report.error(
            "SEG107", f"language version {shown(value)} is not known", value.loc, hint="write 1"
        )


# --- blocks and layers ----------------------------------------------------------------------


def read_blocks(
    node: YNode, known: Mapping[str, BlockDecl], report: Report
) -> dict[str, BlockDecl]:
    mapping = as_mapping(node, "`blocks`", report)
    found: dict[str, BlockDecl] = {}
    for key, value in mapping.entries if mapping else ():
        check_identifier(key, report, "block")
        if key.text in known:
            note = Note(known[key.text].loc, "it is defined here already")
            message = f"block `{key.text}` hides one of the same name"
            report.error("SEG310", message, key.loc, notes=(note,), hint="rename one of them")
            continue
        body = as_mapping(value, f"block `{key.text}`", report)
        if body is not None:
            found[key.text] = _block(key, body, report)
    return found


def _block(key: Scalar, body: Mapping_, report: Report) -> BlockDecl:
    parts: dict[str, YNode] = {}
    for k, v in body.entries:
        if k.text in BLOCK_KEYS:
            parts[k.text] = v
        else:
            unknown_key(k, BLOCK_KEYS, f"block `{key.text}`", report, "SEG107")
    if "layers" not in parts:
        report.error("SEG104", f"block `{key.text}` has no `layers`", key.loc)
    params = read_params(parts["params"], report) if "params" in parts else {}
    inputs = _block_inputs(parts["inputs"], report) if "inputs" in parts else ("x",)
    layers = read_layers(parts["layers"], report) if "layers" in parts else ()
    for layer in layers:
        if layer.name in inputs:
            message = f"layer `{layer.name}` hides the input of that name"
            report.error("SEG310", message, layer.loc, hint="rename the layer")
    doc = text_of(parts.get("doc"), report)
    return BlockDecl(key.text, key.loc, params, inputs, layers, doc)


def _block_inputs(node: YNode, report: Report) -> tuple[str, ...]:
    if not isinstance(node, Sequence_) or not node.items:
        message = f"`inputs` of a block is a list of names, got {shown(node)}"
        report.error("SEG103", message, node.loc, hint="for example [x, skip]")
        return ("x",)
    found: dict[str, None] = {}
    for item in node.items:
        if not isinstance(item, Scalar):
            report.error("SEG103", f"needs a name, got {shown(item)}", item.loc)
        elif item.text in found:
            report.error("SEG310", f"a second input is named `{item.text}`", item.loc)
        elif check_identifier(item, report, "input") and check_local(item, report):
            found[item.text] = None
    return tuple(found) or ("x",)


def read_layers(node: YNode, report: Report) -> tuple[LayerDecl, ...]:
    mapping = as_mapping(node, "`layers`", report)
    if mapping is None:
        return ()
    if not mapping.entries:
        report.error("SEG104", "`layers` is empty", mapping.loc)
    found = []
    for key, value in mapping.entries:
        sound = check_layer_name(key, report)
        decl = _layer(key, value, report) or LayerDecl(key.text, key.loc, "broken", "", key.loc)
        if sound or "." not in key.text:  # kept, so that those who read it are not at fault too
            found.append(decl)
    return tuple(found)


def _layer(key: Scalar, value: YNode, report: Report) -> LayerDecl | None:
    if isinstance(value, Scalar):
        if isinstance(value.value, str):
            return LayerDecl(key.text, key.loc, "op", value.text, value.loc)
        hint = "write the operator, for example `relu`, or a mapping with `op:`"
        report.error("SEG103", f"layer `{key.text}` has no operator", key.loc, hint=hint)
        return None
    mapping = as_mapping(value, f"layer `{key.text}`", report)
    if mapping is None:
        return None
    keys: dict[str, YNode] = {}
    attrs: dict[str, tuple[Scalar, YNode]] = {}
    for k, v in mapping.entries:
        if k.text in LAYER_KEYS:
            keys[k.text] = v
        else:
            attrs[k.text] = (k, v)
    return _kinded(key, keys, attrs, report)


def _kinded(
    key: Scalar,
    keys: dict[str, YNode],
    attrs: dict[str, tuple[Scalar, YNode]],
    report: Report,
) -> LayerDecl | None:
    kinds = [k for k in KINDS if k in keys]
    if len(kinds) != 1:
        problem = f"has both `{kinds[0]}` and `{kinds[1]}`" if kinds else "does not say what it is"
        hint = "give exactly one of op, block, layers, use, levels"
        close = [h for h in (report.suggest(a, KINDS) for a in attrs) if h] if not kinds else []
        message = f"layer `{key.text}` {problem}"
        report.error("SEG113", message, key.loc, hint=close[0] if close else hint)
        return None
    kind = kinds[0]
    if kind == "levels":
        return LayerDecl(key.text, key.loc, kind, "", keys["levels"].loc, keys, attrs)
    target = keys.pop(kind)
    if kind == "layers":
        for name, _ in attrs.values():
            unknown_key(name, LAYER_KEYS, f"the group `{key.text}`", report, "SEG107")
        return LayerDecl(
            key.text, key.loc, kind, "", target.loc, keys, {}, read_layers(target, report)
        )
    if not isinstance(target, Scalar) or not isinstance(target.value, str):
        report.error("SEG103", f"`{kind}` needs a name, got {shown(target)}", target.loc)
        return None
    return LayerDecl(key.text, key.loc, kind, target.text, target.loc, keys, attrs)
