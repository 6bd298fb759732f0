"""Reads and checks the specs that tests write down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segc.check import Checked, verify
from segc.diag import Diagnostic, Fail, Report, in_order
from segc.diag_format import render
from segc.ir import Graph, Node, Ref
from segc.read import read
from segc.source import Source
from segc.stages import check_stages
from segc.training import check_training

HEAD = "segc: 1\nmodel: Net\n"
IMAGE = "inputs: {image: [N, 3, H, W]}\n"


def spec(layers: str, *, output: str = "", before: str = "", inputs: str = IMAGE) -> str:
    """A complete spec around some layers, one a line; the output is the last one's value."""
    lines = [line for line in layers.strip("\n").splitlines() if line.strip()]
    indent = len(lines[0]) - len(lines[0].lstrip())
    names = [line for line in lines if not line[indent:].startswith((" ", "#"))]
    last = names[-1].split(":")[0].strip()
    body = "\n".join("  " + line[indent:] for line in lines)
    return f"{HEAD}{before}{inputs}layers:\n{body}\noutputs: {{y: {output or last}}}\n"


def check(
    text: str, params: dict[str, Any] | None = None, file: str = "net.yaml", **limits: Any
) -> tuple[Checked | None, list[Diagnostic]]:
    """What is left of a spec's text, and what was found, in the order of the file."""
    report = Report()
    source = Source.from_text(text, file) if "\n" in text else Source.open(text)
    try:
        graph = read(source, params or {}, report, **limits)
        checked = verify(graph, report) if graph is not None else None
        if checked is not None and not report.failed:
            check_training(checked, report)
            check_stages(checked, report)
    except Fail as fail:
        return None, in_order([*report.diagnostics, *fail.diagnostics])
    return checked, in_order(report.diagnostics)


def sound(text: str, **params: Any) -> Checked:
    """A spec that has nothing wrong with it."""
    checked, found = check(text, params)
    assert found == [], shown(found, text)
    assert checked is not None
    return checked


def faults(text: str, **params: Any) -> list[Diagnostic]:
    return check(text, params)[1]


def fault(text: str, code: str, *words: str, **params: Any) -> Diagnostic:
    """The only diagnostic of a spec: its code, and words of its message, hint or notes."""
    found = faults(text, **params)
    assert [d.code for d in found] == [code], shown(found, text)
    whole = shown(found, text)
    missing = [word for word in words if word not in whole]
    assert not missing, f"{missing} not in\n{whole}"
    return found[0]


def pointed(diagnostic: Diagnostic, text: str) -> str:
    """The characters of the spec a diagnostic points at."""
    assert diagnostic.loc is not None
    line = text.splitlines()[diagnostic.loc.line - 1]
    return line[diagnostic.loc.column - 1 : diagnostic.loc.end_column - 1]


def shown(found: list[Diagnostic], text: str) -> str:
    return render(found, {"net.yaml": Source.from_text(text, "net.yaml")}, "text")


def node(checked: Checked, name: str) -> Node:
    return checked.graph.by_name[name]


def shape(checked: Checked, name: str, port: str = "out") -> str:
    """`N x 3 x H x W`, as the tables print it."""
    sizes = checked.shape(Ref(name, port))
    return " x ".join(checked.domain.simplify(d) for d in sizes)


def names(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes]


def specs() -> list[Path]:
    """The networks of the repository."""
    return sorted((Path(__file__).parent.parent / "specs").glob("*.yaml"))
