"""Imports go downwards only, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "segc"

# From the bottom up; a module may import from lower levels and from its own package.
LEVELS = [
    {"loc", "version"},
    {"diag", "catalogue"},
    {"source", "diag_format"},
    {"poly", "waves", "residues", "prove", "wording", "domain", "dim"},
    {"types", "code", "rows"},
    {"op", "ir"},
    {"ops"},
    {"surgery", "patterns", "kinds"},
    {"transforms"},
    {"read"},
    {"blame", "reads"},
    {"check"},
    {"facts", "layouts", "task"},
    {"analyse", "inference", "training"},
    {"stages"},
    {"rewrite", "phases"},
    {"edit", "cost", "sharing"},
    {"optimise"},
    {"rules"},
    {
        "summary",
        "diff",
        "diff_match",
        "diff_effects",
        "diff_lines",
        "diff_render",
        "fmt",
        "fmt_tree",
    },
    {"checkpoint", "manual", "manual_topics", "new", "publish", "schema"},
    {"emit", "draw", "drawn"},
    {"build"},
    {"verify"},
    {"api"},
    {"cli", "__init__", "__main__"},
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
# What is known to look up: the schema of specs lists transforms, which live beside the reader.
HEAVY = {"torch", "torchvision", "numpy", "jsonschema", "networkx", "jinja2", "graphviz", "PIL"}
HEAVY |= {"triton"}


# Source text of emitted files: read, never imported.
EMITTED = [ROOT / "rules" / "weights.py", *(ROOT / "emit" / "kernels").glob("*.py")]


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set()
    for node in tree.body:
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not guarded:
            top |= {id(n) for n in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module or "", id(node) in top))
            found += [(f"{node.module}.{a.name}", id(node) in top) for a in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    mine = part(path)
    assert mine in LEVEL, f"give {mine} a level"
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "segc" or len(parts) < 2 or parts[1] not in LEVEL:
            continue
        assert LEVEL[parts[1]] <= LEVEL[mine], f"{mine} imports {name}, which is above it"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    if path in EMITTED:
        return
    for name, at_import in imports(path):
        assert not (at_import and name.split(".")[0] in HEAVY), f"{name} at module level"


def test_emitted_source_is_not_imported() -> None:
    for path in modules():
        names = {name for name, _ in imports(path)}
        assert "segc.rules.weights" not in names
        assert not any(n.startswith("segc.emit.kernels") for n in names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_check_imports_only_the_standard_library_and_yaml() -> None:
    code = (
        "import sys; from segc.cli import main; status = main(['check', sys.argv[1]]); "
        "print(*sorted({m.split('.')[0] for m in sys.modules})); sys.exit(status)"
    )
    spec = ROOT.parent / "specs" / "deeplab.yaml"
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & (HEAVY | {"rich", "difflib", "inspect_", "unittest"})
    third_party = {"yaml", "segc"}
    assert third_party <= loaded
