"""`deploy.py`: the optimised network and `from_model`, which converts trained weights into it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from itertools import groupby
from typing import Any

from segc.check import Checked
from segc.emit.audit import refuse
from segc.emit.labels import with_labels
from segc.emit.layout import Bracket, statement
from segc.emit.module import Emitter
from segc.emit.observe import Build
from segc.emit.params import annotation
from segc.emit.text import literal
from segc.rewrite import Move, Optimised


def deploy_source(build: Build, optimised: Optimised, digest: str = "") -> str:
    """The source of `deploy.py`.

    build: makes the optimised network again with other parameter values. optimised: that of this
    build, with the weights to convert. digest: the spec's sha256.
    """
    emitter = Emitter(_titled(build))
    source = emitter.source(digest).rstrip("\n")
    source = with_labels(source, optimised.checked, emitter.top.name)
    functions = conversions(dict.fromkeys(m.function for m in optimised.moves))
    head, first_class, rest = source.partition("\n\n\nclass ")
    if "import torch\n" not in head:  # from_model names torch
        head = head.replace("import torch.nn as nn", "import torch\nimport torch.nn as nn", 1)
    tail = "\n".join(_from_model(optimised, emitter.observations.params))
    text = "\n\n\n".join([head, *functions]) + first_class + rest + "\n\n\n" + tail + "\n"
    refuse(text)
    return text


def conversions(wanted: Iterable[str]) -> list[str]:
    """The source of functions of rules/weights.py, after those that they call."""
    found = _definitions()
    used: set[str] = set()
    todo = list(wanted)
    while todo:
        name = todo.pop()
        if name in found and name not in used:
            used.add(name)
            todo += [n.id for n in ast.walk(found[name]) if isinstance(n, ast.Name)]
    lines = _text().splitlines()
    return ["\n".join(lines[f.lineno - 1 : f.end_lineno]) for n, f in found.items() if n in used]


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
    yield '    with torch.device("meta"):'
    yield f"        deploy = {name}({'**parameters' if params else ''})"
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
    yield from _calls(optimised.moves)
    yield "    deploy.load_state_dict(state, assign=True)"
    yield "    return deploy.eval().requires_grad_(False)"


def _calls(moves: tuple[Move, ...]) -> Iterator[str]:
    """The conversions in their order, neighbours of one kind as a loop over a table."""
    for function, group in groupby(moves, key=lambda m: m.function):
        rows = [tuple(literal(a) for a in m.args) for m in group]
        if len(rows) == 1:
            yield from statement("", Bracket(function, ("state", *rows[0]), "()"), 4)
            continue
        names = ", ".join(_parameters(function))
        table = tuple(row[0] if len(row) == 1 else Bracket("", row, "()") for row in rows)
        yield from statement("rows = ", Bracket("", table, "()"), 4)
        yield f"    for {names} in rows:"
        yield f"        {function}(state, {names})"


def _parameters(function: str) -> list[str]:
    """The names of what a conversion takes behind the state dict."""
    return [a.arg for a in _definitions()[function].args.args[1:]]


def _definitions() -> dict[str, ast.FunctionDef]:
    return {f.name: f for f in ast.parse(_text()).body if isinstance(f, ast.FunctionDef)}


def _text() -> str:
    return files("segc.rules").joinpath("weights.py").read_text(encoding="utf-8")
