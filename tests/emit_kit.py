"""Emit a spec, import what was emitted, and compare it with the graph layer by layer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from segc.check import Checked, verify
from segc.diag import Report
from segc.dim import evaluate
from segc.emit.beside import importable
from segc.emit.module import instrumented_source, model_source
from segc.ir import Graph
from segc.read import read
from segc.source import Source
from segc.types import Index, Tensor

RULES = "E,F,I,UP,B,SIM,C4,RUF100"


def builder(text: str, base: Mapping[str, Any] | None = None) -> Callable[..., Checked]:
    """Reads and checks a spec again with other parameter values; `text` is a path or a spec."""
    source = Source.from_text(text, "specs/x.yaml") if "\n" in text else Source.open(text)

    def build(settings: Mapping[str, Any]) -> Checked:
        report = Report()
        graph = read(source, {**(base or {}), **settings}, report)
        report.raise_if_failed()
        assert graph is not None
        checked = verify(graph, report)
        report.raise_if_failed()
        return checked

    return build


def emit(text: str, **settings: Any) -> str:
    return model_source(builder(text, settings))


def load(source: str) -> dict[str, Any]:
    """The names an emitted file defines."""
    space: dict[str, Any] = {"__name__": "emitted"}
    with importable():
        exec(compile(source, "model.py", "exec"), space)
    return space


def network(source: str) -> Any:
    """The network class of an emitted file."""
    space = load(source)
    return space[space["__all__"][0]]


RUFF = [sys.executable, "-m", "ruff"]
OPTIONS = ["--line-length", "100", "--isolated", "--target-version", "py311"]


def reformatted(source: str) -> str:
    """What the formatter would change."""
    command = [*RUFF, "format", "--diff", *OPTIONS, "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def ruff(source: str) -> str:
    """What the formatter and the linter would change; nothing if the file is as they want it."""
    checked = subprocess.run(
        [*RUFF, "check", "--select", RULES, *OPTIONS, "-"],
        input=source, capture_output=True, text=True,
    )  # fmt: skip
    return reformatted(source) + (checked.stdout if checked.returncode else "")


def parameter_names(graph: Graph, checked: Checked) -> list[str]:
    """State-dict keys of the learned tensors, in the order of the spec."""
    return [
        f"{n.name}.{p.name}"
        for n in graph.nodes
        if n.shared is None and not n.absent
        for p in n.op.parameters(*(checked.types[r] for r in n.inputs))
    ]


def sizes(checked: Checked, count: int = 2) -> list[dict[str, int]]:
    """Accepted values of all symbols: the smallest, and larger ones that differ per symbol."""
    symbols = sorted({d for i in checked.graph.inputs.values() for d in i.shape if type(d) is str})
    found = []
    for k in range(count):
        env = {}
        for n, s in enumerate(symbols):
            inside = [v for v in checked.domain.inside(s, 40) if v > 30] or [1]
            env[s] = 2 + k if s == "N" else inside[min(len(inside) - 1, 2 + 3 * k + n)]
        if checked.domain.contains(env):
            found.append(env)
    return found


def feed(checked: Checked, env: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Random inputs of one size."""
    found = {}
    for name, declared in checked.graph.inputs.items():
        shape = [d if isinstance(d, int) else env[d] for d in declared.shape]
        found[name] = torch.rand(shape) if declared.dtype == "float" else torch.zeros(shape).long()
    return found


def named(outputs: Any, checked: Checked) -> dict[str, torch.Tensor]:
    if isinstance(outputs, dict):
        return outputs
    return {next(iter(checked.graph.outputs)): outputs}


def exercise(text: str, meta: bool = False, **settings: Any) -> str:
    """Emit, build, run and compare with the graph; the source, for further questions.

    meta: shapes alone, for networks too large to run here.
    """
    with torch.device("meta" if meta else "cpu"):
        return _exercise(text, settings)


def _exercise(text: str, settings: Mapping[str, Any]) -> str:
    build = builder(text, settings)
    checked, source = build({}), model_source(build)
    assert ruff(source) == ""
    model = network(source)()
    assert [n for n, _ in model.named_parameters()] == parameter_names(checked.graph, checked)
    _count(model, checked, source)
    with torch.device("meta"):
        network(source)()
    _compare_layers(model, network(instrumented_source(build))(), checked)
    return source


def _count(model: Any, checked: Checked, source: str) -> None:
    total = sum(p.numel() for p in model.parameters())
    assert f"Parameters: {total:,} " in source or f"Parameters: {total:,}." in source


def _compare_layers(model: Any, watched: Any, checked: Checked) -> None:
    watched.load_state_dict(model.state_dict())
    for env in sizes(checked):
        given = feed(checked, env)
        for training in (True, False):
            model.train(training)
            watched.train(training)
            torch.manual_seed(0)
            plain = named(model(**given), checked)
            torch.manual_seed(0)
            again = named(watched(**given), checked)
            phases = checked.graph.output_only
            assert list(plain) == [n for n in checked.graph.outputs if training or n not in phases]
            for name, value in plain.items():
                if value.device.type != "meta":
                    torch.testing.assert_close(value, again[name], rtol=1e-4, atol=1e-5)
                ref = checked.graph.outputs[name]
                assert tuple(value.shape) == shape_at(checked, ref, env)
            _compare_taps(watched, checked, env, training)


def shape_at(checked: Checked, ref: Any, env: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, env) for d in checked.types[ref].shape)


def _compare_taps(watched: Any, checked: Checked, env: Mapping[str, int], training: bool) -> None:
    for node in checked.graph.nodes:
        if node.absent or node.only == "checkpoint" or (node.only and not training):
            continue
        for port in node.op.ports:
            ref = next(r for r in checked.types if r.node == node.name and r.port == port)
            name = node.name if port == node.op.ports[0] else f"{node.name}.{port}"
            assert name in watched.taps, f"no value of {name}"
            assert isinstance(checked.types[ref], (Tensor, Index))
            assert tuple(watched.taps[name].shape) == shape_at(checked, ref, env), name


def same_as_rebuilt(text: str, settings: Mapping[str, Any]) -> None:
    """The constructor with other values gives what building the spec with them gives."""
    model = network(emit(text))(**settings)
    rebuilt = network(emit(text, **settings))()
    ours = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert ours == {k: tuple(v.shape) for k, v in rebuilt.state_dict().items()}
    rebuilt.load_state_dict(model.state_dict())
    checked = builder(text, settings)({})
    given = feed(checked, sizes(checked, 1)[0])
    for a, b in zip(
        named(model.eval()(**given), checked).values(),
        named(rebuilt.eval()(**given), checked).values(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
