"""Where a fault of types is shown: the place to look at, the operands, what would fit instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from segc.diag import Note, Report, ends_alike
from segc.dim import Domain
from segc.ir import Graph, Node, Ref, Scope
from segc.kinds import described
from segc.loc import Loc
from segc.op import Problem
from segc.rows import RowSets
from segc.types import UNKNOWN, Type, Unknown

JOINS = ("SEG202", "SEG203", "SEG207", "SEG209", "SEG214")  # faults another operand may cure
ROWS = "SEG214"  # rows of different sets: how to pair them is said where nothing else would fit
TRIED = 40  # other operands tried for a hint


@dataclass(frozen=True, slots=True)
class Failure:
    """A layer whose types do not fit, and the sizes that were still accepted before it."""

    node: Node
    problem: Problem
    domain: Domain


Fits = Callable[[Failure, list[Type]], bool]


@dataclass(frozen=True, slots=True)
class _Better:
    """The operand that is probably wrong, and what would fit, in words."""

    operand: int
    name: str


@dataclass
class Blame:
    """Reports the failures of one graph.

    `fits` tells whether a layer accepts other operands; `advice` is a hint where there is no
    better one.
    """

    graph: Graph
    types: Mapping[Ref, Type]
    fits: Fits
    advice: str | None = None
    rows: RowSets = field(default_factory=RowSets)

    def tell(self, failures: Sequence[Failure], report: Report) -> None:
        """One diagnostic a mistake: a layer of a block that fails in every use is told once."""
        groups: dict[tuple[str, Loc], list[Failure]] = {}
        for failure in failures:
            groups.setdefault((failure.problem.code, failure.node.loc), []).append(failure)
        for group in groups.values():
            others = self._copies[group[0].node.loc] - len(group)
            if len(group) > 1 and others <= 0:
                self._tell(group[0], report, len(group) - 1, False)
                continue
            for failure in group:
                self._tell(failure, report, 0, others > 0)

    @cached_property
    def _copies(self) -> Counter[Loc]:
        """How many layers one line of the spec became, not counting those nothing is known of."""
        return Counter(
            node.loc
            for node in self.graph.nodes
            if not any(isinstance(self.type(ref), Unknown) for ref in node.inputs)
        )

    def type(self, ref: Ref) -> Type:
        return self.types.get(ref, UNKNOWN)

    def _tell(self, failure: Failure, report: Report, more: int, elsewhere_fine: bool) -> None:
        node, problem = failure.node, failure.problem
        hopeless = report.crowded or self.advice or (problem.hint and problem.code != ROWS)
        better = None if hopeless else self._better(failure)
        place = _place(node, problem)
        notes = [] if report.crowded else list(self._operands(failure))
        operand = better.operand if better else problem.operand
        given = self._given(node, operand) if better or elsewhere_fine else None
        if given is not None:
            notes.insert(0, Note(place, f"`{node.name}` reads it here"))
            place = given
        elif better is not None and better.operand < len(node.input_locs):
            place = node.input_locs[better.operand]
        if more:
            notes.append(Note(None, f"the same in {more} more use{'s' * (more > 1)} of the block"))
        hint = self.advice or problem.hint
        if better is not None:
            hint = f"{better.name} would fit: did you mean that?"
        message = f"`{node.name}`: {problem.message}"
        report.error(problem.code, message, place, hint=hint, notes=notes)

    def _given(self, node: Node, operand: int | None) -> Loc | None:
        """Where the block that holds the layer is given the operand, if it comes from outside."""
        scope, at = self._entrance(node, operand)
        if scope is None:
            return None
        ambiguous = [ref for _, ref in scope.inputs].count(scope.inputs[at][1]) > 1
        return scope.loc if ambiguous else scope.input_locs[at]

    def _site(self, node: Node, operand: int) -> str:
        """Path of the list of layers in which the operand is named."""
        scope, _ = self._entrance(node, operand)
        path = scope.path.rpartition(".")[0] if scope else node.scope
        while path in self.graph.scopes and self.graph.scopes[path].kind == "repeat":
            path = path.rpartition(".")[0]
        return path

    def _entrance(self, node: Node, operand: int | None) -> tuple[Scope | None, int]:
        """The outermost block the operand enters on its way to the layer, and as which input."""
        found: tuple[Scope | None, int] = None, 0
        for scope in self._around(node) if operand is not None else ():
            refs = [ref for _, ref in scope.inputs]
            if operand is None or node.inputs[operand] not in refs:
                break
            at = refs.index(node.inputs[operand])
            if scope.kind == "block" and at < len(scope.input_locs):
                found = scope, at
        return found

    def _around(self, node: Node) -> Iterator[Scope]:
        """The groups a layer is in, the innermost first; repeats are passed over."""
        path = node.scope
        while path:
            scope = self.graph.scopes.get(path)
            if scope is not None and scope.kind != "repeat":
                yield scope
            path = path.rpartition(".")[0]

    # --- what was read ----------------------------------------------------------------------
    def _operands(self, failure: Failure) -> Iterator[Note]:
        """The operands by name, with their sizes and the places they come from."""
        for ref in dict.fromkeys(failure.node.inputs):
            name, loc = self._source(ref, failure.node)
            what = described(self.type(ref), failure.domain, self.rows)
            yield Note(loc, f"`{name}` is {what}")
        limits = ", ".join(failure.domain.constraints())
        if limits:
            yield Note(None, f"layers above accept only {limits}")

    def _source(self, ref: Ref, reader: Node) -> tuple[str, Loc]:
        """The largest group whose value this is, seen from `reader`; else the layer, the input."""
        scope = self._outermost.get(ref)
        if scope is not None and not reader.name.startswith(scope.path + "."):
            return scope.path, scope.loc
        if ref.node in self.graph.by_name:
            return str(ref), self.graph.by_name[ref.node].loc
        return str(ref), self.graph.inputs[ref.node].loc

    @cached_property
    def _outermost(self) -> dict[Ref, Scope]:
        made = [s for s in self.graph.scopes.values() if s.output.node.startswith(s.path + ".")]
        return {s.output: s for s in sorted(made, key=lambda s: -len(s.path))}

    # --- what would fit ---------------------------------------------------------------------
    def _better(self, failure: Failure) -> _Better | None:
        """Another value of the same list with which the layer would be sound."""
        if failure.problem.code not in JOINS or len(failure.node.inputs) < 2:
            return None
        node = failure.node
        for operand in self._suspects(failure):
            for name, ref in self._candidates(node, operand):
                refs = [ref if i == operand else r for i, r in enumerate(node.inputs)]
                if self.fits(failure, [self.type(r) for r in refs]):
                    return _Better(operand, f"`{name}`")
                restored = self._restored(node, operand, refs)
                if restored and self.fits(failure, [self.type(r) for r in refs]):
                    pool = name.removesuffix(f".{ref.port}")
                    return _Better(operand, f"`{name}` with `size: {pool}.input`")
        return None

    def _restored(self, node: Node, operand: int, refs: list[Ref]) -> bool:
        """Let an unpooling restore the size of the other pool too; False where it does not."""
        wrong = self.graph.by_name.get(node.inputs[operand].node)
        right = self.graph.by_name.get(refs[operand].node)
        if not node.op.index_operands or wrong is None or right is None:
            return False
        at = len(node.inputs) - len(node.op.extra)
        if at >= len(refs) or not right.inputs or refs[at] != wrong.inputs[0]:
            return False
        refs[at] = right.inputs[0]
        return True

    def _suspects(self, failure: Failure) -> list[int]:
        """Operands, the likeliest culprit first; what merely follows in the chain is none."""
        node, problem = failure.node, failure.problem
        extra = node.op.extra
        if problem.attr in extra:
            return [len(node.inputs) - len(extra) + extra.index(problem.attr or "")]
        if problem.code == "SEG207" and problem.operand is not None:
            return [problem.operand]
        named = [i for i in range(len(node.inputs)) if self._is_named(node, i)]
        return sorted(named, key=lambda i: i != problem.operand)

    def _is_named(self, node: Node, operand: int) -> bool:
        scope, at = self._entrance(node, operand)
        loc = scope.input_locs[at] if scope else _input_loc(node, operand)
        return loc is not None and loc not in self._defined

    @cached_property
    def _defined(self) -> frozenset[Loc]:
        nodes = {node.loc for node in self.graph.nodes}
        return frozenset(nodes | {scope.loc for scope in self.graph.scopes.values()})

    def _candidates(self, node: Node, operand: int) -> list[tuple[str, Ref]]:
        """Values that could stand in `from` instead, the most similar first."""
        wrong = node.inputs[operand]
        name, _ = self._source(wrong, node)
        level = name.removesuffix(f".{wrong.port}").rpartition(".")[0]
        site = self._site(node, operand)
        within = f"{site}." if site else ""
        found = list(self._values(level, wrong.port, node))
        kind = self._kind(wrong, node)
        similar = {ref: (self._kind(ref, node) == kind, ends_alike(n, name)) for n, ref in found}
        found.sort(key=lambda item: similar[item[1]], reverse=True)
        fresh = [
            item for item in found if item[1] not in node.inputs and self._there(item[1], node)
        ]
        return [(name.removeprefix(within), ref) for name, ref in fresh[:TRIED]]

    def _there(self, ref: Ref, reader: Node) -> bool:
        """It exists whenever the reader computes."""
        only = self.graph.by_name[ref.node].only if ref.node in self.graph.by_name else None
        return only in (None, reader.only)

    def _values(self, level: str, port: str, reader: Node) -> Iterator[tuple[str, Ref]]:
        """The values of one list of layers defined above `reader`, by their paths."""
        scope = self.graph.scopes.get(level)
        before = self._position[reader.name]
        for name in scope.children if scope else self.graph.children:
            path = f"{level}.{name}" if level else name
            group, node = self.graph.scopes.get(path), self.graph.by_name.get(path)
            ref = group.output if group else Ref(path)
            if self._position.get(ref.node, -1) >= before or path == reader.name:
                continue
            if group is None and node is not None and port in node.op.ports[1:]:
                yield f"{path}.{port}", Ref(path, port)
            elif port == ref.port and not isinstance(self.type(ref), Unknown):
                yield path, ref

    @cached_property
    def _position(self) -> dict[str, int]:
        return {node.name: i for i, node in enumerate(self.graph.nodes)}

    def _kind(self, ref: Ref, reader: Node) -> str:
        """What makes a value: its block or its operator."""
        scope = self._outermost.get(ref)
        if scope is not None and not reader.name.startswith(scope.path + "."):
            return scope.block or scope.kind
        node = self.graph.by_name.get(ref.node)
        return node.op.name if node else "input"


def _place(node: Node, problem: Problem) -> Loc:
    if problem.attr in node.attr_locs:
        return node.attr_locs[problem.attr or ""]
    found = _input_loc(node, problem.operand) if problem.operand is not None else None
    return found or node.loc


def _input_loc(node: Node, operand: int) -> Loc | None:
    return node.input_locs[operand] if operand < len(node.input_locs) else None


def shape_text(value: Type, domain: Domain) -> str:
    """`64 x H / 2 x W / 2`: a shape without the batch, simplified under the accepted sizes."""
    if isinstance(value, Unknown):
        return "unknown"
    shape = value.shape[1:] if len(value.shape) > 1 else value.shape
    return " x ".join(domain.simplify(d) for d in shape) or "one number"
