"""One observation of a network: its checked graph, seen as a tree of scopes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segc.check import Checked
from segc.dim import DimLike
from segc.emit.trees import form
from segc.ir import Graph, Node, Ref, Scope
from segc.types import Type

Place = tuple[str, int]  # path of a reader inside a scope, and which of its reads


@dataclass(frozen=True, slots=True)
class Code:
    """The trees of a layer's module (None without one) and expression, and their outlines."""

    module: Any
    expr: Any
    module_form: Any
    expr_form: Any


@dataclass(frozen=True, eq=False)
class View:
    """The network at one setting of the spec's parameters; number 0 is the one being built."""

    number: int
    checked: Checked
    unboxed: frozenset[str] = frozenset()  # containers that have to be classes after all

    @property
    def graph(self) -> Graph:
        return self.checked.graph

    def children(self, path: str) -> tuple[str, ...]:
        """Paths of the direct members of a scope, in order."""
        if not path:
            return tuple(c for c in self.graph.children if self.exists(c))
        found = (f"{path}.{name}" for name in self.graph.scopes[path].children)
        return tuple(c for c in found if self.exists(c))

    def exists(self, path: str) -> bool:
        return path in self.graph.by_name or path in self.graph.scopes

    def node(self, path: str) -> Node | None:
        return self.graph.by_name.get(path)

    def scope(self, path: str) -> Scope:
        return self.graph.scopes[path]

    def is_box(self, path: str) -> bool:
        """A scope that is a numbered container in its parent's class, not a class of its own."""
        scope = self.graph.scopes[path]
        if path in self.unboxed:
            return False
        if scope.kind == "repeat" or path in self.borrowing:
            return True
        numbered = tuple(str(n) for n in range(len(scope.children)))
        return scope.kind == "group" and not scope.absent and scope.children == numbered

    @cached_property
    def borrowing(self) -> frozenset[str]:
        """Groups that apply a layer defined outside them again: they cannot be classes."""
        found: set[str] = set()
        sharing = [(n.name, n.shared) for n in self.graph.nodes]
        sharing += [(s.path, s.shared) for s in self.graph.scopes.values()]
        for path, target in sharing:
            scope = path.rpartition(".")[0]
            while target and scope and not target.startswith(scope + "."):
                if self.graph.scopes[scope].shared or self.graph.scopes[scope].kind == "block":
                    break
                found.add(scope)
                scope = scope.rpartition(".")[0]
        return frozenset(found)

    def members(self, path: str) -> list[str]:
        """Paths of everything in a class scope, numbered containers opened."""
        found: list[str] = []
        for child in self.children(path):
            found.append(child)
            if self.node(child) is None and self.is_box(child):
                found += self.members(child)
        return found

    def is_absent(self, path: str) -> bool:
        node = self.node(path)
        return node.absent if node else self.scope(path).absent

    @cached_property
    def heights(self) -> dict[str, int]:
        """How many classes deep each scope is nested inside, 0 without inner ones."""
        found: dict[str, int] = {}

        def visit(path: str) -> int:
            inner = 0
            for child in self.children(path):
                if self.node(child) is None:
                    inner = max(inner, visit(child) + (not self.is_box(child)))
            found[path] = inner
            return inner

        visit("")
        return found

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of every scope and layer in the order of the spec."""
        found: dict[str, int] = {"": 0}

        def visit(path: str) -> None:
            for child in self.children(path):
                found[child] = len(found)
                if self.node(child) is None:
                    visit(child)

        visit("")
        return found

    def operand_types(self, node: Node) -> tuple[Type, ...]:
        return tuple(self.checked.types[ref] for ref in node.inputs)

    def code(self, node: Node) -> Code:
        """The code of a layer."""
        found = self._codes.get(node.name)
        if found is None:
            types = self.operand_types(node)
            module, expr = node.op.module(*types), node.op.expr(*types)
            found = self._codes[node.name] = Code(module, expr, form(module), form(expr))
        return found

    @cached_property
    def structure(self) -> tuple[Any, ...]:
        """What decides which scopes become one class: networks equal in it differ in numbers."""
        graph = self.graph
        nodes = tuple(self._outline(n) for n in graph.nodes)
        scopes = tuple(
            (s.path, s.kind, s.block, s.inputs, s.output, s.children, s.only, s.absent, s.shared)
            for s in graph.scopes.values()
        )
        values = tuple(graph.inputs), tuple(graph.outputs.items())
        return nodes, scopes, values, graph.children, self.unboxed

    def _outline(self, n: Node) -> tuple[Any, ...]:
        wired = n.name, n.inputs, n.absent, n.only, n.shared
        if n.absent:
            return wired
        code, op = self.code(n), n.op
        kind = op.name, op.ports, op.stateful, code.module_form, code.expr_form
        return *wired, *kind, n.freeze, frozen(n.init)

    @cached_property
    def _codes(self) -> dict[str, Code]:
        return {}

    def is_identity(self, node: Node) -> bool:
        """The layer hands on its first operand; for every accepted input size."""
        if node.absent:
            return True
        return bool(node.op.identity(*self.operand_types(node), same=self._same))

    def _same(self, a: DimLike, b: DimLike) -> bool:
        return a == b or self.checked.domain.relation(a, b) == "always"

    @cached_property
    def identities(self) -> frozenset[str]:
        """Names of the layers that do nothing."""
        return frozenset(n.name for n in self.graph.nodes if self.is_identity(n))

    @cached_property
    def present(self) -> frozenset[str]:
        """Names of the layers that are there."""
        return frozenset(n.name for n in self.graph.nodes if not n.absent)

    @cached_property
    def order(self) -> dict[Ref, int]:
        """The place of every value in the order of definition."""
        values = [Ref(name) for name in self.graph.inputs]
        values += [Ref(n.name, port) for n in self.graph.nodes for port in n.op.ports]
        return {ref: k for k, ref in enumerate(values)}

    @cached_property
    def reads(self) -> tuple[tuple[str, Ref], ...]:
        """Every (path of the reader, value read), the network's outputs read by ""."""
        found = [(n.name, r) for n in self.graph.nodes for r in n.inputs]
        found += [("", ref) for ref in self.graph.outputs.values()]
        for scope in self.graph.scopes.values():
            if scope.absent and scope.inputs:
                found.append((scope.path, scope.inputs[0][1]))
        return tuple(found)

    @cached_property
    def leaving(self) -> dict[str, tuple[Ref, ...]]:
        """The values of each scope that are read outside it: its output first, then as defined."""
        found: dict[str, set[Ref]] = {}
        for reader, ref in self.reads:
            scope = ref.node.rpartition(".")[0]
            while scope and not reader.startswith(scope + "."):
                found.setdefault(scope, set()).add(ref)
                scope = scope.rpartition(".")[0]
        _share(found, self.graph.scopes)
        return {path: self._sorted(path, refs) for path, refs in found.items()}

    def _sorted(self, path: str, refs: set[Ref]) -> tuple[Ref, ...]:
        scope = self.graph.scopes.get(path)
        output = scope.output if scope else None
        return tuple(sorted(refs, key=lambda r: (r != output, self.order.get(r, 0))))

    @cached_property
    def entering(self) -> dict[str, dict[Place, Ref]]:
        """The values each scope reads from outside it, by the place in it that reads them."""
        found: dict[str, dict[Place, Ref]] = {}
        number: Counter[str] = Counter()
        for reader, ref in self.reads:
            scope = reader.rpartition(".")[0]
            while scope and not ref.node.startswith(scope + "."):
                place = reader[len(scope) + 1 :], number[reader]
                found.setdefault(scope, {})[place] = ref
                scope = scope.rpartition(".")[0]
            number[reader] += 1
        return found

    def arguments(self, path: str) -> tuple[tuple[str, Ref], ...]:
        """The values a class scope reads from outside: its declared inputs in use, then others.

        An argument is what the same places of all applications read: two places that read one value
        here and different ones in another application are two arguments.
        """
        if not path:
            return tuple((name, Ref(name)) for name in self.graph.inputs)
        twins = self.applications.get(path, (path,))
        own = self.entering.get(path, {})
        read = {
            tuple(self.entering.get(t, {}).get(at) for t in twins): ref for at, ref in own.items()
        }
        bound = [dict(self.scope(t).inputs) for t in twins]
        inputs = {name: tuple(of.get(name) for of in bound) for name, _ in self.scope(path).inputs}
        declared = tuple((n, r) for n, r in self.scope(path).inputs if inputs[n] in read)
        others = (r for refs, r in read.items() if refs not in inputs.values())
        return declared + tuple(("", ref) for ref in others)

    @cached_property
    def applications(self) -> dict[str, tuple[str, ...]]:
        """For each scope whose weights are applied more than once all its applications."""
        families: dict[str, list[str]] = {}
        for path, scope in self.graph.scopes.items():
            if scope.shared and scope.shared in self.graph.scopes:
                families.setdefault(scope.shared, [scope.shared]).append(path)
        return {path: tuple(family) for family in families.values() for path in family}


def _share(leaving: dict[str, set[Ref]], scopes: Mapping[str, Scope]) -> None:
    """Applications of one scope hand out the same values, so that they can be one class."""
    for scope in scopes.values():
        if scope.shared and scope.shared in scopes:
            _copy(leaving, scope.path, scope.shared)
    for scope in scopes.values():
        if scope.shared and scope.shared in scopes:
            _copy(leaving, scope.shared, scope.path)


def _copy(leaving: dict[str, set[Ref]], source: str, target: str) -> None:
    for ref in sorted(leaving.get(source, ()), key=str):
        if ref.node.startswith(source + "."):
            moved = Ref(target + ref.node[len(source) :], ref.port)
            leaving.setdefault(target, set()).add(moved)


def frozen(value: Any) -> Any:
    """Plain data as something hashable."""
    if isinstance(value, Mapping):
        return tuple((k, frozen(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(frozen(v) for v in value)
    return value
