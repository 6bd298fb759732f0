"""Tables folded over a checked graph: sizes, parameters, cost, memory, receptive field, stride."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from segc.check import Checked
from segc.diag import Diagnostic, Fail
from segc.dim import DimLike, Domain, evaluate, symbol
from segc.ir import Node, Ref
from segc.op import Field
from segc.rows import GROUND_TRUTH, PHASES
from segc.types import Type, Unknown

Shape = tuple[int, ...]
Sizes = Mapping[str, Shape]
BYTES = 4  # of one value: float32


@dataclass(frozen=True, slots=True)
class Row:
    """One layer. Everything from `size` on needs concrete input sizes and is None without.

    params counts weights, biases and norm affines (0 for a layer that shares another's);
    macs multiply-accumulates; activation_bytes the outputs in float32; receptive_field and stride
    are (height, width) in input pixels, None for the whole map.
    """

    node: Node
    shape: tuple[str, ...]
    params: int
    trainable: int
    size: Shape | None = None
    macs: int | None = None
    activation_bytes: int | None = None
    receptive_field: tuple[int | None, int | None] | None = None
    stride: tuple[Fraction, Fraction] | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    layers: int
    params: int
    trainable: int
    macs: int | None = None
    activation_bytes: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    rows: tuple[Row, ...]
    totals: Totals


def table(checked: Checked, sizes: Sizes | None = None) -> Table:
    """The layer table; with `sizes` ({"image": (1, 3, 512, 512)}) also costs and fields.

    Raises Fail (SEG213) where the network does not accept the sizes.
    """
    env = bind(checked, sizes) if sizes else None
    concrete = shapes(checked, env) if env is not None else {}
    fields = _fields(checked, concrete) if env is not None else {}
    rows = tuple(_row(checked, node, concrete, fields) for node in checked.graph.nodes)
    return Table(rows, _totals(checked, rows, concrete))


def totals(checked: Checked, sizes: Sizes) -> Totals:
    """The last line of the table, without the fields of its layers."""
    concrete = shapes(checked, bind(checked, sizes))
    rows = tuple(_row(checked, node, concrete, {}) for node in checked.graph.nodes)
    return _totals(checked, rows, concrete)


def _totals(checked: Checked, rows: tuple[Row, ...], concrete: Mapping[Ref, Shape]) -> Totals:
    params, trainable = sum(r.params for r in rows), sum(r.trainable for r in rows)
    if not concrete:
        return Totals(len(rows), params, trainable)
    return Totals(
        len(rows),
        params,
        trainable,
        sum(r.macs or 0 for r in rows),
        sum(r.activation_bytes or 0 for r in rows),
        peak_bytes(checked, concrete),
    )


def bind(checked: Checked, sizes: Sizes) -> dict[str, int]:
    """The value of every size symbol at concrete input shapes; Fail SEG213 if not accepted."""
    env: dict[str, int] = {}
    for name, declared in checked.graph.inputs.items():
        given = sizes.get(name)
        if given is None and declared.only is not None:
            continue  # ground truth: as many rows as RowSets supposes
        if given is None or len(given) != len(declared.shape):
            shape = "x".join(str(d) for d in declared.shape)
            raise _refused(f"input `{name}` needs a size like {shape}", f"--input {name}={shape}")
        for want, got in zip(declared.shape, given, strict=True):
            fixed = want if isinstance(want, int) else env.setdefault(want, got)
            if fixed != got:
                raise _refused(f"input `{name}`: {want} is {fixed}, not {got}", None)
    for name in sizes:
        if name not in checked.graph.inputs:
            known = ", ".join(checked.graph.inputs)
            raise _refused(f"there is no input `{name}`", f"inputs: {known}")
    if not checked.domain.contains(env):
        raise _refused(_why_not(checked, env), _nearest(checked, env))
    return env


def _refused(message: str, hint: str | None) -> Fail:
    return Fail(Diagnostic("SEG213", message, None, hint))


def _why_not(checked: Checked, env: Mapping[str, int]) -> str:
    given = ", ".join(f"{name} = {value}" for name, value in env.items())
    return f"the network does not accept {given}: {', '.join(checked.domain.constraints())}"


def _nearest(checked: Checked, env: Mapping[str, int]) -> str | None:
    parts = []
    for name, value in env.items():
        below, above = checked.domain.nearest(name, value)
        if value in (below, above):
            continue
        options = [str(v) for v in (below, above) if v is not None]
        if options:
            parts.append(f"{name} = {' or '.join(options)}")
    return "nearest accepted: " + ", ".join(parts) if parts else None


def shapes(checked: Checked, env: Mapping[str, int]) -> dict[Ref, Shape]:
    """Concrete shapes of all values; row sets as large as they can be, in training for layers that
    exist there only, else outside it."""
    found: dict[Ref, Shape] = {}
    only = {node.name: node.only for node in checked.graph.nodes}
    full = {phase: checked.rows.sizes(env, phase) for phase in PHASES}
    cache: dict[tuple[DimLike, str], int] = {}
    for ref, t in checked.types.items():
        if isinstance(t, Unknown):
            continue
        phase = "train" if only.get(ref.node) == "train" else "test"
        for d in t.shape:
            if (d, phase) not in cache:
                cache[d, phase] = evaluate(d, full[phase])
        found[ref] = tuple(cache[d, phase] for d in t.shape)
    return found


def params_of(checked: Checked, node: Node) -> int:
    """Learned values of a layer, 0 where it applies another layer's weights."""
    return 0 if node.shared is not None else checked.params.get(node.name, 0)


def _row(
    checked: Checked,
    node: Node,
    concrete: Mapping[Ref, Shape],
    fields: Mapping[Ref, tuple[Field, Field]],
) -> Row:
    ref = Ref(node.name)
    params = params_of(checked, node)
    shape = tuple(checked.domain.simplify(d) for d in checked.shape(ref))
    trainable = 0 if node.freeze else params
    if ref not in concrete:
        return Row(node, shape, params, trainable)
    size = concrete[ref]
    inputs = tuple(concrete[r] for r in node.inputs if r in concrete)
    written = 0 if is_view(checked, node) else prod(size) * BYTES
    field = fields.get(ref)
    return Row(
        node,
        shape,
        params,
        trainable,
        size,
        node.op.macs(inputs, size),
        written,
        (_pixels(field[0]), _pixels(field[1])) if field else None,
        (field[0].step, field[1].step) if field else None,
    )


def _pixels(field: Field) -> int | None:
    return None if field.size is None else -int(-field.size // 1)


def is_view(checked: Checked, node: Node) -> bool:
    """True for layers whose result has no memory of its own: absent ones, identities, in place."""
    if node.absent or node.op.in_place:
        return True
    return node.op.identity(*checked.inputs_of(node), same=same_size(checked))


def same_size(checked: Checked) -> Callable[[DimLike, DimLike], bool]:
    """Decides whether two sizes are equal on everything the network accepts."""
    return lambda a, b: a == b or checked.domain.relation(a, b) == "always"


def _fields(checked: Checked, concrete: Mapping[Ref, Shape]) -> dict[Ref, tuple[Field, Field]]:
    one = Field(Fraction(1), Fraction(1), Fraction(0))
    fields = {Ref(name): (one, one) for name in checked.graph.inputs}
    for node in checked.graph.nodes:
        known = [r for r in node.inputs if r in fields]
        out = Ref(node.name)
        if out not in concrete:
            continue
        if not node.inputs:
            found = (one, one)
        elif len(known) < len(node.inputs):
            continue
        else:
            found = (_field(node, 0, fields, concrete), _field(node, 1, fields, concrete))
        for port in node.op.ports:
            fields[Ref(node.name, port)] = found
    return fields


def _field(
    node: Node,
    axis: int,
    fields: Mapping[Ref, tuple[Field, Field]],
    concrete: Mapping[Ref, Shape],
) -> Field:
    refs = (*node.inputs, Ref(node.name))
    flat = any(len(concrete.get(r, ())) != 4 for r in refs)
    lengths = () if flat else tuple(concrete[r][2 + axis] for r in refs)
    return node.op.field(axis, tuple(fields[r][axis] for r in node.inputs), lengths)


def peak_bytes(checked: Checked, concrete: Mapping[Ref, Shape]) -> int:
    """The most memory values take at once in inference, in the order of the layers.

    A value lives from the layer that makes it to the last one that reads it; inputs and outputs
    are counted, weights and the workspace of kernels are not.
    """
    owner: dict[Ref, Ref] = {}
    last: dict[Ref, int] = {}
    nodes = [n for n in checked.graph.nodes if n.only in (None, "test")]
    for i, node in enumerate(nodes):
        for ref in node.inputs:
            last[owner.get(ref, ref)] = i
        if is_view(checked, node) and node.inputs:
            owner[Ref(node.name)] = owner.get(node.inputs[0], node.inputs[0])
    for ref in checked.graph.outputs.values():
        last[owner.get(ref, ref)] = len(nodes)
    return _sweep(checked, nodes, owner, last, concrete)


def _sweep(
    checked: Checked,
    nodes: list[Node],
    owner: Mapping[Ref, Ref],
    last: Mapping[Ref, int],
    concrete: Mapping[Ref, Shape],
) -> int:
    alive = {Ref(name): _bytes(checked.types[Ref(name)], concrete[Ref(name)])
             for name, i in checked.graph.inputs.items() if i.only is None}  # fmt: skip
    peak = current = sum(alive.values())
    ending: dict[int, list[Ref]] = {}
    for ref, i in last.items():
        ending.setdefault(i, []).append(ref)
    for i, node in enumerate(nodes):
        for port in node.op.ports:
            ref = Ref(node.name, port)
            if ref in owner or ref not in concrete:
                continue
            alive[ref] = _bytes(checked.types[ref], concrete[ref])
            current += alive[ref]
        peak = max(peak, current)
        unread = [r for r in (Ref(node.name, p) for p in node.op.ports) if r not in last]
        for ref in (*ending.get(i, ()), *unread):
            current -= alive.pop(ref, 0)
    return peak


def _bytes(t: Type, shape: Shape) -> int:
    from segc.types import Index, Match, Pick

    wide = isinstance(t, (Index, Match, Pick)) or getattr(t, "dtype", "float") == "int"
    return prod(shape) * (8 if wide else BYTES)


def reference_sizes(checked: Checked, near: int = 512) -> dict[str, Shape]:
    """Input shapes to quote figures at: the recipe's crop, else the accepted sizes nearest `near`.

    A network that classifies whole images has no crop; its figures are for ImageNet's size, 224.
    The batch (the first symbol of an input) is 1. Fail SEG213 where none is found.
    """
    env = _wished(checked, near)
    if not checked.domain.contains(env):
        env = _tied(checked, env)
    return {
        i.name: tuple(env[d] if isinstance(d, str) else d for d in i.shape)
        for i in checked.graph.inputs.values()
    }


def _wished(checked: Checked, near: int) -> dict[str, int]:
    """A size for every symbol by itself."""
    maps = any(len(checked.shape(ref)) == 4 for ref in checked.graph.outputs.values())
    crop = checked.graph.recipe.get("crop") if maps else (224, 224)
    env: dict[str, int] = {}
    for declared in checked.graph.inputs.values():
        for axis, d in enumerate(declared.shape):
            if isinstance(d, str) and d not in env:
                spatial = axis - (len(declared.shape) - 2)
                wanted = crop[spatial] if crop and spatial >= 0 else near
                if declared.rows == d:
                    env[d] = GROUND_TRUTH
                else:
                    env[d] = 1 if axis == 0 else _accepted(checked.domain, d, int(wanted))
    return env


def _accepted(domain: Domain, name: str, wanted: int) -> int:
    found = [v for v in domain.nearest(name, wanted) if v is not None]
    return min(found, key=lambda v: (abs(v - wanted), v), default=wanted)


def _tied(checked: Checked, wished: Mapping[str, int]) -> dict[str, int]:
    """Accepted sizes near the wish where symbols depend on one another: each settles the next."""
    domain, env = checked.domain, {}
    for name, wanted in wished.items():
        env[name] = _accepted(domain, name, wanted)
        domain = domain.equal(symbol(name), env[name])
    if not checked.domain.contains(env):
        raise _refused("no accepted input size was found", "give --input")
    return env
