"""verify(graph): every shape derived, every join proved or refused, every fault with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

from segc.blame import Blame, Failure
from segc.diag import Report
from segc.dim import DimLike, Domain, SizeError, evaluate, same_rate, symbol, symbols
from segc.ir import Graph, Node, Ref
from segc.kinds import check_kinds, input_type
from segc.loc import Loc
from segc.op import Problem
from segc.reads import check_phases, check_unused
from segc.rows import RowSets, phases_of
from segc.types import UNKNOWN, Index, Type, Unknown


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
    rows: RowSets = field(default_factory=RowSets)

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
    row_sets: RowSets = field(default_factory=RowSets)

    def rows(self, bound: DimLike | None, of: DimLike | None = None, port: str = "") -> DimLike:
        return self.row_sets.new(self.node.name if self.node else "", bound, of, port=port)

    def joined(self, train: DimLike, test: DimLike) -> DimLike:
        if train == test:
            return train
        phases = {"train": train, "test": test}
        return self.row_sets.new(self.node.name if self.node else "", None, None, phases)

    def equal(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        if a == b:
            return
        if self.row_sets.among(a) or self.row_sets.among(b):
            self._same_rows(a, b, problem)
            return
        relation = self.domain.relation(a, b)
        if relation == "always":
            return
        if problem.code == "SEG214":
            raise problem  # as many rows at some size are not the same rows
        if not same_rate(a, b):
            raise problem
        if relation == "never":
            raise problem if Domain().relation(a, b) == "never" else _conflict(problem)
        self._narrow(lambda domain: domain.equal(a, b), problem)

    def _same_rows(self, a: DimLike, b: DimLike, problem: Problem) -> None:
        """Rows are those of one set, in every phase in which the layer computes."""
        for phase in phases_of(self.node.only if self.node else None):
            if self.row_sets.project(a, phase) != self.row_sets.project(b, phase):
                raise problem

    def at_least(self, a: DimLike, minimum: int, problem: Problem) -> None:
        if self.row_sets.among(a):
            return  # there may be none
        if not isinstance(a, int):
            self._narrow(lambda domain: domain.at_least(a, minimum), problem)
        elif a < minimum:
            raise problem

    def multiple(self, a: DimLike, of: int, problem: Problem) -> None:
        if not isinstance(a, int):
            self._narrow(lambda domain: domain.multiple(a, of), problem)
        elif a % of:
            raise problem

    def _narrow(self, demand: Callable[[Domain], Domain], problem: Problem) -> None:
        domain = demand(self.domain)
        if domain is self.domain:
            return
        if domain.empty:
            raise problem if demand(Domain()).empty else _conflict(problem)
        if self.node is not None and domain.constraints() != self.domain.constraints():
            self.reasons.append(Reason(self.node.name, self.node.loc, problem.message))
        self.domain = domain


def _conflict(problem: Problem) -> Problem:
    """The demand could be met, but not by sizes the layers above accept."""
    message = f"{problem.message}, with all sizes that the layers above accept"
    hint = "one of the layers that limit the sizes (`segc check` lists them) has to change"
    return Problem(
        "SEG209", message, attr=problem.attr, operand=problem.operand, hint=problem.hint or hint
    )


# Faults another input size may cure.
CONSTRAINT_WORDS = ("floor", "ceil", "min", "max")  # functions in printed sizes
SIZES = ("SEG203", "SEG204", "SEG205", "SEG207", "SEG209", "SEG211")
MAX_COUNT = 2**40  # parameters of a network, values of a tensor
LARGE = 2**18  # from here on a size deserves a look at what it makes of the smallest input


def verify(graph: Graph, report: Report) -> Checked:
    """Derive all types; faults go to `report`, one message a mistake."""
    wiring_failed = report.failed
    checked, failures = _derive(graph)
    advice = _advice(graph) if any(f.problem.code in SIZES for f in failures) else None
    Blame(graph, checked.types, partial(_fits, checked.rows), advice, checked.rows).tell(
        failures, report
    )
    check_phases(graph, report)
    if not wiring_failed:
        check_unused(graph, report)
    if not graph.outputs and not report.failed:
        report.error("SEG309", "the network has no outputs", graph.loc)
    return checked


def _derive(graph: Graph) -> tuple[Checked, list[Failure]]:
    """The types of all values, and the layers that have none."""
    types: dict[Ref, Type] = {}
    for name, declared in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else symbol(d) for d in declared.shape)
        types[Ref(name)] = input_type(declared, shape)
    demands = _Demands(Domain())
    taken = {d for i in graph.inputs.values() for d in i.shape if isinstance(d, str)}
    demands.row_sets.sizes_of_inputs = frozenset((*taken, *CONSTRAINT_WORDS))
    for declared in graph.inputs.values():
        if declared.rows is not None:
            demands.row_sets.named(declared.rows)
    failures: list[Failure] = []
    params: dict[str, int] = {}
    total = 0
    for node in graph.nodes:
        before, reasons = demands.domain, len(demands.reasons)
        try:
            params[node.name] = _infer(node, types, demands, total)
            _check_shared(node, graph, types)
            total += 0 if node.shared else params[node.name]
        except (Problem, SizeError) as fault:
            demands.domain = before
            del demands.reasons[reasons:]
            failures.append(Failure(node, _problem(fault), before))
    checked = Checked(
        graph, types, demands.domain, tuple(demands.reasons), params, demands.row_sets
    )
    return checked, failures or _oversized(checked)


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


def _infer(node: Node, types: dict[Ref, Type], demands: _Demands, total: int) -> int:
    """Note the types a layer produces; the number of its parameters, `total` being above it."""
    operands = [types.get(ref, UNKNOWN) for ref in node.inputs]
    if any(isinstance(t, Unknown) for t in operands):
        return 0
    demands.node = node
    results = _types(node, operands, demands)
    params = sum(_constant(p.shape) for p in node.op.parameters(*operands))
    _check_count(total + params, "parameters")
    for port, result in zip(node.op.ports, results, strict=True):
        types[Ref(node.name, port)] = result
    return params


def _check_shared(node: Node, graph: Graph, types: Mapping[Ref, Type]) -> None:
    """A layer applied again needs weights of the shape it has."""
    if node.shared is None or Ref(node.name) not in types:
        return
    owner = graph.by_name[node.shared]
    if Ref(owner.name) not in types:
        return
    here, there = (
        {p.name: p.shape for p in n.op.parameters(*(types.get(r, UNKNOWN) for r in n.inputs))}
        for n in (node, owner)
    )
    for name, shape in here.items():
        if shape != there[name]:
            has, wants = (" x ".join(map(str, s)) for s in (there[name], shape))
            message = f"the {name} of `{owner.name}` is {has}, applied here it would be {wants}"
            hint = "apply it to a value with as many channels, or make a layer of its own"
            if node.loc == owner.loc:  # one entry of the spec, for all levels of a pyramid
                hint = "`each: level` makes a layer for each level, with weights of its own"
            raise Problem("SEG202", message, operand=0, hint=hint)


def _types(node: Node, operands: list[Type], demands: _Demands) -> list[Type]:
    """The types of the layer's outputs; raises Problem or SizeError."""
    check_kinds(node, operands)
    if node.op.bare and node.name.rpartition(".")[2].isdigit():
        message = f"{node.op.name} is a tensor, not an item of a numbered list"
        raise Problem("SEG305", message, hint="give the layer a name of letters")
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


def _oversized(checked: Checked) -> list[Failure]:
    """The first layer with values beyond all machines even for the smallest inputs."""
    graph, domain = checked.graph, checked.domain
    least: dict[str, int] = {}
    for ref in map(Ref, graph.inputs):
        for name in sorted(_symbols(checked.shape(ref)) - least.keys()):
            least[name] = next((v for v in domain.nearest(name, 1) if v is not None), 1)
        cause = checked.reasons[-1].node if checked.reasons else ""
        if cause and prod(evaluate(d, least) for d in checked.shape(ref)) > MAX_COUNT:
            message = f"accepts no `{ref}` of less than 2^40 values"
            return [Failure(graph.by_name[cause], Problem("SEG313", message), domain)]
    least = checked.rows.sizes(least, "test")
    for node in graph.nodes:
        shape = checked.shape(Ref(node.name))
        try:
            if any(map(_is_large, shape)):
                count = prod(evaluate(d, least) for d in shape)
                _check_count(count, "values even for the smallest input")
        except Problem as problem:
            return [Failure(node, problem, domain)]
    return []


def _symbols(shape: Iterable[DimLike]) -> frozenset[str]:
    return frozenset(name for d in shape for name in symbols(d))


def _is_large(d: DimLike) -> bool:
    if isinstance(d, int):
        return d > LARGE
    return abs(d.const) > LARGE or any(abs(factor) > LARGE for _, factor in d.terms)


def _fits(rows: RowSets, failure: Failure, operands: list[Type]) -> bool:
    """Whether the layer would be sound with other operands."""
    known = RowSets(dict(rows.sets), rows.sizes_of_inputs)
    try:
        _types(failure.node, operands, _Demands(failure.domain, failure.node, row_sets=known))
    except (Problem, SizeError):
        return False
    return True


def _problem(fault: Problem | SizeError) -> Problem:
    if isinstance(fault, Problem):
        return fault
    hint = "many rescalings in a row make sizes no exact formula of reasonable length describes"
    return Problem("SEG313", f"the size of its map cannot be kept exactly: {fault}", hint=hint)
