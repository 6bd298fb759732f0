"""verify: build what is emitted in torch and compare it with everything that was derived.

Shapes of every layer, parameters and state-dict keys, multiply-accumulates, the accepted input
sizes from both sides, and the deploy module against the plain one in float64. The oracle is torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

from segc.analyse import Sizes, shapes, table
from segc.build import Maker
from segc.check import Checked
from segc.diag import Diagnostic, Fail
from segc.dim import Domain
from segc.drawn import drawn, on_data, settled
from segc.emit.beside import importable
from segc.emit.deploy import deploy_source
from segc.emit.module import instrumented_source, model_source
from segc.ir import Ref
from segc.op import Param
from segc.optimise import Options
from segc.phases import inference
from segc.source import Source
from segc.types import Unknown

SIZES = 3  # accepted values tried for each size symbol
PHOTO = 331  # an odd number of pixels, as photographs have
SMALL = 97  # for what is really computed, in float64
OUTSIDE = 3  # refused values tried for each size symbol


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: what was compared, whether it agrees, and the figures."""

    what: str
    ok: bool
    detail: str


def verify(
    source: Source, params: Mapping[str, Any], options: Options | None = None
) -> Iterator[Finding]:
    """Every comparison for one spec, its deploy module made with `options`; Fail if not sound."""
    _torch()
    make = Maker(source, params, options)
    checked = make({})
    plain = model_source(make)
    instrumented = instrumented_source(make)
    yield from verify_network(checked, plain, instrumented)
    optimised = make.optimised({})
    deploy = deploy_source(make.deploy, optimised)
    yield verify_deploy(checked, plain, deploy)
    yield _deploy_macs(optimised.checked, deploy, instrumented)


def import_source(source: str, name: str) -> ModuleType:
    """The module of emitted source text, without touching the disk."""
    module = ModuleType(name)
    with importable():
        exec(compile(source, f"<{name}>", "exec"), module.__dict__)  # the emitter's own output
    return module


def network(source: str, name: str, device: str = "meta") -> Any:
    """An instance of the emitted network with default arguments."""
    torch = _torch()
    module = import_source(source, name)
    with torch.device(device):
        return getattr(module, module.__all__[0])()


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        hint = "pip install 'segc[torch]'"
        raise Fail(
            Diagnostic("SEG031", "verify needs PyTorch, which is not installed", None, hint), exit=3
        ) from None
    return torch


def verify_network(checked: Checked, source: str, instrumented: str) -> Iterator[Finding]:
    """Compare the emitted module with the derived facts, one finding a comparison."""
    with _quiet():
        plain = network(source, "segc_emitted")
        yield _parameters(checked, plain)
        yield _keys(checked, plain)
        if not on_data(checked):
            tapped = network(instrumented, "segc_instrumented")
            yield _shapes(checked, tapped)
            yield _macs(checked, plain)
            yield _refused(checked, plain)
            return
        tapped = network(instrumented, "segc_instrumented", "cpu")  # rows are data
        yield _shapes(checked, tapped, "cpu")
        yield _macs(checked, tapped, device="cpu")
        yield _refused(checked, tapped, "cpu")


def _quiet() -> Any:
    import warnings

    caught = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return caught


# --- parameters -----------------------------------------------------------------------------


def expected_parameters(checked: Checked) -> dict[str, tuple[int, ...]]:
    """State-dict key -> shape of every learned tensor, in the order of the spec."""
    found: dict[str, tuple[int, ...]] = {}
    for node in checked.graph.nodes:
        operands = checked.inputs_of(node)
        if node.shared is not None or any(isinstance(t, Unknown) for t in operands):
            continue
        for param in node.op.parameters(*operands):
            found[param.key(node.name)] = _numbers(param)
    return found


def _numbers(param: Param) -> tuple[int, ...]:
    return tuple(int(d) for d in param.shape if isinstance(d, int))


def _parameters(checked: Checked, model: Any) -> Finding:
    derived = table(checked).totals
    real = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    ok = (derived.params, derived.trainable) == (real, trainable)
    detail = f"{real:,} ({trainable:,} trainable)"
    if not ok:
        detail += f", derived {derived.params:,} ({derived.trainable:,})"
    return Finding("parameters", ok, detail)


def _keys(checked: Checked, model: Any) -> Finding:
    derived = expected_parameters(checked)
    real = {name: tuple(p.shape) for name, p in model.named_parameters()}
    wrong = [k for k in {**derived, **real} if derived.get(k) != real.get(k)]
    if wrong:
        k = wrong[0]
        detail = f"`{k}` is {real.get(k)} in torch, derived {derived.get(k)}"
        return Finding("state-dict keys", False, detail)
    return Finding("state-dict keys", True, f"{len(real)} tensors named and shaped as in the spec")


# --- shapes and sizes -----------------------------------------------------------------------


def accepted_sizes(checked: Checked) -> list[dict[str, int]]:
    """Combinations of accepted sizes, batch 2: the smallest ones, then one of a photograph."""
    domain = checked.domain
    smallest = _combinations(checked, lambda s: domain.inside(s, SIZES))
    return [*smallest, *islice(_combinations(checked, lambda s: _near(domain, s, PHOTO)), 1)]


def _near(domain: Domain, symbol: str, wanted: int) -> list[int]:
    return [v for v in domain.nearest(symbol, wanted) if v is not None]


def _combinations(checked: Checked, values: Any) -> Iterator[dict[str, int]]:
    symbols, batch = _symbols(checked)
    columns = {s: list(values(s)) for s in symbols}
    count = max((len(v) for v in columns.values()), default=1)
    for i in range(count):
        env = {s: v[(i + n) % len(v)] for n, (s, v) in enumerate(columns.items()) if v}
        env.update(dict.fromkeys(batch, 2))
        if checked.domain.contains(env):
            yield env


def _symbols(checked: Checked) -> tuple[list[str], list[str]]:
    """Symbols of sizes, and those of batches (first axis of an input)."""
    batch: dict[str, None] = {}
    sizes: dict[str, None] = {}
    for declared in checked.graph.inputs.values():
        for axis, d in enumerate(declared.shape):
            if isinstance(d, str):
                (batch if axis == 0 else sizes)[d] = None
    return [s for s in sizes if s not in batch], list(batch)


def make_inputs(checked: Checked, env: Mapping[str, int], device: str = "meta") -> dict[str, Any]:
    """Tensors of the inputs' shapes at concrete sizes."""
    torch = _torch()
    found: dict[str, Any] = {}
    for name, declared in checked.graph.inputs.items():
        size = [d if isinstance(d, int) else env[d] for d in declared.shape]
        if declared.type != "tensor":
            found[name] = drawn(declared.type, size, checked, env).to(device)
        elif declared.dtype == "int":
            found[name] = torch.zeros(size, dtype=torch.int64, device=device)
        else:
            found[name] = torch.randn(size, device=device)
    return found


def _shapes(checked: Checked, model: Any, device: str = "meta") -> Finding:
    torch = _torch()
    compared = 0
    for env in accepted_sizes(checked):
        for training in (True, False):
            model.train(training)
            with torch.no_grad():
                model(**make_inputs(checked, env, device))
            wanted = shapes(settled(checked, model.taps), env)
            fault = _compare(model.taps, wanted)
            if fault:
                return Finding("shapes", False, f"at {_shown(env)}: {fault}")
            compared += len(model.taps)
    sizes = "; ".join(_shown(env) for env in accepted_sizes(checked))
    return Finding("shapes", compared > 0, f"{compared:,} values compared at {sizes}")


def _compare(taps: Mapping[str, Any], wanted: Mapping[Ref, tuple[int, ...]]) -> str | None:
    for name, value in taps.items():
        ref = Ref(name)
        if ref in wanted and tuple(value.shape) != wanted[ref]:
            return f"`{name}` is {tuple(value.shape)} in torch, derived {wanted[ref]}"
    missing = [r.node for r in wanted if r.port == "out" and r.node not in taps]
    return None if len(missing) < len(wanted) else "the module recorded nothing"


def _shown(env: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in env.items())


def _macs(
    checked: Checked, model: Any, what: str = "MACs", device: str = "meta", like: Any = None
) -> Finding:
    """Multiply-accumulates, for as many rows as the model has, or the one it is `like`."""
    torch = _torch()
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    env = accepted_sizes(checked)[-1]
    inputs = make_inputs(checked, env, device)
    if like is not None:  # both in float64, or rounding would choose other rows in one of them
        inputs = _doubled(inputs)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(**inputs)
    real = counter.get_total_flops() // 2
    sizes: Sizes = {k: tuple(v.shape) for k, v in make_inputs(checked, env).items()}
    if like is not None:
        with torch.no_grad():
            like(**inputs)
    taps = getattr(model if like is None else like, "taps", {})
    rows = table(settled(checked, taps), sizes).rows
    derived = sum(r.macs or 0 for r in rows if r.node.only in (None, "test"))
    detail = f"{real:,} at {_shown(env)}"
    ok = real == derived
    return Finding(what, ok, detail if ok else f"{detail}, derived {derived:,}")


def _refused(checked: Checked, model: Any, device: str = "meta") -> Finding:
    """Sizes just outside the accepted ones must fail in torch; accepted ones ran above.

    Two demands torch does not make: that pooling indices point into a map of the size unpooled to
    (it then writes values to the wrong places without a word), and that an axis that is squeezed
    has size 1 (it then stays, and the output has one more). segc refuses both.
    """
    inside = accepted_sizes(checked)[0]
    by_name = checked.graph.by_name
    silent = any(by_name[r.node].op.index_operands for r in checked.reasons)
    derived = [len(checked.shape(ref)) for ref in checked.graph.outputs.values()]
    refused = misplaced = kept = 0
    model.eval()
    for symbol in _symbols(checked)[0]:
        for value in (v for v in checked.domain.outside(symbol, OUTSIDE) if v >= 1):
            axes = _axes(model, make_inputs(checked, {**inside, symbol: value}, device))
            if axes is None:
                refused += 1
            elif axes != derived:
                kept += 1
            elif silent:
                misplaced += 1
            else:
                return Finding("accepted sizes", False, f"torch accepts {symbol}={value}")
    limits = ", ".join(checked.domain.constraints()) or "every size is accepted"
    detail = f"{limits}; {refused} just outside refused by torch" if refused else limits
    if misplaced:
        detail += f"; {misplaced} where torch would unpool to wrong places"
    if kept:
        detail += f"; {kept} where torch would keep an axis"
    return Finding("accepted sizes", True, detail)


def _axes(model: Any, inputs: Mapping[str, Any]) -> list[int] | None:
    """How many axes each output has; None where the sizes are refused."""
    torch = _torch()
    try:
        with torch.no_grad():
            found = model(**inputs)
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return [value.dim() for value in (found.values() if isinstance(found, dict) else [found])]


# --- the deploy module ----------------------------------------------------------------------

TOLERANCE = 1e-9  # relative to the largest output, float64


def trained_like(model: Any) -> None:
    """Random weights and running statistics of the size training leaves, in place.

    Frozen weights keep the values the spec gives them.
    """
    torch = _torch()
    generator = torch.Generator().manual_seed(0)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    for name, value in model.state_dict().items():
        if not value.is_floating_point() or name in frozen:
            continue
        noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        if name.endswith("running_var"):
            value.copy_(noise.abs() + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(0.3 * noise)
        elif value.dim() == 1:
            value.copy_((1 if name.endswith("weight") else 0) + 0.2 * noise)
        else:
            fan = max(value[0].numel(), 1)
            value.copy_(noise * (2.0 / fan) ** 0.5)


def verify_deploy(checked: Checked, plain: str, deploy: str) -> Finding:
    """`from_model` of the deploy module gives the plain module's outputs, in float64."""
    lasting = inference(checked)
    torch = _torch()
    module = import_source(deploy, "segc_deploy")
    reference = network(plain, "segc_plain", "cpu").double().eval()
    worst = 0.0
    with torch.no_grad():
        trained_like(reference)
        fast = module.from_model(reference).eval()
        small = _combinations(lasting, lambda s: _near(checked.domain, s, SMALL))
        env = next(small, accepted_sizes(lasting)[0])
        inputs = _doubled(make_inputs(lasting, env, "cpu"))
        wanted, got = _named(reference(**inputs)), _named(fast(**inputs))
    if wanted.keys() != got.keys():
        return Finding("deploy", False, f"outputs {list(got)} instead of {list(wanted)}")
    for name, value in wanted.items():
        if got[name].shape != value.shape:
            shapes = f"{tuple(got[name].shape)} instead of {tuple(value.shape)}"
            return Finding("deploy", False, f"`{name}` is {shapes}")
        if not value.numel():
            continue
        worst = max(worst, float((got[name] - value).abs().max() / value.abs().max().clamp(min=1)))
    detail = f"differs by at most {worst:.1e} of the largest output at {_shown(env)}, float64"
    return Finding("deploy", worst <= TOLERANCE, detail)


def _doubled(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs in float64, whole numbers as they are."""
    return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}


def _deploy_macs(checked: Checked, source: str, instrumented: str) -> Finding:
    """What the optimiser says it costs is what torch counts."""
    with _quiet():
        if on_data(checked):
            plain = network(instrumented, "segc_instrumented", "cpu").double().eval()
            fast = import_source(source, "segc_deploy").from_model(plain)
            return _macs(checked, fast, "deploy MACs", "cpu", like=plain)
        return _macs(checked, network(source, "segc_deploy"), "deploy MACs")


def _named(outputs: Any) -> dict[str, Any]:
    return outputs if isinstance(outputs, dict) else {"output": outputs}
