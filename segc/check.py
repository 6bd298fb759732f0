"""verify(graph): every shape derived, every join proved or refused, every fault with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from segc.blame import Blame, Failure
from segc.diag import Note, Report
from segc.dim import DimLike, Domain, SizeError, same_rate, symbol, text
from segc.ir import Graph, Node, Ref, Scope
from segc.loc import Loc
from segc.op import Param, Problem
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
    params: Mapping[str, int] = field(default_factory=dict)  # of each layer, shared ones too

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
        if relation == "never" or not same_rate(a, b):
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


SIZES = ("SEG203", "SEG204", "SEG205", "SEG207", "SEG211")  # faults another input size may cure
MAX_COUNT = 2**40  # parameters of a network, values a tensor has for each pixel


def verify(graph: Graph, report: Report) -> Checked:
    """Derive all types; faults go to `report`, one message a mistake."""
    wiring_failed = report.failed
    checked, failures = _derive(graph)
    advice = _advice(graph) if any(f.problem.code in SIZES for f in failures) else None
    Blame(graph, checked.types, _fits, advice).tell(failures, report)
    _check_phases(graph, report)
    if not wiring_failed:
        _check_unused(graph, report)
    if not graph.outputs and not report.failed:
        report.error("SEG309", "the network has no outputs", graph.loc)
    return checked


def _derive(graph: Graph) -> tuple[Checked, list[Failure]]:
    """The types of all values, and the layers that have none."""
    types: dict[Ref, Type] = {}
    for name, declared in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else symbol(d) for d in declared.shape)
        types[Ref(name)] = Tensor(shape, declared.dtype)
    demands = _Demands(Domain())
    failures: list[Failure] = []
    params: dict[str, int] = {}
    weights: dict[str, tuple[Param, ...]] = {}
    total = 0
    for node in graph.nodes:
        before, reasons = demands.domain, len(demands.reasons)
        try:
            weights[node.name] = _infer(node, types, demands, weights.get(node.shared or ""))
            params[node.name] = sum(_constant(p.shape) for p in weights[node.name])
            _check_count(total + params[node.name], "parameters")
            total += 0 if node.shared else params[node.name]
        except (Problem, SizeError) as fault:
            demands.domain = before
            del demands.reasons[reasons:]
            failures.append(Failure(node, _problem(fault), before))
    return Checked(graph, types, demands.domain, tuple(demands.reasons), params), failures


def _advice(graph: Graph) -> str | None:
    """For inputs of a fixed size: the nearest sizes with which the network would be sound."""
    fixed: dict[str, int] = {}
    inputs = {}
    for name, declared in graph.inputs.items():
        shape = list(declared.shape)
        for axis in range(2, len(shape)):
            d = shape[axis]
            if isinstance(d, int):
                shape[axis] = f"size_{d}"  # equal sizes stay equal
                fixed[f"size_{d}"] = d
        inputs[name] = replace(declared, shape=tuple(shape))
    if not fixed:
        return None
    checked, failures = _derive(replace(graph, inputs=inputs))
    if failures:
        return None
    parts = []
    for name, value in fixed.items():
        near = [str(v) for v in checked.domain.nearest(name, value) if v is not None]
        if near and near != [str(value)] * len(near):
            parts.append(f"{' or '.join(near)} instead of {value}")
    return f"input sizes that fit: {', '.join(parts)}" if parts else None


def _infer(
    node: Node, types: dict[Ref, Type], demands: _Demands, shared: tuple[Param, ...] | None
) -> tuple[Param, ...]:
    """Note the types a layer produces; its weights, which must be `shared` if it shares some."""
    operands = [types.get(ref, UNKNOWN) for ref in node.inputs]
    if any(isinstance(t, Unknown) for t in operands):
        return ()
    demands.node = node
    results = _types(node, operands, demands)
    weights = node.op.parameters(*operands)
    if shared:
        _check_shared(node, weights, shared)
    for port, result in zip(node.op.ports, results, strict=True):
        types[Ref(node.name, port)] = result
    return weights


def _check_shared(node: Node, weights: tuple[Param, ...], shared: tuple[Param, ...]) -> None:
    for mine, theirs in zip(weights, shared, strict=True):
        if mine.shape != theirs.shape:
            shapes = " x ".join(map(text, theirs.shape)), " x ".join(map(text, mine.shape))
            message = f"it applies `{node.shared}` again, whose {mine.name} is "
            message += f"{shapes[0]}; for what it reads here it would be {shapes[1]}"
            raise Problem("SEG202", message, operand=0)


def _types(node: Node, operands: list[Type], demands: _Demands) -> list[Type]:
    """The types of the layer's outputs; raises Problem or SizeError."""
    _check_kinds(node, operands)
    found = node.op.infer(demands, *operands)
    results: list[Type] = []
    for result in found if isinstance(found, tuple) else (found,):
        if not isinstance(result, Unknown):
            _check_count(_constant(result.shape), "values for each pixel")
        if isinstance(result, Index) and not result.pool:
            result = replace(result, pool=node.name)
        results.append(result)
    return results


def _constant(shape: Iterable[DimLike]) -> int:
    """How many values a shape has, not counting the sizes that are symbols."""
    return prod([d for d in shape if isinstance(d, int)])


def _check_count(count: int, what: str) -> None:
    if count > MAX_COUNT:
        message = f"there would be {count:,} {what}, the limit is 2^40"
        raise Problem("SEG313", message)


def _fits(failure: Failure, operands: list[Type]) -> bool:
    """Whether the layer would be sound with other operands."""
    try:
        _types(failure.node, operands, _Demands(failure.domain))
    except (Problem, SizeError):
        return False
    return True


def _problem(fault: Problem | SizeError) -> Problem:
    if isinstance(fault, Problem):
        return fault
    hint = "many rescalings in a row make sizes no exact formula of reasonable length describes"
    return Problem("SEG313", f"the size of its map cannot be kept exactly: {fault}", hint=hint)


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


def _check_phases(graph: Graph, report: Report) -> None:
    """A layer reads only what exists whenever it does: a checkpoint's layers never compute."""
    only = {node.name: node.only for node in graph.nodes}
    for node in graph.nodes:
        for i, ref in enumerate(node.inputs):
            phase = only.get(ref.node)
            if phase is None or node.only in (phase, "checkpoint"):
                continue
            loc = node.input_locs[i] if i < len(node.input_locs) else node.loc
            message = f"`{node.name}` reads `{ref.node}`, which {_WHEN[phase]}"
            hint = f"mark it `only: {phase}` too, or name another layer with `from:`"
            note = Note(graph.by_name[ref.node].loc, f"`{ref.node}` is `only: {phase}`")
            report.error("SEG311", message, loc, hint=hint, notes=(note,))
            break
    for name, phase in graph.output_only.items():
        if phase == "checkpoint":
            node = graph.by_name[graph.outputs[name].node]
            message = f"the output `{name}` is `{node.name}`, which {_WHEN[phase]}"
            report.error("SEG311", message, node.loc, hint="remove the output, or `only`")


_WHEN = {"train": "exists in training only", "checkpoint": "is kept for the checkpoint only"}


def _check_unused(graph: Graph, report: Report) -> None:
    read = {ref.node for node in graph.nodes for ref in node.inputs}
    read |= {ref.node for ref in graph.outputs.values()}
    owner = {s.output.node: s for s in reversed(list(graph.scopes.values())) if not s.absent}
    for node in graph.nodes:
        if node.name in read or node.absent or node.only == "checkpoint":
            continue
        scope = _outermost(node.name, owner)
        name, loc = (scope.path, scope.loc) if scope else (node.name, node.loc)
        hint = "read it with `from:`, name it in `outputs`, or remove it"
        report.error("SEG304", f"nothing reads `{name}`", loc, hint=hint)
    for name, declared in graph.inputs.items():
        if name not in read:
            hint = "read it with `from:`, or remove it"
            report.error("SEG304", f"nothing reads the input `{name}`", declared.loc, hint=hint)


def _outermost(name: str, owner: Mapping[str, Scope]) -> Scope | None:
    """The largest group whose value is that of `name`."""
    scope = owner.get(name)
    return scope if scope and name.startswith(scope.path + ".") else None
