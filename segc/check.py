"""verify(graph): every shape derived, every join proved or refused, every fault with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from segc.diag import Note, Report
from segc.dim import DimLike, Domain, symbol, symbols, wave
from segc.ir import Graph, Node, Ref
from segc.loc import Loc
from segc.op import Problem
from segc.types import UNKNOWN, Index, Tensor, Type, Unknown


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the accepted sizes are what they are: a layer and the demand it made."""

    node: str
    loc: Loc
    text: str


@dataclass(frozen=True)
class Checked:
    """A graph with the type of every value and the sizes its inputs may have."""

    graph: Graph
    types: Mapping[Ref, Type]
    domain: Domain
    reasons: tuple[Reason, ...] = ()

    def inputs_of(self, node: Node) -> tuple[Type, ...]:
        """The types of a layer's operands."""
        return tuple(self.types.get(ref, UNKNOWN) for ref in node.inputs)

    def shape(self, ref: Ref) -> tuple[DimLike, ...]:
        """The symbolic shape of a value, () where it is unknown."""
        found = self.types.get(ref, UNKNOWN)
        return () if isinstance(found, Unknown) else found.shape


@dataclass
class _Demands:
    """The `Need` of op.py: narrows the domain or raises the operator's problem."""

    domain: Domain
    node: Node | None = None
    reasons: list[Reason] = field(default_factory=list)

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        if a == b:
            return
        relation = self.domain.relation(a, b)
        if relation == "always":
            return
        if relation == "never" or _scale_differs(a, b):
            raise problem
        self._narrow(self.domain.equal(a, b), problem)

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        if isinstance(a, int):
            if a < minimum:
                raise problem
            return
        self._narrow(self.domain.at_least(a, minimum), problem)

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        if isinstance(a, int):
            if a % of:
                raise problem
            return
        self._narrow(self.domain.multiple(a, of), problem)

    def _narrow(self, domain: Domain, problem: Problem) -> None:
        if domain is self.domain:
            return
        if domain.empty:
            raise problem
        if self.node is not None and domain.constraints() != self.domain.constraints():
            self.reasons.append(Reason(self.node.name, self.node.loc, problem.message))
        self.domain = domain


def _scale_differs(a: DimLike, b: DimLike) -> bool:
    """True for two sizes that grow at different rates: equal at most by coincidence."""
    if isinstance(a, int) or isinstance(b, int):
        return False
    if symbols(a) != symbols(b) or len(symbols(a)) != 1:
        return False
    first, second = wave(a), wave(b)
    if first is None or second is None:
        return False
    return first[1] * second[0] != second[1] * first[0]


def verify(graph: Graph, report: Report) -> Checked:
    """Derive all types; faults go to `report`, one message a mistake."""
    wiring_failed = report.failed
    types: dict[Ref, Type] = {}
    for name, declared in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else symbol(d) for d in declared.shape)
        types[Ref(name)] = Tensor(shape, declared.dtype)
    demands = _Demands(Domain())
    for node in graph.nodes:
        _infer(node, types, demands, graph, report)
    checked = Checked(graph, types, demands.domain, tuple(demands.reasons))
    _check_phases(graph, report)
    if not wiring_failed:
        _check_unused(graph, report)
    if not graph.outputs and not report.failed:
        report.error("SEG309", "the network has no outputs", graph.loc)
    return checked


def _infer(
    node: Node, types: dict[Ref, Type], demands: _Demands, graph: Graph, report: Report
) -> None:
    operands = [types.get(ref, UNKNOWN) for ref in node.inputs]
    if any(isinstance(t, Unknown) for t in operands):
        return
    demands.node = node
    before = demands.domain
    try:
        _check_kinds(node, operands)
        found = node.op.infer(demands, *operands)
    except Problem as problem:
        demands.domain = before
        _report(node, problem, types, demands, graph, report)
        return
    results = found if isinstance(found, tuple) else (found,)
    for port, result in zip(node.op.ports, results, strict=True):
        if isinstance(result, Index) and not result.pool:
            result = replace(result, pool=node.name)
        types[Ref(node.name, port)] = result


def _check_kinds(node: Node, operands: list[Type]) -> None:
    """Indices where a tensor is needed, and the other way round."""
    for i, operand in enumerate(operands):
        wants_index = i < len(node.op.operands) and node.op.operands[i] in node.op.index_operands
        if isinstance(operand, Index) and not wants_index:
            message = f"{node.op.name} needs a tensor, these are the indices of `{operand.pool}`"
            hint = f"only max_unpool2d reads indices; the pooled map is `{operand.pool}`"
            raise Problem("SEG206", message, operand=i, hint=hint)
        if wants_index and not isinstance(operand, Index):
            message = f"{node.op.name} needs the indices of a max pooling here, this is a tensor"
            hint = "for example `from: [x, pool1.indices]`"
            raise Problem("SEG208", message, operand=i, hint=hint)


def _report(
    node: Node,
    problem: Problem,
    types: Mapping[Ref, Type],
    demands: _Demands,
    graph: Graph,
    report: Report,
) -> None:
    loc = node.loc
    if problem.attr in node.attr_locs:
        loc = node.attr_locs[problem.attr or ""]
    elif problem.operand is not None and problem.operand < len(node.input_locs):
        loc = node.input_locs[problem.operand]
    hint = problem.hint or _matching(node, problem, types, graph, demands.domain)
    notes = _operand_notes(node, types, graph, demands.domain)
    report.error(problem.code, f"`{node.name}`: {problem.message}", loc, hint=hint, notes=notes)


def _operand_notes(
    node: Node, types: Mapping[Ref, Type], graph: Graph, domain: Domain
) -> tuple[Note, ...]:
    """Where the operands come from and how large they are."""
    notes = []
    for ref in dict.fromkeys(node.inputs):
        producer = graph.by_name.get(ref.node)
        loc = producer.loc if producer else graph.inputs[ref.node].loc
        shape = shape_text(types[ref], domain)
        notes.append(Note(loc, f"`{ref}` is {shape}"))
    limits = ", ".join(domain.constraints())
    if limits:
        notes.append(Note(None, f"layers above accept only {limits}"))
    return tuple(notes)


def shape_text(value: Type, domain: Domain) -> str:
    """`64 x H / 2 x W / 2`: a shape without the batch, simplified under the accepted sizes."""
    if isinstance(value, Unknown):
        return "unknown"
    shape = value.shape[1:] if len(value.shape) > 1 else value.shape
    return " x ".join(domain.simplify(d) for d in shape)


def _matching(
    node: Node, problem: Problem, types: Mapping[Ref, Type], graph: Graph, domain: Domain
) -> str | None:
    """For a join of two scales: the layer of the same list that has the size wanted."""
    if problem.code not in ("SEG203", "SEG207") or len(node.inputs) < 2:
        return None
    bad = problem.operand if problem.operand is not None else 1
    others = [r for i, r in enumerate(node.inputs) if i != bad]
    wanted = types.get(others[0], UNKNOWN)
    if isinstance(wanted, Unknown):
        return None
    for path, ref in _candidates(node.inputs[bad], graph):
        found = types.get(ref, UNKNOWN)
        if type(found) is type(types[node.inputs[bad]]) and not isinstance(found, Unknown):
            same = found.shape[2:] == wanted.shape[2:] and path not in node.name
            if same and ref not in node.inputs:
                return f"`{path}` has the size of `{others[0]}`: did you mean that?"
    return None


def _candidates(ref: Ref, graph: Graph) -> list[tuple[str, Ref]]:
    """Values of the same port beside `ref`, at its level of the spec."""
    scope = ref.node.rpartition(".")[0]
    outer = next((s for p, s in graph.scopes.items() if s.output == ref), None)
    level = (outer.path if outer else ref.node).rpartition(".")[0] if outer else scope
    names = graph.scopes[level].children if level in graph.scopes else graph.children
    found = []
    for name in names:
        path = f"{level}.{name}" if level else name
        if path in graph.scopes:
            found.append((path, graph.scopes[path].output))
        elif path in graph.by_name:
            port = ref.port if ref.port in graph.by_name[path].op.ports else "out"
            found.append((path, Ref(path, port)))
    return found


def _check_phases(graph: Graph, report: Report) -> None:
    """A layer of both phases may not read one that exists in training only."""
    only = {node.name: node.only for node in graph.nodes}
    for node in graph.nodes:
        if node.only is not None:
            continue
        for i, ref in enumerate(node.inputs):
            if only.get(ref.node):
                loc = node.input_locs[i] if i < len(node.input_locs) else node.loc
                message = f"`{node.name}` reads `{ref.node}`, which exists in training only"
                hint = "mark it `only: train` too, or name another layer with `from:`"
                note = Note(graph.by_name[ref.node].loc, f"`{ref.node}` is `only: train`")
                report.error("SEG311", message, loc, hint=hint, notes=(note,))
                break


def _check_unused(graph: Graph, report: Report) -> None:
    read = {ref.node for node in graph.nodes for ref in node.inputs}
    read |= {ref.node for ref in graph.outputs.values()}
    owner = {s.output.node: s for s in reversed(graph.scopes.values()) if not s.absent}
    for node in graph.nodes:
        if node.name in read or node.absent:
            continue
        scope = _outermost(node.name, owner)
        name, loc = (scope.path, scope.loc) if scope else (node.name, node.loc)
        hint = "read it with `from:`, name it in `outputs`, or remove it"
        report.error("SEG304", f"nothing reads `{name}`", loc, hint=hint)
    for name, declared in graph.inputs.items():
        if name not in read:
            report.error("SEG304", f"nothing reads the input `{name}`", declared.loc)


def _outermost(name: str, owner):  # type: ignore[no-untyped-def]
    """The largest group whose value is that of `name`."""
    scope = owner.get(name)
    return scope if scope and name.startswith(scope.path + ".") else None
