"""`deploy.py`: the optimised network and `from_model`, which converts trained weights into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from segc.check import Checked
from segc.emit.audit import refuse
from segc.emit.layout import Bracket, statement
from segc.emit.module import Emitter
from segc.emit.observe import Build
from segc.emit.params import annotation
from segc.emit.text import literal
from segc.rewrite import Move, Optimised

FOLD = '''def fold_batch_norm(state: dict[str, Tensor], layer: str, norm: str, eps: float) -> None:
    """Replace a batch norm in a state dict by other weights of the convolution before it."""
    scale, shift = _affine(state, norm, eps)
    weight = state[f"{layer}.weight"]
    bias = state.pop(f"{layer}.bias", torch.zeros_like(shift))
    state[f"{layer}.weight"] = weight * scale[:, None, None, None]
    state[f"{layer}.bias"] = bias * scale + shift
'''
FOLD_TRANSPOSED = '''def fold_batch_norm_transposed(
    state: dict[str, Tensor], layer: str, norm: str, eps: float, groups: int
) -> None:
    """The same for a transposed convolution, whose weight is [in, out / groups, h, w]."""
    scale, shift = _affine(state, norm, eps)
    weight = state[f"{layer}.weight"]
    bias = state.pop(f"{layer}.bias", torch.zeros_like(shift))
    grouped = weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, 1, 1)
    state[f"{layer}.weight"] = grouped.flatten(0, 1)
    state[f"{layer}.bias"] = bias * scale + shift
'''
AFFINE = '''def _affine(state: dict[str, Tensor], norm: str, eps: float) -> tuple[Tensor, Tensor]:
    """Take a batch norm out of a state dict: y = x * scale + shift in evaluation."""
    mean, var = state.pop(f"{norm}.running_mean"), state.pop(f"{norm}.running_var")
    state.pop(f"{norm}.num_batches_tracked", None)
    weight = state.pop(f"{norm}.weight", torch.ones_like(var))
    bias = state.pop(f"{norm}.bias", torch.zeros_like(mean))
    scale = weight / torch.sqrt(var + eps)
    return scale, bias - mean * scale
'''
FUNCTIONS = {"fold_batch_norm": FOLD, "fold_batch_norm_transposed": FOLD_TRANSPOSED}


def deploy_source(build: Build, optimised: Optimised, digest: str = "") -> str:
    """The source of `deploy.py`.

    build: makes the optimised network again with other parameter values. optimised: that of this
    build, with the weights to convert. digest: the spec's sha256.
    """
    emitter = Emitter(_titled(build))
    source = emitter.source(digest).rstrip("\n")
    functions = [FUNCTIONS[f] for f in FUNCTIONS if any(m.function == f for m in optimised.moves)]
    if functions:
        functions.insert(0, AFFINE)
    head, first_class, rest = source.partition("\n\n\nclass ")
    if functions and "import torch\n" not in head:
        head = head.replace("import torch.nn as nn", "import torch\nimport torch.nn as nn", 1)
    parts = [head, *(f.rstrip("\n") for f in functions)]
    tail = "\n".join(_from_model(optimised, emitter.observations.params))
    text = "\n\n\n".join(parts) + first_class + rest + "\n\n\n" + tail + "\n"
    if "import torch\n" not in text:
        text = text.replace("import torch.nn as nn", "import torch\nimport torch.nn as nn", 1)
    refuse(text)
    return text


def _titled(build: Build) -> Build:
    def made(changes: Mapping[str, Any]) -> Checked:
        checked = build(changes)
        graph = checked.graph
        title = f"{graph.title or graph.name}, for inference"
        return replace(checked, graph=replace(graph, title=title, inits={}, block_docs={}))

    return made


def _from_model(optimised: Optimised, params: Mapping[str, Any]) -> Iterable[str]:
    name = optimised.checked.graph.name
    keywords = f", **parameters: {annotation(list(params.values()))}" if params else ""
    yield f"def from_model(model: nn.Module{keywords}) -> {name}:"
    yield '    """The deploy network with the converted weights of a trained network of model.py.'
    yield ""
    if params:
        yield "    Give the constructor's parameters again where they are not the defaults."
    yield "    The result is in evaluation mode, on the model's device and in its precision."
    yield '    """'
    if optimised.unused:
        items = tuple(literal(f"{n}.") for n in optimised.unused)
        yield "    # Layers that exist in training only, or whose weights a checkpoint merely has."
        unused = Bracket("", items, "()") if len(items) > 1 else f"({items[0]},)"
        yield from statement("unused = ", unused, 4)
    yield "    state: dict[str, Tensor] = {}"
    yield "    for name, value in model.state_dict().items():"
    if optimised.unused:
        yield "        if not name.startswith(unused):"
        yield "            state[name] = value.detach().clone()"
    else:
        yield "        state[name] = value.detach().clone()"
    yield from _loops(optimised.moves)
    yield '    with torch.device("meta"):'
    yield f"        deploy = {name}({'**parameters' if params else ''})"
    yield "    deploy.load_state_dict(state, assign=True)"
    yield "    return deploy.eval().requires_grad_(False)"


def _tuple(words: Iterable[str]) -> str:
    items = [literal(w) for w in words]
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _loops(moves: tuple[Move, ...]) -> Iterable[str]:
    for function in FUNCTIONS:
        mine = [m for m in moves if m.function == function]
        if not mine:
            continue
        extra = ["layer", "norm", "eps", "groups"][: len(mine[0].sources) + len(mine[0].args)]
        yield "    folded = ("
        for move in mine:
            args = [move.args[0], *(int(a) for a in move.args[1:])]
            yield f"        {_tuple(move.sources)[:-1]}, {', '.join(literal(a) for a in args)}),"
        yield "    )"
        yield f"    for {', '.join(extra)} in folded:"
        yield f"        {function}(state, {', '.join(extra)})"


def deploy_report(optimised: Optimised) -> list[str]:
    """Lines for report.md: which optimisation applied how often, and what was refused why."""
    counts: dict[str, int] = {}
    for fired in optimised.fired:
        counts[fired.rule] = counts.get(fired.rule, 0) + 1
    lines = [f"- `{rule}`: {n} time{'' if n == 1 else 's'}" for rule, n in counts.items()]
    reasons: dict[tuple[str, str], list[str]] = {}
    for rule, skip in optimised.skipped:
        reasons.setdefault((rule, skip.why), []).append(skip.node)
    for (rule, why), nodes in reasons.items():
        shown = ", ".join(f"`{n}`" for n in nodes[:4])
        more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
        lines.append(f"- `{rule}` refused at {shown}{more}: {why}")
    return lines or ["No optimisation applies: it is the plain network without its training parts."]
