"""Constructor parameters of the emitted classes: which there are, and what every slot says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segc.diag import Diagnostic, Fail
from segc.dim import Dim
from segc.emit.fit import ANY, Fitted, Variable, Vector, agree, constant, fit, known, same
from segc.emit.structure import Blueprint, Part
from segc.emit.text import NotALiteral, free_name
from segc.emit.trees import Slot, slots
from segc.emit.wiring import Wiring
from segc.ir import Ref
from segc.types import Tensor

Key = tuple[str, str, Slot]  # member, "module" | "expr" | "call" | "flag", way to the value
ONE_BY_DEFAULT = ("stride", "dilation", "groups")
# names the body of `__init__` reads: a spec's parameter of that name gets an underscore
IN_USE = frozenset(
    ("F", "Tensor", "ValueError", "math", "nn", "ops", "range", "self", "super", "torch", "tuple")
)
_NAME_RANK = {"dilation": 0, "padding": 2}  # which slot names a parameter that several share


@dataclass(frozen=True, slots=True)
class Parameter:
    """One constructor parameter; `default` is None where callers must give it."""

    name: str
    values: Vector
    channels: bool | None
    default: Any = None

    @property
    def annotation(self) -> str:
        return annotation(self.values if self.default is None else (*self.values, self.default))


def annotation(values: Sequence[Any]) -> str:
    """The type of all values: `int`, `float`, `int | tuple[int, int]`."""
    names = {type(v) for v in values if v is not ANY}
    words = []
    if tuple in names:
        inner = {type(x) for v in values if isinstance(v, tuple) for x in v} or {int}
        element = " | ".join(sorted(t.__name__ for t in inner))
        words = [f"tuple[{element}, ...]"]
    plain = {t.__name__ for t in names if t not in (tuple, type(None))}
    if "float" in plain:
        plain.discard("int")
    return " | ".join([*sorted(plain), *words, *(["None"] if type(None) in names else [])])


class Unfit(Exception):
    """A value of the network itself that is no plain function of the spec's parameters."""

    def __init__(self, values: Vector) -> None:
        super().__init__("no expression fits")
        self.values = values


@dataclass(frozen=True, slots=True)
class SlotOf:
    """A slot of a class: its vector, what it is called and whether it counts channels."""

    key: Key
    values: Vector
    defaults: Vector | None
    name: str
    channels: bool
    source: str | None = None  # the variable of the argument whose channels these are


class ClassPlan:
    """One class: its wiring, its parameters and the text of every slot."""

    def __init__(
        self, name: str, wiring: Wiring, free: Sequence[str], classes: Collection[str]
    ) -> None:
        self.name, self.wiring, self.free = name, wiring, tuple(free)
        self.blueprint: Blueprint = wiring.blueprint
        self.is_top = self.blueprint.key[0] == "top"
        self.texts: dict[Key, Fitted] = {}
        self.dropped: set[Key] = set()
        self.parameters: tuple[Parameter, ...] = ()
        self.arg_names = self._arg_names()
        self.channel_names: dict[int, str] = {}  # argument -> variable that counts its channels
        self.joins: set[Key] = set()  # slots that hold the channels of a join
        params = self.blueprint.first.view.graph.params
        self.spec_names = {n: n + "_" * (n in IN_USE or n in classes) for n in params}

    # --- names ----------------------------------------------------------------------------
    def _arg_names(self) -> tuple[str, ...]:
        """Parameters of `forward`: the declared inputs, then values captured from outside."""
        names: list[str] = []
        args = self.blueprint.first.args
        taken = () if self.is_top else tuple(h.name for h in self.blueprint.helpers())
        for n, (name, ref) in enumerate(args):
            own = ref.port if ref.port != "out" else ref.node.rpartition(".")[2]
            wanted = name or self.blueprint.first.view.graph.labels.get(ref) or own
            if not name and wanted.isdigit():
                wanted = f"x{n}"
            names.append(free_name(wanted, (*names, *taken)))
        return tuple(names)

    # --- variables ------------------------------------------------------------------------
    def variables(self) -> list[Variable]:
        if self.is_top:
            return [self._spec_variable(name) for name in self.free]
        found = self._scope_variables() + self._channel_variables()
        taken = {v.name for v in found}
        if self.blueprint.key[0] == "group":
            found += [self._spec_variable(n) for n in self.free if n not in taken]
        return found

    def _spec_variable(self, name: str) -> Variable:
        values = tuple(o.view.graph.params[name] for o in self.blueprint.occurrences)
        return Variable(self.spec_names[name], values)

    def _scope_variables(self) -> list[Variable]:
        scopes = [o.scope for o in self.blueprint.occurrences]
        first = scopes[0]
        if first is None or self.blueprint.key[0] != "block":
            return []
        names = [n for n in first.params if all(s and n in s.params for s in scopes)]
        return [Variable(n, tuple(s.params[n] for s in scopes if s)) for n in names]

    def _channel_variables(self) -> list[Variable]:
        found: list[Variable] = []
        for n, name in enumerate(self.arg_names):
            values = tuple(
                _channels(o.view.checked.types.get(o.args[n][1]))
                for o in self.blueprint.occurrences
            )
            if all(v is not None for v in values):
                wanted = "in_channels" if not found else f"{name}_channels"
                found.append(Variable(wanted, values, channels=True))
                self.channel_names[n] = wanted
        return found

    # --- slots ----------------------------------------------------------------------------
    def slots(self, plans: dict[int, ClassPlan]) -> Iterator[SlotOf]:
        for part in self.blueprint.walk():
            if part.optional and part.kind != "absent":
                yield self._flag(part)
            if part.kind == "class" and not self.wiring.shared(part):
                yield from self._call_slots(part, plans[part.key.inside])
            elif part.kind == "node" and not self.wiring.shared(part):
                yield from self._node_slots(part)

    def _flag(self, part: Part) -> SlotOf:
        values = tuple(_present(o.view, o.full(part.rel)) for o in self.blueprint.occurrences)
        name = part.rel.replace(".", "_")
        return SlotOf((part.rel, "flag", ()), values, None, f"with_{name}", False)

    def _call_slots(self, part: Part, plan: ClassPlan) -> Iterator[SlotOf]:
        inner = [self.wiring.inner_at(part, o) for o in self.blueprint.occurrences]
        places = {o.id: n for n, o in enumerate(plan.blueprint.occurrences)}
        for p in plan.parameters:
            values = tuple(ANY if o is None else p.values[places[o.id]] for o in inner)
            place = plan.channel_places.get(p.name)
            source = self._source(part, place)
            key = (part.rel, "call", (p.name,))
            if place is not None and self.wiring.is_join(part, place):
                self.joins.add(key)
            yield SlotOf(key, values, None, p.name, bool(p.channels), source)

    def _node_slots(self, part: Part) -> Iterator[SlotOf]:
        whats = ["module"] if self.wiring.is_module(part) else []
        if not whats or part.key.stateful:
            whats.append("expr")
        if self.wiring.vanished(part) and "module" not in whats:
            return
        for what in whats:
            trees = self.wiring.trees(part, what)
            lists = [None if t is None else list(slots(t)) for t in trees]
            pattern = next((found for found in lists if found is not None), [])
            for n, (way, _, _) in enumerate(pattern):
                values = tuple(ANY if found is None else found[n][1] for found in lists)
                defaults = tuple(ANY if found is None else found[n][2] for found in lists)
                name, channels = self._meaning(part, way, values)
                source = self._source(part, 0) if name == "in_channels" else None
                key = (part.rel, what, way)
                if name == "in_channels" and self.wiring.is_join(part, 0):
                    self.joins.add(key)
                yield SlotOf(key, values, defaults, name, channels, source)

    @property
    def channel_places(self) -> dict[str, int]:
        """Which argument of `forward` a parameter counts the channels of."""
        return {name: n for n, name in self.channel_names.items()}

    def _source(self, part: Part, n: int | None) -> str | None:
        """The variable for the channels of a part's operand, if an argument passes them on."""
        if n is None or self.wiring.operand_count(part) <= n:
            return None
        ref: Ref | None = self.wiring.wire(part.rel, n)
        while ref is not None and not ref.node.startswith("@"):
            ref = self.wiring.keeps_channels(ref)
        return None if ref is None else self.channel_names.get(int(ref.node[1:]))

    def _meaning(self, part: Part, way: Slot, values: Vector) -> tuple[str, bool]:
        """The attribute a slot stands for, and whether it counts channels."""
        if isinstance(way[-1], str) and way[-1] != ".":
            name = way[-1]
            return name, "channels" in name or "features" in name
        nodes = [o.node(part.rel) for o in self.blueprint.occurrences]
        present = [(k, n) for k, n in enumerate(nodes) if n is not None and not n.absent]
        counts = all(same(_operand_channels(self, part, k), values[k]) for k, _ in present)
        attrs = present[0][1].op.attrs
        if counts and way == (0,) and ("out_channels" in attrs or "out_features" in attrs):
            return "in_channels", True
        for name in attrs:
            if all(same(_one(getattr(n.op, name)), values[k]) for k, n in present):
                return name, "channels" in name or "features" in name
        return ("in_channels", True) if counts else (part.key.op, False)

    # --- fitting --------------------------------------------------------------------------
    def fit(self, plans: dict[int, ClassPlan]) -> None:
        """Give every slot its text and settle the constructor's parameters."""
        variables = self.variables()
        found = [s for s in self.slots(plans) if not self._is_default(s)]
        variables = _typed(variables, found)
        made: list[tuple[SlotOf, Variable]] = []
        for slot in found:
            fitted = self._fitted(slot, [*variables, *(v for _, v in made)])
            if fitted is None:
                if self.is_top:
                    raise Unfit(slot.values)
                v = Variable(f"new{len(made)}$", _filled(slot), slot.channels)
                made.append((slot, v))
                fitted = Fitted(v.name, (v.name,))
            self.texts[slot.key] = fitted
        read = {name for fitted in self.texts.values() for name in fitted.reads}
        used = [v for v in variables if v.name in read]
        used.sort(key=lambda v: v.name not in self.channel_names.values())
        used += self._named(found, made, {v.name for v in used})
        parameters = [self._parameter(self._counting(v, found)) for v in used]
        self.parameters = tuple(sorted(parameters, key=_place))

    def _counting(self, v: Variable, found: Sequence[SlotOf]) -> Variable:
        """Say whether a variable counts channels, by the slots whose text reads it."""
        kinds = {s.channels for s in found if v.name in self.texts[s.key].reads}
        return replace(v, channels=True in kinds) if v.channels is None and kinds else v

    def _named(
        self, found: Sequence[SlotOf], made: Sequence[tuple[SlotOf, Variable]], taken: set[str]
    ) -> list[Variable]:
        """Names for new parameters, from the slots that hold them; their texts follow."""
        renamed: list[Variable] = []
        for first, v in made:
            holders = [s for s in found if self.texts[s.key].text == v.name] or [first]
            slot = min(holders, key=lambda s: _NAME_RANK.get(s.name, 1))
            name = free_name(slot.name, ())
            if name in taken:
                name = free_name(f"{slot.key[0].replace('.', '_')}_{slot.name}", taken)
            taken.add(name)
            renamed.append(replace(v, name=name))
            for key, fitted in self.texts.items():
                if v.name in fitted.reads:
                    reads = tuple(name if r == v.name else r for r in fitted.reads)
                    self.texts[key] = Fitted(fitted.text.replace(v.name, name), reads)
        return renamed

    def _is_default(self, slot: SlotOf) -> bool:
        if slot.defaults is None or not all(
            v is ANY or same(v, d) for v, d in zip(slot.values, slot.defaults, strict=True)
        ):
            return False
        self.dropped.add(slot.key)
        return True

    def _fitted(self, slot: SlotOf, variables: Sequence[Variable]) -> Fitted | None:
        if any(isinstance(v, Dim) for v in slot.values):
            raise _unprintable(slot, "depends on the input's size")
        counted = set(self.channel_names.values())
        own = [v for v in variables if v.name == slot.source and agree(slot.values, v.values)]
        stated = [v for v in variables if v.name not in counted]
        try:
            if constant(slot.values):
                return self._constant(slot, own, stated)
            fits = [fit(slot.values, stated, slot.channels, slot.name)]
            if own:  # a group is written for its network, a block for any input
                place = 0 if self.blueprint.key[0] == "block" else 1
                fits.insert(place, Fitted(own[0].name, (own[0].name,)))
            last = fit(slot.values, variables, slot.channels, slot.name)
            return next((f for f in fits if f is not None), last)
        except NotALiteral as fault:
            raise _unprintable(slot, str(fault)) from None

    def _constant(
        self, slot: SlotOf, own: Sequence[Variable], stated: Sequence[Variable]
    ) -> Fitted | None:
        """One value everywhere: a block's parameter if it can only be meant, else a literal."""
        values = known(slot.values)
        if self.blueprint.key[0] == "block" and values:
            if own:
                return Fitted(own[0].name, (own[0].name,))
            same_value = [v for v in stated if constant(v.values) and agree(slot.values, v.values)]
            if len(same_value) == 1 and _distinctive(values[0]):
                return Fitted(same_value[0].name, (same_value[0].name,))
            if slot.key in self.joins:
                return _share(values[0], stated) or fit(slot.values, (), True)
        return fit(slot.values, (), slot.channels)

    def _parameter(self, v: Variable) -> Parameter:
        return Parameter(v.name, v.values, v.channels, self._default(v))

    def _default(self, v: Variable) -> Any:
        if self.is_top or v.channels:
            return None
        if all(type(x) is bool for x in v.values):
            return self._usual(v) is True
        stem = re.sub(r".*_", "", v.name)
        return 1 if stem in ONE_BY_DEFAULT and same(self._usual(v), 1) else None

    def _usual(self, v: Variable) -> Any:
        """The most common value in the network as built; False or the smaller one in a tie."""
        here = [x for x, o in zip(v.values, self.blueprint.occurrences, strict=True)
                if o.view.number == 0]  # fmt: skip
        counts = Counter(here or v.values)
        return min(counts, key=lambda x: (-counts[x], repr(x)))


def _place(p: Parameter) -> int:
    """Callers' arguments first, then those with defaults, flags last."""
    return 0 if p.default is None else 2 if isinstance(p.default, bool) else 1


def _distinctive(value: Any) -> bool:
    """A number that two things hardly have in common by accident."""
    if type(value) is float:
        return value not in (0.0, 0.5, 1.0, 2.0)
    return type(value) is int and value > 3


def _share(value: int, variables: Sequence[Variable]) -> Fitted | None:
    """A join of several maps of one width: `5 * out`."""
    for v in variables:
        width = v.values[0]
        if constant(v.values) and type(width) is int and width >= 8 and value % width == 0:
            return Fitted(f"{value // width} * {v.name}", (v.name,))
    return None


def _filled(slot: SlotOf) -> Vector:
    """The vector with the usual value where an instance lacks the layer."""
    usual = Counter(known(slot.values)).most_common(1)[0][0]
    return tuple(usual if v is ANY else v for v in slot.values)


def _typed(variables: Sequence[Variable], found: Sequence[SlotOf]) -> list[Variable]:
    """Say of each block parameter whether it counts channels, by the slots equal to it."""
    typed = []
    for v in variables:
        kinds = {s.channels for s in found if not constant(s.values) and agree(s.values, v.values)}
        if v.channels is None and kinds:
            v = replace(v, channels=True in kinds)
        typed.append(v)
    return typed


def _present(view: Any, path: str) -> bool:
    return view.exists(path) and not view.is_absent(path)


def _channels(value: Any) -> int | None:
    if not isinstance(value, Tensor) or len(value.shape) < 2:
        return None
    count = value.shape[1]
    return count if isinstance(count, int) else None


def _operand_channels(plan: ClassPlan, part: Part, k: int) -> int | None:
    owner = plan.blueprint.occurrences[k]
    node = owner.node(part.rel)
    if node is None or not node.inputs:
        return None
    return _channels(owner.view.checked.types.get(node.inputs[0]))


def _one(value: Any) -> Any:
    """`(3, 3)` as it is printed: `3`."""
    if isinstance(value, tuple) and len(set(value)) == 1 and len(value) == 2:
        return value[0]
    return value


def _unprintable(slot: SlotOf, why: str) -> Fail:
    rel, _, _ = slot.key
    message = f"`{rel}`: `{slot.name}` cannot be written into a module: it {why}"
    return Fail(Diagnostic("SEG210", message))
