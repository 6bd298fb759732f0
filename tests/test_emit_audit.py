"""Spec text never becomes code, and what would be code is found by the audit."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from emit_cases import CASES
from emit_kit import builder, emit, load
from hypothesis import given, settings
from hypothesis import strategies as st

from segc.check import Checked
from segc.emit.audit import audit
from segc.emit.module import model_source

CASE = CASES["gates"]
CLEAN = emit(CASE)

HOSTILE = st.one_of(
    st.text(max_size=120),
    st.sampled_from(
        [
            '"""\nimport os\n"""', "\\", 'a"', 'x"""', "'''", "\\N{BULLET}", "# coding: utf-7",
            "+AAo-print(1)", "a\rimport os", "\u2028import os", "\x0cimport os", "{x}", "%s",
            "\\\n", "\\x", "\ud800", "\x00", "fi\ufb01lter", "x" * 300, '"' * 9, "\\" * 7, "é" * 99,
        ]
    ),
    st.lists(st.sampled_from(['"', "\\", "\n", "'", "#", "\r", "\t", "x", "{", "é"])).map("".join),
)  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """Free text of a spec, everywhere it may stand."""

    title: str
    source: str
    notes: str
    block: str
    file: str


def hostile_build(texts: Texts) -> Any:
    build = builder(CASE)

    def again(settings: Mapping[str, Any]) -> Checked:
        checked = build(settings)
        graph = replace(
            checked.graph, title=texts.title, source=texts.source, notes=texts.notes,
            file=texts.file, block_docs=dict.fromkeys(("gate", "conv"), texts.block),
            param_docs=dict.fromkeys(checked.graph.params, texts.block),
        )  # fmt: skip
        return replace(checked, graph=graph)

    return again


def skeleton(source: str) -> str:
    """The syntax tree without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""
    return ast.dump(tree)


@given(st.builds(Texts, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_text_stays_text(texts: Texts) -> None:
    source = model_source(hostile_build(texts))
    assert skeleton(source) == skeleton(CLEAN)
    assert (
        source.isascii() and "\r" not in source and "coding" not in "".join(source.split("\n")[:2])
    )
    assert all(len(line) <= 100 or " " not in line.strip() for line in source.split("\n"))
    load(source)


def test_hostile_parameter_text_in_a_fixed_check() -> None:
    """A text parameter is a default and part of an error message."""
    build = builder(CASES["classifier"])

    def again(settings: Mapping[str, Any]) -> Checked:
        checked = build({k: v for k, v in settings.items() if k != "mode"})
        params = {**checked.graph.params, "mode": "a'{b}\\\" \n#"}
        return replace(checked, graph=replace(checked.graph, params=params))

    source = model_source(again)
    cls = load(source)["Net"]
    cls()
    with pytest.raises(ValueError, match="mode"):
        cls(mode="other")


# --- planted violations -----------------------------------------------------------------------
MODULE_LEVEL = [
    "import os", "import subprocess", "from os import path", "import torch.utils.data",
    "from torch import load", "import torch as os", "from .x import y", "print(1)", "x = 1",
    "x: int = 1", "torch.save({}, 'f')", "if True:\n    pass", "for i in range(3):\n    pass",
    "try:\n    pass\nfinally:\n    pass", "with torch.no_grad():\n    pass", "'text'", "del x",
    "global x", "async def f(): pass", "lambda: 0", "__all__ = [x for x in range(3)]",
    "__all__ = __import__('os').listdir()", "class A(B): pass",
    "class A(nn.Module, metaclass=B): pass", "class A(nn.Module):\n    x = print(1)",
    "class A(nn.Module):\n    print(1)", "@print\nclass A(nn.Module):\n    pass",
    "@print\ndef f(): pass", "def f(x=print(1)): pass", "def f(x=[y for y in 'a']): pass",
    "assert print(1)", "match 1:\n    case _:\n        print(1)", "type X = int", "exec('1')",
]  # fmt: skip
INSIDE = [
    "eval('1')", "exec('1')", "open('f')", "__import__('os')", "getattr(torch, 'load')",
    "globals()", "compile('1', '', 'exec')", "breakpoint()", "input()", "vars()", "locals()",
    "setattr(nn, 'x', 1)", "torch.load('f')", "torch.save(x, 'f')", "torch.hub.load('a', 'b')",
    "torch.jit.load('f')", "torch.utils.cpp_extension.load('a', [])",
    "torch.classes.load_library('f')", "x.__class__", "x.__dict__", "().__class__.__bases__",
    "nn.__builtins__", "torch.serialization.load('f')", "torch.package.PackageImporter('f')",
    "import os", "from os import path", "lambda: 0", "(yield)", "await x", "print(1)",
    "global torch", "nonlocal x", "del x",
    "try:\n            pass\n        except Exception:\n            pass",
    "while True:\n            pass", "assert x", "[y := 1]", "{1, 2}", "{a: a for a in x}",
    "os.system('x')", "sys.exit()", "x = __builtins__", "__name = 1", "F.os.system('x')",
    "torch.compile(x)", "math.__loader__", "torch._C._x()", "torch.multiprocessing.spawn(x)",
    "torch.from_file('f')",
]  # fmt: skip


@pytest.mark.parametrize("line", MODULE_LEVEL)
def test_planted_at_module_level(line: str) -> None:
    assert audit(CLEAN) == []
    assert audit(CLEAN + "\n" + line + "\n")


@pytest.mark.parametrize("line", INSIDE)
def test_planted_in_forward(line: str) -> None:
    head, forward, rest = CLEAN.rpartition("    def forward(self, image: Tensor) -> Tensor:\n")
    assert forward
    assert audit(f"{head}{forward}        {line}\n{rest}")


@pytest.mark.parametrize(
    "source",
    [
        "# coding: utf-7\n" + CLEAN, "# -*- coding: latin-1 -*-\n" + CLEAN, CLEAN + "# é\n",
        CLEAN + "#\rimport os\n", CLEAN + "\x0c", CLEAN + "\x00", CLEAN + "#\u2028", "(" * 300,
        CLEAN + "x = " + "(" * 150 + ")" * 150, "def", CLEAN.replace("\n", "\r\n"), CLEAN + "\t",
    ],
)  # fmt: skip
def test_text_the_audit_refuses(source: str) -> None:
    assert audit(source)


def test_every_spec_passes() -> None:
    for spec in sorted((Path(__file__).parent.parent / "specs").glob("*.yaml")):
        assert audit(emit(str(spec))) == []
