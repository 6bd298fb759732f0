"""Every operator's examples, built in torch: shape, parameters, cost, field, gradient, code."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from op_torch import Built, Numbers, Symbols, operand_types, printed, shapes_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segc.dim import evaluate, symbol
from segc.op import Example, Field, Op
from segc.ops import REGISTRY

CASES = [
    pytest.param(cls, example, id=f"{name}-{i}")
    for name, cls in sorted(REGISTRY.items())
    for i, example in enumerate(cls.examples)
    if not cls.rowed
]
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even")
each_example = pytest.mark.parametrize(("cls", "example"), CASES)
PIXEL = Field(Fraction(1), Fraction(1), Fraction(0))


class Case:
    """An example with its operator, types and torch module."""

    def __init__(self, cls: type[Op], example: Example) -> None:
        torch.manual_seed(0)
        self.op = cls(**example.attrs)
        self.op.validate()
        self.shapes, self.indexed = example.shapes, example.indices_of
        n, c, *size = example.shapes[0] if example.indices_of else (0, 0)
        self.source = (n, c, *(2 * s for s in size))
        self.types = operand_types(cls, example.shapes, self.source)
        self.out = self.op.infer(Numbers(), *self.types)
        self.built = Built(self.op, self.types).double().eval()

    def inputs(self, low: float = 0.1) -> list[torch.Tensor]:
        """Distinct values up to 0.9; positive unless asked, so that no clipped branch is met."""
        values = [
            torch.randperm(math.prod(s)).reshape(s).double() / math.prod(s) * (0.9 - low) + low
            for s in self.shapes
        ]
        if self.indexed:
            full = torch.rand(self.source, dtype=torch.float64)
            values[1] = F.max_pool2d(full, 2, return_indices=True)[1]
        return [v.requires_grad_(v.is_floating_point()) for v in values]


@each_example
def test_shape_and_ports(cls: type[Op], example: Example) -> None:
    case = Case(cls, example)
    result = case.built(*case.inputs())
    assert shapes_of(case.out) == shapes_of(result)
    assert len(case.op.ports) == len(shapes_of(result))


@each_example
def test_parameters(cls: type[Op], example: Example) -> None:
    case = Case(cls, example)
    ours = [(p.name, p.shape) for p in case.op.parameters(*case.types)]
    layer = nn.Identity() if case.built.layer is None else case.built.layer
    if isinstance(layer, nn.Parameter):  # the layer is its weight
        assert ours == [("", tuple(layer.shape))]
        return
    assert ours == [(name, tuple(p.shape)) for name, p in layer.named_parameters()]
    assert {name for name, _ in ours} <= set(case.op.weights)
    assert bool(ours) <= case.op.stateful


@each_example
def test_multiply_accumulates(cls: type[Op], example: Example) -> None:
    case = Case(cls, example)
    with FlopCounterMode(display=False) as counter:
        case.built(*case.inputs())
    output = shapes_of(case.out)[0]
    assert 2 * case.op.macs(example.shapes, output) == counter.get_total_flops()


@each_example
def test_gradient(cls: type[Op], example: Example) -> None:
    case = Case(cls, example)
    inputs = case.inputs(low=-0.5)
    result = case.built(*inputs)
    result = result[0] if isinstance(result, tuple) else result
    if not result.requires_grad:
        assert cls.name in ("argmax", "canny", "constant")
        return
    (result * torch.rand_like(result)).sum().backward()
    own = len(inputs) if cls.operands[-1:] == ("*xs",) else 1
    grads = [x.grad for x in inputs[:own]] + [p.grad for p in case.built.parameters()]
    assert all(g is not None and g.isfinite().all() and g.any() for g in grads)


def has_two_forms(cls: type[Op], example: Example) -> bool:
    op = cls(**example.attrs)
    types = operand_types(cls, example.shapes, ())
    return not op.stateful and len(types) == 1 and op.module(*types) is not None


@pytest.mark.parametrize(("cls", "example"), [c for c in CASES if has_two_forms(*c.values)])
def test_module_form_computes_the_same(cls: type[Op], example: Example) -> None:
    case = Case(cls, example)
    tree, inputs = case.op.module(*case.types), case.inputs()
    module = case.built.evaluated(printed(tree))
    expected, found = case.built(*inputs), module(*inputs)
    pairs = zip(expected, found, strict=True) if isinstance(found, tuple) else [(expected, found)]
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("cls", "example"), [c for c in CASES if c.values[1].shapes])
def test_symbolic_shape(cls: type[Op], example: Example) -> None:
    """Sizes as symbols give the same shape, and the example's sizes are among those accepted."""
    case = Case(cls, example)
    names = {0: "N", 2: "H", 3: "W"} if len(case.shapes[0]) == 4 else {0: "N"}
    names = {0: "N"} if cls.name in ("linear", "layer_norm", "locally_connected2d") else names
    sizes = {n: case.shapes[0][axis] for axis, n in names.items()}
    env = dict(sizes)

    def lettered(shape: tuple[int, ...], suffix: str) -> tuple[Any, ...]:
        out = []
        for axis, size in enumerate(shape):
            name = names.get(axis)
            if name is None or (size == 1 and suffix):
                out.append(size)
            elif sizes[name] == size:
                out.append(symbol(name))
            else:
                env[name + suffix] = size
                out.append(symbol(name + suffix))
        return tuple(out)

    shapes = [lettered(s, str(i) if i else "") for i, s in enumerate(case.shapes)]
    if case.indexed:
        shapes = list(case.shapes)
    need = Symbols()
    found = case.op.infer(need, *operand_types(cls, shapes, case.source))
    assert need.domain.contains(env)
    values = [tuple(evaluate(d, env) for d in shape) for shape in shapes_of(found)]
    assert values == shapes_of(case.out)


def reads(case: Case, operand: int, dim: int) -> list[set[int]]:
    """For each output row along `dim`, the rows of the operand with a gradient."""
    with torch.no_grad():
        for p in case.built.parameters():
            p.copy_(torch.rand_like(p) + 0.5)
    rows: list[set[int]] = []
    for _ in range(12 if "max" in case.op.name else 2):
        inputs = case.inputs()
        result = case.built(*inputs)
        result = result[0] if isinstance(result, tuple) else result
        weight = torch.rand_like(result) + 0.5
        for o in range(result.shape[dim]):
            out = (result * weight).select(dim, o).sum()
            (grad,) = torch.autograd.grad(out, inputs[operand], retain_graph=True)
            other = tuple(a for a in range(4) if a != grad.ndim + dim)
            seen = set(grad.abs().sum(other).nonzero().flatten().tolist())
            rows[o : o + 1] = [seen | rows[o] if o < len(rows) else seen]
    return rows


FIELD_CASES = [
    c
    for c in CASES
    if c.values[0].family not in ("norm", "dropout")
    and c.values[1].shapes
    and all(len(s) == 4 for s in c.values[1].shapes)
    and c.values[0].name
    not in ("reshape", "flatten", "permute", "unflatten", "squeeze", "spatial_pyramid_pool")
    and c.values[0].name not in ("argmax", "canny")  # nothing to differentiate
    and not (c.values[0].name == "concat" and "dim" in c.values[1].attrs)
]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("cls", "example"), FIELD_CASES)
def test_receptive_field(cls: type[Op], example: Example, axis: int) -> None:
    """What autograd says an output row depends on; exact where the window lies inside the map."""
    case = Case(cls, example)
    dim = axis - 2
    lengths = (*(s[dim] for s in example.shapes), shapes_of(case.out)[0][dim])
    field = case.op.field(axis, (PIXEL,) * len(example.shapes), lengths)
    rows, height = reads(case, 0, dim), lengths[0]
    if field.size is None:
        assert all(seen == set(range(height)) for seen in rows)
        return
    starts = (field.start + field.step * o for o in range(len(rows)))
    seen = [(s, s + field.size, r) for s, r in zip(starts, rows, strict=True) if r]
    inside = [(start, end, r) for start, end, r in seen if start >= 0 and end <= height]
    assert inside, "the example's map is too small to show the field"
    assert all(start <= min(r) and max(r) < end for start, end, r in inside)
    assert any(start == min(r) for start, _, r in seen), "looser than needed in front"
    assert any(end == max(r) + 1 for _, end, r in seen), "looser than needed behind"


def test_every_operator_has_examples_and_a_manual_page() -> None:
    for name, cls in REGISTRY.items():
        assert cls.examples or cls.rowed, name  # rows_kit runs those on rows
        first, _, rest = (cls.__doc__ or "").partition("\n")
        assert first.endswith((".", ":")) or rest.lstrip().startswith(first[-1:]), name
        assert "->" in rest, name
        assert all(a.doc for a in cls.attrs.values()), name


def test_helpers_are_complete_functions() -> None:
    for cls in REGISTRY.values():
        for helper in cls.helpers:
            assert helper.source.startswith((f"def {helper.name}(", f"class {helper.name}("))
            assert helper.source.endswith("\n")
            assert '"""' in helper.source
            assert max(map(len, helper.source.splitlines())) <= 100
            compile(helper.source, helper.name, "exec")
