"""Every operator's shape rule against torch on the meta device, over thousands of random uses.

Attribute values are drawn from what the operator says of its attributes, valid or not. Torch is
called by the operator's own name and argument names, so this also proves that they are torch's.
Where segc is stricter on purpose, `STRICTER` says why; everything else must agree: shapes, and
what is refused.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from op_torch import Built, Numbers, Symbols, operand_types, shapes_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import FrozenBatchNorm2d

from segc.dim import evaluate, symbol
from segc.op import Attr, Op, Problem, normal
from segc.ops import REGISTRY

DRAWS = 250
Values = dict[str, Any]
Shape = tuple[int, ...]

# --- torch, called by name ---------------------------------------------------------------------
# The layers whose first constructor arguments follow from the input.
FROM_INPUT: dict[str, tuple[type[nn.Module], int]] = {
    "conv2d": (nn.Conv2d, 1),
    "conv_transpose2d": (nn.ConvTranspose2d, 1),
    "linear": (nn.Linear, -1),
    "batch_norm1d": (nn.BatchNorm1d, 1),
    "batch_norm2d": (nn.BatchNorm2d, 1),
    "instance_norm2d": (nn.InstanceNorm2d, 1),
    "frozen_batch_norm2d": (FrozenBatchNorm2d, 1),
}
LAYERS: dict[str, type[nn.Module]] = {
    "prelu": nn.PReLU,
    "dropout": nn.Dropout,
    "dropout2d": nn.Dropout2d,
    "alpha_dropout": nn.AlphaDropout,
    "feature_alpha_dropout": nn.FeatureAlphaDropout,
    "hardtanh": nn.Hardtanh,
}


def group_norm(v: Values, x: Tensor) -> Tensor:
    return nn.GroupNorm(num_channels=x.shape[1], **v).to(x.device)(x)


def sync_batch_norm2d(v: Values, x: Tensor) -> Tensor:
    """torch's takes vectors too; the operator is one of maps."""
    assert x.dim() == 4
    return nn.SyncBatchNorm(x.shape[1], **v).to(x.device).eval()(x)


def layer_norm(v: Values, x: Tensor) -> Tensor:
    return nn.LayerNorm(**{"normalized_shape": x.shape[-1:], **v}).to(x.device)(x)


def interpolate(v: Values, x: Tensor, like: Tensor | None = None) -> Tensor:
    v = {name: value for name, value in v.items() if name not in ("like", "grow", "shrink")}
    if like is not None:
        assert "size" not in v
        v["size"] = like.shape[2:]
    return F.interpolate(x, **v)


def crop(v: Values, x: Tensor, like: Tensor | None = None) -> Tensor:
    """By definition: a window that lies inside."""
    assert (like is None) == ("size" in v) and min(v.get("size", (1,))) > 0
    (top, left), (h, w) = v.get("offset", (0, 0)), v.get("size") or like.shape[2:]
    assert top + h <= x.shape[2] and left + w <= x.shape[3]
    return x[:, :, top : top + h, left : left + w]


def center_crop(v: Values, x: Tensor, like: Tensor) -> Tensor:
    margins = [a - b for a, b in zip(x.shape[2:], like.shape[2:], strict=True)]
    assert all(m >= 0 and m % 2 == 0 for m in margins)
    return F.pad(x, [-margins[1] // 2] * 2 + [-margins[0] // 2] * 2)


def bed_of_nails(v: Values, x: Tensor) -> Tensor:
    """A transposed convolution whose window is one pixel."""
    factor = v.get("scale_factor", (2, 2))
    extra = tuple(f - 1 for f in factor)
    one = x.new_ones(x.shape[1], 1, 1, 1)
    return F.conv_transpose2d(x, one, None, factor, 0, extra, x.shape[1])


def weighted_sum(v: Values, *xs: Tensor) -> Tensor:
    factors = v.get("coefficients", (1,) * len(xs))
    return sum(f * x for f, x in zip(factors, xs, strict=True))  # type: ignore[return-value]


def scale(v: Values, x: Tensor) -> Tensor:
    if v.get("learned"):
        return F.batch_norm(x, *x.new_zeros(2, x.shape[1]), x.new_ones(x.shape[1]))
    assert not v.get("bias")
    return x * v.get("value", 1)


def canny(v: Values, x: Tensor) -> Tensor:
    """Its shape; test_ops_image.py compares its values."""
    assert x.dim() == 4 and 0 <= v["low"] <= v["high"]
    return x.amax(1, keepdim=True)


def reduced(function: Callable[[Tensor, Tensor], Tensor], xs: Sequence[Tensor]) -> Tensor:
    result = xs[0]
    for x in xs[1:]:
        result = function(result, x)
    return result


CALLS: dict[str, Callable[..., Any]] = {
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "sync_batch_norm2d": sync_batch_norm2d,
    "interpolate": interpolate,
    "crop": crop,
    "center_crop": center_crop,
    "bed_of_nails": bed_of_nails,
    "scale": scale,
    "add": weighted_sum,
    "canny": canny,
    "multiply": lambda v, *xs: reduced(torch.mul, xs),
    "maximum": lambda v, *xs: reduced(torch.maximum, xs),
    "concat": lambda v, *xs: torch.cat(xs, **{"dim": 1, **v}),
    "softmax": lambda v, x: F.softmax(x, **{"dim": 1, **v}),
    "log_softmax": lambda v, x: F.log_softmax(x, **{"dim": 1, **v}),
    "argmax": lambda v, x: x.argmax(**{"dim": 1, **v}),
    "flatten": lambda v, x: nn.Flatten(**v)(x),
    "unflatten": lambda v, x: x.unflatten(v.get("dim", 1), v["sizes"]),
    "reshape": lambda v, x: x.reshape(v["shape"]),
    "pad": lambda v, x: F.pad(x, v["padding"], v.get("mode", "constant"), v.get("value", 0)),
    "identity": lambda v, x: x,
    "l2_norm": lambda v, x: F.normalize(x, eps=v.get("eps", 1e-12)),
    "constant": lambda v: torch.full(v["shape"], v.get("value", 0.0)),
    "sigmoid": lambda v, x: torch.sigmoid(x),
    "tanh": lambda v, x: torch.tanh(x),
    "channel_shuffle": lambda v, x: F.channel_shuffle(x, v["groups"]),
    "local_response_norm": lambda v, x: F.local_response_norm(x, **v),
}


def called(cls: type[Op], values: Values, *xs: Tensor) -> Any:
    name = cls.name
    if name in FROM_INPUT:
        layer, axis = FROM_INPUT[name]
        return layer(xs[0].shape[axis], **values).to(xs[0].device).eval()(xs[0])
    if name in LAYERS:
        return LAYERS[name](**values).to(xs[0].device).eval()(xs[0])
    if name in CALLS:
        return CALLS[name](values, *xs)
    return (getattr(F, name, None) or getattr(torch, name))(*xs, **values)


def in_torch(cls: type[Op], values: Values, shapes: Sequence[Shape], device: str = "meta") -> Any:
    """The shapes torch gives, or None where it refuses or leaves an axis without values."""
    try:
        result = called(cls, values, *(torch.ones(s, device=device) for s in shapes))
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError, TypeError):
        return None
    found = shapes_of(result)
    return None if any(0 in shape for shape in found) else found


# --- segc --------------------------------------------------------------------------------------
def numbers(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def in_range(a: Attr, value: Any) -> bool:
    """What the reader checks before an operator sees a value."""
    if a.choices:
        return value in a.choices
    if isinstance(value, str | bool):
        return True
    low, high = a.min, a.max
    return all((low is None or v >= low) and (high is None or v <= high) for v in numbers(value))


def in_segc(cls: type[Op], values: Values, shapes: Sequence[Any], need: Any) -> Any:
    """The shapes segc derives, or the reason it refuses."""
    for name, value in values.items():
        if not in_range(cls.attrs[name], value):
            return f"range of {name}"
    try:
        op = cls(**values)
        op.validate()
        return shapes_of(op.infer(need, *operand_types(cls, shapes)))
    except Problem as problem:
        assert problem.message and problem.code.startswith("SEG2")
        assert problem.attr is None or problem.attr in cls.attrs
        return f"{problem.code} {problem.message}"


# --- what is drawn -----------------------------------------------------------------------------
def draw_value(rng: random.Random, a: Attr, shape: Shape) -> Any:
    def integer() -> int:
        return rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7, 0, -1))

    def several(make: Callable[[], Any], count: int) -> Any:
        value = make()
        many = (value,) * count if rng.random() < 0.6 else tuple(make() for _ in range(count))
        return normal(a.kind, many)

    def factor() -> float:
        return rng.choice((1, 2, 2.0, 3, 0.5, 0.25, 1.5, 1 / 3, 0.7, 0.29, 0, -1.0, 0.05))

    match a.kind:
        case "int":
            return integer() if "dim" not in a.name else rng.randint(-6, 5)
        case "float":
            return rng.choice((0.0, 0.1, 0.5, 1, 2.0, 1e-5, -1.0, 20.0))
        case "bool":
            return rng.random() < 0.5
        case "str":
            return rng.choice((*a.choices, *a.choices, "bogus"))
        case "Pair":
            return several(integer, 2)
        case "Padding":
            return "same" if rng.random() < 0.2 else several(integer, 2)
        case "Quad":
            return several(lambda: rng.randint(-3, 5), 4)
        case "Scale":
            return several(factor, 2)
        case "Floats":
            return tuple(factor() for _ in range(rng.choice((2, 2, 3))))
        case "Ints":
            return draw_ints(rng, a, shape)
    return "other"


def draw_ints(rng: random.Random, a: Attr, shape: Shape) -> tuple[int, ...]:
    """Lists of sizes or axes that often fit `shape`."""
    if a.name == "dims":
        dims = rng.sample(range(len(shape)), len(shape))
        dims[0] = dims[0] if rng.random() < 0.8 else rng.randint(-5, 5)
        return tuple(d - len(shape) if rng.random() < 0.2 else d for d in dims)
    if a.name == "normalized_shape":
        tail = list(shape[rng.randrange(len(shape)) :])
        tail[0] += rng.random() < 0.2
        return tuple(tail)
    sizes = list(rng.sample(shape, len(shape))) if len(shape) else [2, 3]
    if a.name == "shape" and rng.random() < 0.3:
        return rng.choice((-1, 2, 3, 5)), rng.choice((-1, 2, 3, 5))
    if a.name == "sizes":
        sizes = [rng.choice((1, 2, 3)), shape[1 % len(shape)] // rng.choice((1, 2))]
    if rng.random() < 0.3:
        sizes = [sizes[0] * sizes[1], *sizes[2:]] if len(sizes) > 1 else [*sizes, 1]
    for i in range(len(sizes)):
        if rng.random() < 0.2:
            sizes[i] = rng.choice((-1, -1, 1, 2, 3, 0))
    return tuple(sizes)


def draw_values(rng: random.Random, cls: type[Op], shape: Shape) -> Values:
    values = {
        name: draw_value(rng, a, shape)
        for name, a in cls.attrs.items()
        if a.required or rng.random() < 0.5
    }
    if cls.name == "interpolate" and rng.random() < 0.8:  # one target, as it must be
        given = [n for n in ("size", "scale_factor", "like", "grow", "shrink") if n in values]
        for name in given[1:]:
            del values[name]
    return values


def draw_shape(rng: random.Random, cls: type[Op]) -> Shape:
    rank = 4
    if cls.name in RANKS:
        rank = rng.choice(RANKS[cls.name])
    channels = rng.choice((1, 2, 3, 4, 6, 8, 12, 16))
    largest = rng.choice((3, 13))
    return (rng.randint(1, 3), channels, *(rng.randint(1, largest) for _ in range(3)))[:rank]


ANY = (1, 2, 3, 4, 5)
RANKS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys((n for n, c in REGISTRY.items() if c.family in ("act", "shape")), ANY),
    "dropout": ANY, "alpha_dropout": ANY, "identity": ANY, "argmax": ANY, "linear": ANY,
    "local_response_norm": ANY, "layer_norm": ANY, "group_norm": ANY, "batch_norm1d": ANY,
    "batch_norm2d": (2, 4, 4, 4, 5), "sync_batch_norm2d": (2, 4, 4, 4, 5),
    "concat": ANY, "add": ANY, "multiply": ANY, "maximum": ANY,
    "reshape": ANY, "flatten": ANY, "permute": ANY, "unsqueeze": ANY, "squeeze": ANY,
}  # fmt: skip


def near(rng: random.Random, shape: Shape) -> Shape:
    """A shape like `shape`, but often for an axis."""

    def changed(size: int) -> int:
        if rng.random() < 0.8:
            return size
        return rng.choice((1, max(1, size - 2), max(1, size - 1), size + 1, size + 2))

    return tuple(map(changed, shape))


def draw(rng: random.Random, cls: type[Op]) -> tuple[Values, list[Shape]]:
    first = draw_shape(rng, cls)
    values = draw_values(rng, cls, first)
    count = len(cls.operands) + len(cls(**values).extra)
    if cls.operands[-1:] == ("*xs",):
        count = rng.choice((2, 2, 3))
    return values, [first, *(near(rng, first) for _ in range(count - 1))][:count]


# --- where segc refuses what torch would take ----------------------------------------------------
STRICTER: dict[str, Callable[[Values, Sequence[Shape]], bool]] = {
    # an axis of another size would stay, so the rank would depend on the input
    "squeeze": lambda v, shapes: True,
    # refused by torch too, but only in training
    "batch_norm1d": lambda v, shapes: v.get("eps") == 0,
    "batch_norm2d": lambda v, shapes: v.get("eps") == 0,
    "sync_batch_norm2d": lambda v, shapes: v.get("eps") == 0,
    # torchvision's broadcasts over any rank, and takes any eps
    "frozen_batch_norm2d": lambda v, shapes: v.get("eps", 1) <= 0 or len(shapes[0]) != 4,
    # torch does not check the dilation of a transposed convolution
    "conv_transpose2d": lambda v, shapes: 0 in v.get("dilation", ()),
    # with a padding_mode, torch takes negative padding as a crop
    "conv2d": lambda v, shapes: -1 in numbers(v.get("padding")) and "padding_mode" in v,
    # one corner-aligned grid: nothing in torch to compare with (see test_ops.py)
    "interpolate": lambda v, shapes: bool(v.keys() & {"grow", "shrink"}),
}


def stricter(cls: type[Op], values: Values, shapes: Sequence[Shape]) -> bool:
    return cls.name in STRICTER and STRICTER[cls.name](values, shapes)


# Not torch's own: each is held against a direct computation in a test of its family.
OTHERS = ("limit_gradient", "locally_connected2d", "logit", "mask_resize", "max_unpool2d",
          "parameter", "select", "spatial_pyramid_pool", "spatial_response_norm")  # fmt: skip
NAMES = [n for n in sorted(REGISTRY) if n not in OTHERS and not REGISTRY[n].rowed]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_refusals_are_torchs(name: str) -> None:
    rng, cls = random.Random(name), REGISTRY[name]
    accepted = 0
    for _ in range(DRAWS):
        values, shapes = draw(rng, cls)
        ours = in_segc(cls, values, shapes, Numbers())
        theirs = in_torch(cls, values, shapes)
        told = f"{name} {values} on {shapes}: segc {ours}, torch {theirs}"
        if isinstance(ours, str):
            if theirs is not None and not stricter(cls, values, shapes):
                # The meta kernels check less than those that compute.
                assert in_torch(cls, values, shapes, "cpu") is None, told
            continue
        accepted += 1
        assert values.keys() & {"grow", "shrink"} or ours == theirs, told
        built = Built(cls(**values), operand_types(cls, shapes)).to("meta").eval()
        emitted = built(*(torch.empty(s, device="meta") for s in shapes))
        assert shapes_of(emitted) == ours, told
    assert accepted >= DRAWS // 15, f"{name}: only {accepted} of {DRAWS} draws were accepted"


def lettered(rng: random.Random, cls: type[Op], shapes: Sequence[Shape]) -> tuple[Any, dict]:
    """The shapes with symbols for N, H and W; sizes that are equal may share a symbol."""
    axes = (0, 2, 3) if len(shapes[0]) == 4 and cls.name not in ("linear", "layer_norm") else (0,)
    env: dict[str, int] = {}

    def letter(axis: int, size: int) -> Any:
        for name, value in env.items():
            if name[0] == "NCHW"[axis] and value == size and rng.random() < 0.8:
                return symbol(name)
        env[name := "NCHW"[axis] + str(len(env))] = size
        return symbol(name)

    return [
        tuple(letter(axis, size) if axis in axes else size for axis, size in enumerate(shape))
        for shape in shapes
    ], env


@pytest.mark.parametrize("name", sorted(FROM_INPUT))
def test_parameters_and_multiplications_are_torchs(name: str) -> None:
    rng, cls, compared = random.Random(name + " cost"), REGISTRY[name], 0
    for _ in range(DRAWS):
        values, shapes = draw(rng, cls)
        ours = in_segc(cls, values, shapes, Numbers())
        if isinstance(ours, str):
            continue
        op, types = cls(**values), operand_types(cls, shapes)
        built = Built(op, types).to("meta").eval()
        with FlopCounterMode(display=False) as counter:
            built(torch.empty(shapes[0], device="meta"))
        assert counter.get_total_flops() == 2 * op.macs(tuple(shapes), ours[0]), (values, shapes)
        params = [(n, tuple(p.shape)) for n, p in built.layer.named_parameters()]
        assert params == [(p.name, p.shape) for p in op.parameters(*types)], (values, shapes)
        compared += 1
    assert compared > DRAWS // 15


# Torch repeats an axis that happens to have size 1; segc only one that always has.
REPEATS = ("add", "multiply", "maximum")


@pytest.mark.parametrize("name", NAMES)
def test_symbolic_sizes_accept_exactly_what_concrete_sizes_do(name: str) -> None:
    rng, cls = random.Random(name + " symbolic"), REGISTRY[name]
    if not cls.operands:
        return
    for _ in range(DRAWS // 3):
        values, shapes = draw(rng, cls)
        symbolic, env = lettered(rng, cls, shapes)
        need = Symbols()
        ours = in_segc(cls, values, symbolic, need)
        concrete = in_segc(cls, values, shapes, Numbers())
        told = f"{name} {values} on {symbolic}, {env}: {ours} / {concrete}"
        if isinstance(ours, str):
            assert isinstance(concrete, str) or undecidable(name, ours, shapes), told
        elif not need.domain.contains(env):
            assert isinstance(concrete, str) or undecidable(name, "", shapes), told
        else:
            assert [tuple(evaluate(d, env) for d in s) for s in ours] == concrete, told


def undecidable(name: str, reason: str, shapes: Sequence[Shape]) -> bool:
    """Uses that depend on the very size: a repeated axis, a rounding factor, a weight's shape."""
    if name in REPEATS and len({*shapes}) > 1:
        return any(1 in column and len({*column}) > 1 for column in zip(*shapes, strict=True))
    return "is rounded" in reason or "depends on the input's size" in reason


def test_unpooling_restores_what_pooling_took() -> None:
    """Pool and unpool with random windows; torch must agree wherever segc accepts."""
    rng, accepted = random.Random("unpool"), 0
    cls = REGISTRY["max_unpool2d"]
    for _ in range(4 * DRAWS):
        pool = {"kernel_size": rng.randint(1, 3), "stride": rng.randint(1, 3)}
        pool |= {"ceil_mode": rng.random() < 0.5, "padding": rng.randint(0, 1)}
        source = (1, 2, rng.randint(1, 12), rng.randint(1, 12))
        try:
            x, indices = F.max_pool2d(torch.rand(source), **pool, return_indices=True)
        except RuntimeError:
            continue
        values: Values = {n: normal("Pair", pool[n]) for n in ("kernel_size", "stride", "padding")}
        values["stride"] = values["stride"] if rng.random() < 0.8 else (2, 2)
        like = source if rng.random() < 0.9 else near(rng, source)
        shapes = [tuple(x.shape), tuple(indices.shape)]
        if rng.random() < 0.7:
            values["size"] = "pool.input"
            shapes.append(like)
        types = operand_types(cls, shapes, source)
        op = cls(**values)
        try:
            ours = op.infer(Numbers(), *types).shape
        except Problem:
            ours = None
        size = {"output_size": like[2:]} if "size" in values else {}
        known = {n: v for n, v in values.items() if n != "size"}
        try:
            theirs = tuple(F.max_unpool2d(x, indices, **known, **size).shape)
        except (RuntimeError, ValueError):
            theirs = None
        if ours is None:
            assert theirs != source, (pool, values, shapes)
            continue
        accepted += 1
        assert ours == theirs == source
        assert tuple(Built(op, types)(x, indices, torch.rand(like)).shape) == source
    assert accepted > DRAWS
