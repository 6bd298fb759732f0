"""The optimiser: asks every rule about every layer and carries out what pays.

Rules run in their order, each until it finds nothing more. An edit of a "safe" rule always
applies, one of the others if the cost model says that it saves time. Layers that share weights
are edited together or not at all (see `sharing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from segc.check import Checked
from segc.cost import CPU_BALANCE, Cost, Prices
from segc.edit import apply
from segc.ir import Graph
from segc.phases import inference, verified
from segc.rewrite import Fired, Move, Optimised, Rewrite, Rule, Skip
from segc.sharing import together

PASSES = 50  # of one rule over the graph; each makes the graph smaller or cheaper
LEVELS = {"none": (), "safe": ("safe",), "all": ("safe", "all")}


@dataclass(frozen=True)
class Options:
    """What the user asks of the optimiser.

    level: none, safe or all. off: rules never used. on: rules used wherever they are exact, also
    against the level and the cost model. balance: of the machine, multiply-accumulates per byte.
    """

    level: str = "all"
    off: frozenset[str] = frozenset()
    on: frozenset[str] = frozenset()
    balance: float = CPU_BALANCE

    def wants(self, rule: Rule) -> bool:
        """Whether the rule may be used."""
        chosen = rule.level in LEVELS[self.level] or rule.name in self.on
        return chosen and rule.name not in self.off

    @property
    def command(self) -> str:
        """What `segc build` is given to get them; "" for the defaults."""
        level = "" if self.level == "all" else f" --optimise {self.level}"
        rules = [f" --rule {name}=off" for name in sorted(self.off)]
        rules += [f" --rule {name}=on" for name in sorted(self.on)]
        balance = "" if self.balance == CPU_BALANCE else f" --balance {self.balance:g}"
        return level + "".join(rules) + balance


@dataclass
class Run:
    """One optimisation under way."""

    checked: Checked
    options: Options
    decided: frozenset[tuple[str, str]] | None  # (rule, layer) of edits that another run chose
    moves: list[Move] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    skipped: list[tuple[str, Skip]] = field(default_factory=list)


def optimise(
    checked: Checked,
    rules: Iterable[Rule],
    options: Options | None = None,
    decided: Optimised | None = None,
) -> Optimised:
    """Apply the rules; the graph is verified after each pass.

    decided: the result for other parameter values of the same network. The same edits are then
    chosen again, whatever they cost: the structure must not depend on the numbers.
    """
    chosen = frozenset((f.rule, f.node) for f in decided.fired) if decided else None
    started = inference(checked)
    run = Run(started, options or Options(), chosen)
    for rule in rules:
        if run.options.wants(rule):
            _exhaust(run, rule)
    return Optimised(
        run.checked,
        tuple(run.moves),
        tuple(run.fired),
        tuple(run.skipped),
        _unused(checked.graph, run),
    )


def _unused(graph: Graph, run: Run) -> tuple[str, ...]:
    """Layers whose weights `from_model` leaves out: those of no use in inference.

    What a conversion takes is not among them: it disposes of its sources itself.
    """
    left = {n.shared or n.name for n in run.checked.graph.nodes}
    moved = {a for move in run.moves for a in move.args if isinstance(a, str)}
    gone = (n.name for n in graph.nodes if n.op.stored and n.shared is None)
    return tuple(name for name in gone if name not in left and name not in moved)


def _exhaust(run: Run, rule: Rule) -> None:
    """One rule until it finds nothing more; its refusals are those of the last pass."""
    refused: dict[str, Skip] = {}
    for _ in range(PASSES):
        edits, skips = _answers(run, rule, refused)
        if not edits:
            run.skipped += [(rule.name, skip) for skip in (*skips, *refused.values())]
            return
        kept, lonely = together(run.checked.graph, edits)
        kept, costly = _paying(run, rule, kept)
        refused |= {skip.node: skip for skip in (*lonely, *costly)}
        if kept:
            _carry_out(run, kept)


def _carry_out(run: Run, edits: Mapping[str, Rewrite]) -> None:
    graph = run.checked.graph
    for edit in edits.values():
        if not any(graph.by_name[t].shared for t in edit.touched if graph.by_name[t].op.stateful):
            run.moves += edit.moves
    run.checked = verified(apply(graph, edits.values()))


def _answers(
    run: Run, rule: Rule, refused: Mapping[str, Skip]
) -> tuple[dict[str, Rewrite], list[Skip]]:
    """What the rule says of each layer; of edits that overlap the first one."""
    edits: dict[str, Rewrite] = {}
    skips: list[Skip] = []
    taken: set[str] = set()
    for node in run.checked.graph.nodes:
        if node.absent or node.name in refused:
            continue
        if run.decided is not None and (rule.name, node.name) not in run.decided:
            continue
        answer = rule.apply(run.checked, node)
        if isinstance(answer, Skip):
            skips.append(answer)
        elif answer is not None and not (answer.touched | _named(answer)) & taken:
            edits[node.name] = answer
            taken |= answer.touched | _named(answer)
    return edits, skips


def _named(edit: Rewrite) -> set[str]:
    """The layers an edit makes: of two that would name a new one alike, the second waits a pass."""
    return {node.name for nodes in edit.put.values() for node in nodes}


# --- choice ---------------------------------------------------------------------------------


def _paying(
    run: Run, rule: Rule, edits: dict[str, Rewrite]
) -> tuple[dict[str, Rewrite], list[Skip]]:
    """Edits that are worth it, each noted with what it saves, and why the others are not."""
    if run.decided is not None:
        run.fired += [Fired(name, rule.name) for name in edits]
        return edits, []
    costs = _costs(run, edits)
    balance = run.options.balance
    asked = rule.level == "safe" or rule.name in run.options.on
    dear = {n for n, c in costs.items() if not asked and not _pays(*c, balance)}
    skips = [Skip(n, e.dear or _too_dear(*costs[n])) for n, e in edits.items() if n in dear]
    kept = {n: e for n, e in edits.items() if n not in dear}
    if dear:  # an application of shared weights may have been refused
        kept, lonely = together(run.checked.graph, kept)
        skips += lonely
    for name in kept:
        before, after = costs[name]
        saved = before.macs - after.macs, before.bytes - after.bytes
        run.fired.append(Fired(name, rule.name, *saved))
    return kept, skips


def _costs(run: Run, edits: Mapping[str, Rewrite]) -> dict[str, tuple[Cost, Cost]]:
    prices = Prices(run.checked, run.options.balance)
    return {name: prices.edit(edit) for name, edit in edits.items()}


def _pays(before: Cost, after: Cost, balance: float) -> bool:
    return after.time(balance) < before.time(balance)


def _too_dear(before: Cost, after: Cost) -> str:
    if before == after:
        return "it saves nothing at the size figures are quoted at"
    return (
        f"it would cost more: {_count(after.macs)} MACs and {_count(after.bytes)}B moved "
        f"instead of {_count(before.macs)} and {_count(before.bytes)}B"
    )


def _count(number: int) -> str:
    """`1.23 G`, three digits and a unit."""
    value, unit = float(number), ""
    for unit in ("", "k", "M", "G", "T"):
        if value < 1000 or unit == "T":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
