"""`model.py`: the network as standalone PyTorch, written as a person would write it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from segc.emit.audit import refuse
from segc.emit.beside import names_beside
from segc.emit.construct import Printer
from segc.emit.forward import Forward
from segc.emit.header import (
    class_docstring,
    file_lines,
    fixed_checks,
    optional_args,
    signature_lines,
    spec_name,
)
from segc.emit.instrument import FORWARD, PREAMBLE, instrumented
from segc.emit.layout import call, statement
from segc.emit.observe import Build, Observations
from segc.emit.params import ClassPlan, Unfit
from segc.emit.shapes import Shapes
from segc.emit.structure import Blueprint, Builder
from segc.emit.text import WIDTH, camel, free_name
from segc.emit.weights import BILINEAR, Weights, frozen_lines
from segc.emit.wiring import Unbox, Wiring


def model_source(build: Build, *, digest: str = "") -> str:
    """The source of `model.py`.

    build: reads and checks the spec again with the given parameter values (none: those of this
    build) and returns the checked network, or raises Fail. digest: the spec's sha256, for the
    file's docstring. Raises Fail where a value cannot be written down.
    """
    source = Emitter(build).source(digest)
    refuse(source)
    return source


def instrumented_source(build: Build) -> str:
    """The same module whose `forward` also fills `self.taps`: layer name -> its value.

    For checking only: values of further ports are under `layer.port`, and a layer's name stands
    for its first one.
    """
    return Emitter(build, instrument=True).source("")


class Emitter:
    """Plans the classes of a network and prints them, inner ones first."""

    def __init__(self, build: Build, instrument: bool = False) -> None:
        self.observations = Observations(build)
        self.checked, self.instrument = self.observations.base, instrument
        self.plans = self._plan()
        self.top = list(self.plans.values())[-1]
        self.printers = {n: Printer(p, self.plans) for n, p in self.plans.items()}
        self.weights = Weights(self.checked, self.plans, self.printers)

    # --- planning -------------------------------------------------------------------------
    def _plan(self) -> dict[int, ClassPlan]:
        """Plans of all classes; parameters that turn out to be no plain factor are fixed."""
        unboxed: frozenset[str] = frozenset()
        while True:
            builder = Builder(self.observations.views(unboxed))
            builder.build()
            try:
                return self._plans(builder)
            except Unfit as unfit:
                self._fix(unfit)
            except Unbox as fault:
                unboxed |= fault.paths

    def _plans(self, builder: Builder) -> dict[int, ClassPlan]:
        plans: dict[int, ClassPlan] = {}
        names = class_names(builder)
        for blueprint in ordered(builder.blueprints):
            wiring = Wiring(blueprint, builder, keep=self.instrument)
            free, taken = self.observations.free, names.values()
            plan = ClassPlan(names[blueprint.number], wiring, free, taken)
            plan.fit(plans)
            plans[blueprint.number] = plan
        return plans

    def _fix(self, unfit: Unfit) -> None:
        """Fix the parameters that change the value nothing fits."""
        at = 1
        culprits = []
        for name, probes in self.observations.probes.items():
            values = unfit.values[at : at + len(probes)]
            if any(repr(v) != repr(unfit.values[0]) for v in values):
                culprits.append(name)
            at += len(probes)
        for name in culprits or list(self.observations.free):
            self.observations.fix(name)

    # --- printing -------------------------------------------------------------------------
    def source(self, digest: str) -> str:
        """The whole file."""
        classes = [self._class(plan) for plan in self.plans.values()]
        body = [line for lines in classes for line in ("", "", *lines)]
        names = [self.top.name, *(p.name for p in self.plans.values() if p is not self.top)]
        helpers, imports = self._helpers("\n".join(body)), names_beside(self.checked.graph)
        if self.instrument:
            body, helpers = instrumented(body), [*helpers, PREAMBLE]
        return "\n".join(file_lines(self.checked, digest, names, body, helpers, imports)) + "\n"

    def _helpers(self, body: str) -> list[str]:
        """Sources of the helpers the classes call, and those they call in turn."""
        known = {"bilinear_kernel_": BILINEAR}
        for plan in self.plans.values():
            known.update((h.name, h.source) for h in plan.blueprint.helpers() if not h.file)
        used: dict[str, str] = {}
        text = body
        while True:
            found = {n: s for n, s in known.items() if n not in used and _calls(text, n)}
            if not found:
                return [used[n] for n in sorted(used, key=list(known).index)]
            used.update(found)
            text = "\n".join(found.values())

    def _class(self, plan: ClassPlan) -> list[str]:
        printer, shapes = self.printers[plan.blueprint.number], Shapes(plan)
        graph, params = self.checked.graph, self.observations.params
        outputs, phases = (graph.outputs, graph.output_only) if plan.is_top else (None, None)
        forward = Forward(printer, shapes.comment, outputs, phases, self.instrument)
        forward_lines = list(forward.lines())  # first: it says what `__init__` must remember
        if plan.wiring.sequential and not printer.stored:
            return self._sequential(plan, printer, shapes)
        lines = [f"class {plan.name}(nn.Module):"]
        lines += class_docstring(plan, shapes, self.checked)
        lines += ["", *signature_lines(plan, params if plan.is_top else None)]
        if plan.is_top:
            lines += fixed_checks(plan, params, f"segc build {spec_name(graph)}")
        lines += ["        super().__init__()", *printer.init_lines()]
        lines += frozen_lines(plan, self.plans)
        initialise = self.weights.lines() if plan.is_top else []
        if initialise:
            lines.append(f"        self.{self.weights.method}()")
        lines += [*initialise, "", *self._forward_head(plan, forward), *forward_lines]
        if plan.is_top and self.instrument:
            lines += FORWARD.split("\n")
        return lines

    def _sequential(self, plan: ClassPlan, printer: Printer, shapes: Shapes) -> list[str]:
        """A chain of numbered members as a subclass of nn.Sequential."""
        lines = [f"class {plan.name}(nn.Sequential):"]
        lines += class_docstring(plan, shapes, self.checked)
        lines += ["", *signature_lines(plan, None), *printer.chain_lines()]
        return [*lines, *frozen_lines(plan, self.plans)]

    def _forward_head(self, plan: ClassPlan, forward: Forward) -> Iterator[str]:
        absent = optional_args(plan)
        args = ["self", *(f"{n}: Tensor{absent.get(n, '')}" for n in plan.arg_names)]
        if forward.returns_dict:
            result = "dict[str, Tensor]"
        else:
            parts = ["Tensor" + " | None" * (r in forward.maybe) for r in forward.returned]
            result = parts[0] if len(parts) == 1 else f"tuple[{', '.join(parts)}]"
            if len(result) > WIDTH - 20:
                result = f"tuple[{max(parts, key=len)}, ...]"
        name = "_forward" if plan.is_top and self.instrument else "forward"
        yield from statement("", call(f"def {name}", args, f" -> {result}:"), 4)


def _calls(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\(", text) is not None


def ordered(blueprints: Sequence[Blueprint]) -> list[Blueprint]:
    """Inner classes before those that use them, the network last."""
    return sorted(blueprints, key=lambda b: (b.key[0] == "top", b.height, b.number))


def class_names(builder: Builder) -> dict[int, str]:
    """A class name for every blueprint; variants of one block get a suffix that tells why."""
    top = builder.of[0, ""]
    names = {top.number: top.first.view.graph.name}
    taken = {h.name for b in builder.blueprints for h in b.helpers()} | set(names.values())
    variants: Counter[tuple[str, str]] = Counter()
    for blueprint in sorted(builder.blueprints, key=lambda b: (-len(b.occurrences), b.number)):
        if blueprint is top:
            continue
        variants[blueprint.key] += 1
        base = camel(blueprint.key[1])
        wanted = base if variants[blueprint.key] == 1 else base + _suffix(blueprint)
        names[blueprint.number] = free_name(wanted, taken)
        taken.add(names[blueprint.number])
    return names


def _suffix(blueprint: Blueprint) -> str:
    """`WithBn3` for an instance whose inner value is read outside, `WithUnpoolConv2d` for one that
    has such a module of segc's own."""
    first = blueprint.first
    output = first.scope.output if first.scope else None
    taps = [r for r in first.returns if r != output]
    names = [camel(r.node.rpartition(".")[2]) for r in taps]
    names = names or [h.name for h in blueprint.helpers() if h.name[0].isupper()][:1]
    return "With" + "".join(names) if names else ""
