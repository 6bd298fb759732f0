"""Initial values of the weights and frozen layers, as the spec states them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segc.check import Checked
from segc.emit.construct import Printer
from segc.emit.forward import member_path
from segc.emit.layout import Tagged, call, statement
from segc.emit.params import ClassPlan
from segc.emit.structure import Part
from segc.emit.text import free_name, literal
from segc.ir import Node

BILINEAR = '''\
def bilinear_kernel_(weight: Tensor) -> None:
    """Fill the weight of a transposed convolution so that it interpolates bilinearly.

    Each channel is upsampled by itself (Long et al. 2015).
    """
    kernel = torch.ones((), device=weight.device)
    for size in weight.shape[2:]:
        factor = (size + 1) // 2
        center = factor - 1 if size % 2 else factor - 0.5
        taps = torch.arange(size, device=weight.device)
        kernel = kernel[..., None] * (1 - (taps - center).abs() / factor)
    channel = torch.arange(weight.shape[0], device=weight.device)
    with torch.no_grad():
        weight.zero_()
        weight[channel, channel % weight.shape[1]] = kernel.to(weight.dtype)
'''
# torch.nn.init's own defaults: arguments equal to them are left out
_DEFAULTS: dict[str, dict[str, Any]] = {
    "normal": {"mean": 0.0, "std": 1.0},
    "trunc_normal": {"mean": 0.0, "std": 1.0},
    "uniform": {"a": 0.0, "b": 1.0},
    "kaiming_normal": {"mode": "fan_in", "nonlinearity": "leaky_relu"},
    "kaiming_uniform": {"mode": "fan_in", "nonlinearity": "leaky_relu"},
    "xavier_normal": {"gain": 1.0},
    "xavier_uniform": {"gain": 1.0},
    "orthogonal": {"gain": 1.0},
}


def fill(weight: str, init: Mapping[str, Any], indent: int) -> list[str]:
    """The line that fills one weight: `nn.init.normal_(self.fc.weight, std=0.01)`."""
    ((name, args),) = init.items()
    if name == "bilinear":
        return statement("", call("bilinear_kernel_", [weight]), indent)
    if name == "constant":
        return statement("", call("nn.init.constant_", [weight, literal(args["value"])]), indent)
    shown = [(k, v) for k, v in args.items() if _DEFAULTS.get(name, {}).get(k) != v]
    if name == "trunc_normal" and ("std", args["std"]) in shown:  # two deviations, not -2 and 2
        mean, std = args["mean"], args["std"]
        shown += [("a", mean - 2 * std), ("b", mean + 2 * std)]
    docs = [Tagged(f"{k}=", literal(v)) for k, v in shown]
    return statement("", call(f"nn.init.{name}_", [weight, *docs]), indent)


class Weights:
    """The method of the network class that initialises weights."""

    def __init__(
        self, checked: Checked, plans: Mapping[int, ClassPlan], printers: Mapping[int, Printer]
    ) -> None:
        self.checked, self.plans, self.printers = checked, plans, printers
        self.top = list(plans.values())[-1]
        names = [p.name for p in self.top.blueprint.parts]
        self.method = free_name("reset_parameters", names)

    def lines(self) -> list[str]:
        """The method, or nothing where torch's own defaults stand."""
        body = [*self._by_operator(), *self._by_class()]
        if not body:
            return []
        head = [f"    def {self.method}(self) -> None:", '        """Initialise the weights."""']
        return ["", *head, *body]

    # --- the spec's defaults by operator --------------------------------------------------
    def _by_operator(self) -> Iterator[str]:
        branches: dict[tuple[str, ...], list[str]] = {}  # lines -> the classes they are for
        for op, inits in self.checked.graph.inits.items():
            nodes = [n for n in self.checked.graph.nodes if n.op.name == op and not n.absent]
            body = tuple(
                line for name, init in inits.items() for line in self._default(nodes, name, init)
            )
            cls = self._class(nodes)
            if body and cls is not None:
                branches.setdefault(body, []).append(cls)
        if branches:
            yield "        for module in self.modules():"
        for n, (body, classes) in enumerate(branches.items()):
            which = classes[0] if len(classes) == 1 else f"({', '.join(classes)})"
            yield f"            {'elif' if n else 'if'} isinstance(module, {which}):"
            yield from body

    def _class(self, nodes: Sequence[Node]) -> str | None:
        for node in nodes:
            tree = node.op.module(*self._types(node))
            if tree is not None and isinstance(tree.func, str):
                return tree.func
        return None

    def _types(self, node: Node) -> tuple[Any, ...]:
        return tuple(self.checked.types[ref] for ref in node.inputs)

    def _default(self, nodes: Sequence[Node], name: str, init: Mapping[str, Any]) -> list[str]:
        having = [n for n in nodes if name in {p.name for p in n.op.parameters(*self._types(n))}]
        if not having:
            return []
        lines = fill(f"module.{name}", init, 16)
        if len(having) == len(nodes):
            return lines
        deeper = fill(f"module.{name}", init, 20)
        return [f"                if module.{name} is not None:", *deeper]

    # --- layers with an `init` of their own -----------------------------------------------
    def _by_class(self) -> Iterator[str]:
        loops: list[str] = []
        for plan in self.plans.values():
            if plan.is_top:
                continue
            parts = [p for p in plan.blueprint.walk() if p.kind == "node" and p.key.init]
            if not parts:
                continue
            word = "elif" if loops else "if"
            loops.append(f"            {word} isinstance(module, {plan.name}):")
            for part in parts:
                loops += self._own(plan, part, "module", 16)
        if loops:
            yield "        for module in self.modules():"
            yield from loops
        for part in self.top.blueprint.walk():
            if part.kind == "node" and part.key.init:
                yield from self._own(self.top, part, "self", 8)

    def _own(self, plan: ClassPlan, part: Part, owner: str, indent: int) -> Iterator[str]:
        target = member_path(plan.wiring, part.rel, owner)
        flag = self.printers[plan.blueprint.number].flag(part)
        node = next(n for o in plan.blueprint.occurrences if (n := o.node(part.rel)) is not None)
        if flag is not None:
            tree = node.op.module(*self._types(node))
            yield f"{' ' * indent}if isinstance({target}, {tree.func if tree else 'nn.Module'}):"
            indent += 4
        for name, init in node.init.items():
            yield from fill(f"{target}.{name}", init, indent)


# --- frozen layers ----------------------------------------------------------------------------
def frozen_lines(plan: ClassPlan, plans: Mapping[int, ClassPlan]) -> Iterator[str]:
    """`requires_grad_(False)` for the largest members of a class that are frozen as a whole."""
    if fully_frozen(plan, plans):
        if plan.is_top:
            yield "        self.requires_grad_(False)"
        return
    yield from _frozen(plan, plan.blueprint.parts, plans)


def _frozen(
    plan: ClassPlan, parts: Sequence[Part], plans: Mapping[int, ClassPlan], indent: int = 8
) -> Iterator[str]:
    for part in parts:
        state = _state(plan, part, plans)
        if state == {True}:
            target = member_path(plan.wiring, part.rel, "self")
            why = "fixed" if part.kind == "node" and "bilinear" in repr(part.key.init) else "frozen"
            dead = part.only == "checkpoint"
            why = "kept for checkpoints, unused" if dead else f"{why}, not trained"
            yield f"{' ' * indent}{target}.requires_grad_(False)  # {why}"
        elif part.kind == "box" and True in state:
            flag = plan.texts.get((part.rel, "flag", ()))
            optional = flag is not None and flag.text != "True"
            if flag is not None and optional:  # without it there are no members to freeze
                yield f"{' ' * indent}if {flag.text}:"
            yield from _frozen(plan, part.parts, plans, indent + 4 * optional)


def fully_frozen(plan: ClassPlan, plans: Mapping[int, ClassPlan]) -> bool:
    states = [_state(plan, p, plans) for p in plan.blueprint.parts]
    return set().union(*states) == {True}


def _state(plan: ClassPlan, part: Part, plans: Mapping[int, ClassPlan]) -> set[bool]:
    """Whether the weights of a part are frozen: a set, empty if it has none."""
    if part.kind == "box":
        return set().union(*(_state(plan, p, plans) for p in part.parts))
    if part.kind == "class" and not plan.wiring.shared(part):
        inner = plans[part.key.inside]
        return set().union(*(_state(inner, p, plans) for p in inner.blueprint.parts))
    if part.kind == "node" and part.key.stateful and not plan.wiring.shared(part):
        return {part.key.freeze} if plan.wiring.has_weights(part) else set()
    return set()
