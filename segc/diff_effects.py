"""What follows from a difference: parameters, cost, shapes, accepted sizes, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field

from segc.analyse import Sizes, Totals, table
from segc.check import Checked
from segc.diag import Fail
from segc.diff_match import Matching
from segc.ir import Node, Ref
from segc.types import Unknown

Shape = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapChange:
    """Maps of other resolution: all that changed from `before` to `after`, from `first` on."""

    before: Shape
    after: Shape
    first: str
    count: int


@dataclass(frozen=True)
class Keys:
    """The learned tensors of a checkpoint of the first network, seen from the second."""

    kept: int
    renamed: tuple[tuple[str, str], ...]
    reshaped: tuple[tuple[str, Shape, Shape], ...]
    lost: tuple[str, ...]
    gained: tuple[str, ...]

    @property
    def strict(self) -> bool:
        """The checkpoint loads as it is."""
        return not (self.renamed or self.reshaped or self.lost or self.gained)


@dataclass(frozen=True)
class Effects:
    """Consequences; pairs are (first network, second network)."""

    totals: tuple[Totals, Totals]
    inputs: tuple[tuple[str, ...], tuple[str, ...]]  # constraints on the input sizes
    accepted: tuple[tuple[str, ...], tuple[str, ...]]  # the same described, per symbol
    outputs: tuple[tuple[str, Shape | None, Shape | None], ...]
    maps: tuple[MapChange, ...]
    keys: Keys
    sizes: Sizes = field(default_factory=dict)
    refused: tuple[str | None, str | None] = (None, None)  # why a network has no cost at `sizes`


def effects(a: Checked, b: Checked, matching: Matching, sizes: Sizes | None) -> Effects:
    """The consequences of the difference; cost where `sizes` are given and accepted."""
    tables = [_totals(c, sizes) for c in (a, b)]
    return Effects(
        totals=(tables[0][0], tables[1][0]),
        inputs=(a.domain.constraints(), b.domain.constraints()),
        accepted=(_described(a), _described(b)),
        outputs=_outputs(a, b),
        maps=_maps(a, b, matching),
        keys=_keys(a, b, matching),
        sizes=sizes or {},
        refused=(tables[0][1], tables[1][1]),
    )


def _totals(checked: Checked, sizes: Sizes | None) -> tuple[Totals, str | None]:
    try:
        return table(checked, sizes).totals, None
    except Fail as fault:
        return table(checked).totals, fault.diagnostics[0].message


def _described(checked: Checked) -> tuple[str, ...]:
    symbols = {d: None for i in checked.graph.inputs.values() for d in i.shape}
    limits = checked.domain.constraints()
    return tuple(
        checked.domain.describe(s)
        for s in symbols
        if isinstance(s, str) and any(s in limit for limit in limits)
    )


def _shape(checked: Checked, ref: Ref) -> Shape | None:
    found = checked.types.get(ref)
    if found is None or isinstance(found, Unknown):
        return None
    return tuple(checked.domain.simplify(d) for d in found.shape)


def _outputs(a: Checked, b: Checked) -> tuple[tuple[str, Shape | None, Shape | None], ...]:
    found = []
    for name in dict.fromkeys((*a.graph.outputs, *b.graph.outputs)):
        old = _shape(a, a.graph.outputs[name]) if name in a.graph.outputs else None
        new = _shape(b, b.graph.outputs[name]) if name in b.graph.outputs else None
        if old != new and not _same(a, b, name):
            found.append((name, old, new))
    return tuple(found)


def _same(a: Checked, b: Checked, output: str) -> bool:
    """Equal as functions of the input size, whatever the text says under the accepted sizes."""
    old, new = a.graph.outputs.get(output), b.graph.outputs.get(output)
    return old is not None and new is not None and a.shape(old) == b.shape(new)


def _maps(a: Checked, b: Checked, matching: Matching) -> tuple[MapChange, ...]:
    """Layers both networks have whose map has another height or width."""
    found: dict[tuple[Shape, Shape], list[str]] = {}
    for old, new in matching.pairs:
        before, after = a.shape(Ref(old.name))[2:], b.shape(Ref(new.name))[2:]
        if before == after or len(before) != 2 or len(after) != 2:
            continue
        texts = tuple(a.domain.simplify(d) for d in before)
        others = tuple(b.domain.simplify(d) for d in after)
        if texts != others:
            found.setdefault((texts, others), []).append(new.name)
    return tuple(MapChange(x, y, names[0], len(names)) for (x, y), names in found.items())


# --- checkpoints ----------------------------------------------------------------------------------
def _tensors(checked: Checked, node: Node) -> dict[str, Shape]:
    """The learned tensors a layer keeps, by the last part of their key."""
    operands = checked.inputs_of(node)
    if node.shared or node.absent or any(isinstance(t, Unknown) for t in operands):
        return {}
    return {p.name: tuple(str(d) for d in p.shape) for p in node.op.parameters(*operands)}


def _keys(a: Checked, b: Checked, matching: Matching) -> Keys:
    lost = [f"{n.name}.{k}" for n in matching.removed for k in _tensors(a, n)]
    gained = [f"{n.name}.{k}" for n in matching.added for k in _tensors(b, n)]
    renamed: list[tuple[str, str]] = []
    reshaped: list[tuple[str, Shape, Shape]] = []
    kept = 0
    for old, new in matching.pairs:
        before, after = _tensors(a, old), _tensors(b, new)
        lost += [f"{old.name}.{k}" for k in before if k not in after]
        gained += [f"{new.name}.{k}" for k in after if k not in before]
        for key in before.keys() & after.keys():
            if before[key] != after[key]:
                reshaped.append((f"{new.name}.{key}", before[key], after[key]))
        same = [k for k in before if before[k] == after.get(k)]
        kept += len(same)
        if old.name != new.name:
            renamed += [(f"{old.name}.{k}", f"{new.name}.{k}") for k in same]
    return Keys(kept, tuple(renamed), tuple(sorted(reshaped)), tuple(lost), tuple(gained))
