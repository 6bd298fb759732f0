"""Is a file what segc emits? An allow-list over its syntax tree, nothing executed.

A file that passes defines classes and functions and does nothing when it is imported: no code at
module level but constants and imports of torch and of layers beside it, no names that reach
outside it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

IMPORTS = {("torch", None), ("torch.nn", "nn"), ("torch.nn.functional", "F"), ("math", None)}
FROM_IMPORTS = {
    ("torch", "Tensor"),
    ("torchvision", "ops"),
    ("unpool_conv", "UnpoolConv2d"),
    ("unpool_conv", "UnpoolConvTranspose2d"),
}
BUILTINS = frozenset(
    ("abs", "all", "any", "bool", "dict", "enumerate", "float", "int", "isinstance", "len", "list",
     "max", "min", "range", "reversed", "round", "str", "sum", "super", "tuple", "zip",
     "NotImplementedError", "ValueError", "F", "Tensor", "UnpoolConv2d", "UnpoolConvTranspose2d",
     "math", "nn", "ops", "torch")
)  # fmt: skip
BASES = (["nn.Module"], ["nn.Sequential"], ["nn.Conv2d"])
# attributes of torch and its parts that read or write files, run code or leave the process
FORBIDDEN = frozenset(
    ("_C", "backends", "builtins", "classes", "compile", "cuda", "distributed", "export",
     "from_file", "frombuffer", "hub", "import_ir_module", "jit", "library", "load",
     "multiprocessing", "onnx", "os", "overrides", "package", "save", "serialization",
     "set_default_device", "sys", "testing", "utils")
)  # fmt: skip
_STATEMENTS = (
    ast.Module, ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Expr, ast.Assign,
    ast.AnnAssign, ast.AugAssign, ast.Return, ast.If, ast.For, ast.Raise, ast.With, ast.Pass,
)  # fmt: skip
_EXPRESSIONS = (
    ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.Dict,
    ast.FormattedValue, ast.GeneratorExp, ast.IfExp, ast.JoinedStr, ast.List, ast.ListComp,
    ast.Name, ast.Slice, ast.Starred, ast.Subscript, ast.Tuple, ast.UnaryOp,
)  # fmt: skip
_PARTS = (
    ast.alias, ast.arg, ast.arguments, ast.boolop, ast.cmpop, ast.comprehension, ast.expr_context,
    ast.keyword, ast.operator, ast.unaryop, ast.withitem,
)  # fmt: skip
MAX_DEPTH = 40


def audit(source: str) -> list[str]:
    """What is wrong with the file, as `line: reason`; empty if it is what segc may emit."""
    problems = list(_text(source))
    if problems:
        return problems
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [f"not Python: {error}"]
    return [*_module(tree), *_nodes(tree), *_names(tree)]


def refuse(source: str) -> None:
    """Raise AssertionError (a bug in segc) if the emitter wrote what it must never write."""
    problems = audit(source)
    if problems:
        raise AssertionError("emitted source fails its audit: " + "; ".join(problems[:3]))


def _text(source: str) -> Iterator[str]:
    for number, line in enumerate(source.split("\n"), 1):
        if any(not " " <= c <= "~" for c in line):
            yield f"{number}: a character that is not printable ASCII"
    head = source.split("\n")[:2]
    for number, line in enumerate(head, 1):
        if line.startswith("#") and "coding" in line:
            yield f"{number}: a coding cookie"


def _module(tree: ast.Module) -> Iterator[str]:
    """At module level: a docstring, imports, `__all__`, classes and functions."""
    for node in tree.body:
        at = node.lineno
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.name, alias.asname) not in IMPORTS:
                    yield f"{at}: imports {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known = (node.module, alias.name) in FROM_IMPORTS
                if not known or node.level or alias.asname:
                    yield f"{at}: imports {alias.name} from {node.module}"
        elif isinstance(node, ast.Assign):
            if not _is_all(node):
                yield f"{at}: an assignment at module level"
        elif isinstance(node, ast.Expr):
            if not (node is tree.body[0] and isinstance(node.value, ast.Constant)):
                yield f"{at}: an expression at module level"
        elif not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield f"{at}: {type(node).__name__} at module level"


def _is_all(node: ast.Assign) -> bool:
    target, value = node.targets[0], node.value
    return (
        len(node.targets) == 1
        and isinstance(target, ast.Name)
        and target.id == "__all__"
        and isinstance(value, ast.List)
        and all(isinstance(e, ast.Constant) and isinstance(e.value, str) for e in value.elts)
    )


def _nodes(tree: ast.Module) -> Iterator[str]:
    """Kinds of syntax, decorators, defaults, dunder attributes, nesting."""
    stack: list[tuple[ast.AST, int, bool]] = [(n, 1, True) for n in tree.body]
    while stack:
        node, depth, outside = stack.pop()
        at = getattr(node, "lineno", 0)
        if not isinstance(node, (*_STATEMENTS, *_EXPRESSIONS, *_PARTS)):
            yield f"{at}: {type(node).__name__} is not used in emitted files"
            continue
        if depth > MAX_DEPTH:
            yield f"{at}: nested too deeply"
            continue
        yield from _one(node, at)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not outside:
            yield f"{at}: an import inside a definition"
        inner = outside and not isinstance(node, (ast.ClassDef, ast.FunctionDef))
        stack += [(child, depth + 1, inner) for child in ast.iter_child_nodes(node)]


def _one(node: ast.AST, at: int) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(b) for b in node.bases]
        if bases not in BASES or node.keywords or node.decorator_list:
            yield f"{at}: class {node.name} has other bases, keywords or decorators"
        yield from _class_body(node)
    elif isinstance(node, ast.FunctionDef):
        if node.decorator_list:
            yield f"{at}: a decorator"
        defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        if not all(_is_literal(d) for d in defaults):
            yield f"{at}: a default that is computed"
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("__") and node.attr != "__init__":
            yield f"{at}: the attribute {node.attr}"
        elif _torch_attribute(node) in FORBIDDEN:
            yield f"{at}: torch.{node.attr}"


def _class_body(node: ast.ClassDef) -> Iterator[str]:
    for k, item in enumerate(node.body):
        docstring = k == 0 and isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
        if not docstring and not isinstance(item, ast.FunctionDef):
            yield f"{item.lineno}: {type(item).__name__} in the body of a class"


def _torch_attribute(node: ast.Attribute) -> str:
    """`save` for torch.save; "" for attributes of anything else."""
    value: ast.expr = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    library = isinstance(value, ast.Name) and value.id in ("torch", "nn", "F", "ops", "math")
    return node.attr if library else ""


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _names(tree: ast.Module) -> Iterator[str]:
    """Every name read is defined in the file or on the list of harmless ones."""
    known = set(BUILTINS)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            yield f"{node.lineno}: the name {node.id}"
        bound = node.arg if isinstance(node, ast.arg) else ""
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound = node.id
        if bound.startswith("__") and bound != "__all__":
            yield f"{getattr(node, 'lineno', 0)}: the name {bound}"
