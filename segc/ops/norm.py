"""Normalisation. Batch statistics do not count for the receptive field."""

from __future__ import annotations

from typing import Any, ClassVar

from segc.code import Call, Helper, Self, X
from segc.dim import DimLike
from segc.op import Example, Ints, Need, Op, Param, Problem, Style, attr, op
from segc.ops.common import feature_map, known, ranked, sizes
from segc.types import Tensor


def _spread(need: Need, op: str, sizes_: tuple[DimLike, ...]) -> None:
    """Demand more than one value to take a variance of: not all sizes may be 1."""
    if any(isinstance(n, int) and n > 1 for n in sizes_):
        return
    message = f"{op} takes the variance of {sizes(sizes_)} values, and needs more than one"
    problem = Problem("SEG205", message, operand=0)
    need.at_least(sum(sizes_), len(sizes_) + 1, problem)


def _affine(channels: Any, *names: str) -> tuple[Param, ...]:
    return tuple(Param(name, (channels,)) for name in names)


class _Statistics(Op):
    """Norms with running statistics: batch and instance norm share torch's arguments."""

    stateful = True
    weights = ("weight", "bias")
    layer: ClassVar[str] = ""  # the torch.nn class
    word: ClassVar[str] = ""  # for the diagram
    defaults: ClassVar[dict[str, Any]] = {}

    eps: float = attr("added to the variance", 1e-5)
    momentum: float = attr("share of the new batch in the running statistics", 0.1)
    affine: bool
    track_running_stats: bool

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return _affine(x.shape[1], "weight", "bias") if self.affine else ()

    def module(self, x: Tensor) -> Call:
        names = ("eps", "momentum", "affine", "track_running_stats")
        values = {name: getattr(self, name) for name in names}
        defaults = {name: self.attrs[name].default for name in names}
        return Call(self.layer, (x.shape[1],), values, defaults)

    @property
    def style(self) -> Style:
        return Style("norm", self.word)


class _BatchNorm(_Statistics):
    word = "batch norm"

    affine: bool = attr("learn a weight and a bias for each channel", True)
    track_running_stats: bool = attr("keep the statistics evaluation uses", True)

    def validate(self) -> None:
        if not self.eps > 0:
            raise Problem("SEG210", "eps must be above 0", attr="eps")

    def checked(self, need: Need, x: Tensor) -> Tensor:
        """The operand, once it has a known number of channels and, if need be, a variance."""
        known(x.shape[1], self.name)
        if not self.track_running_stats:
            _spread(need, self.name, (x.shape[0], *x.shape[2:]))
        return x


@op("batch_norm2d")
class BatchNorm2d(_BatchNorm):
    """Zero mean and unit variance for each channel over the batch (torch.nn.BatchNorm2d).

    y[c] = weight[c] * (x[c] - mean[c]) / sqrt(var[c] + eps) + bias[c]
    x: [N, C, H, W] -> [N, C, H, W]; mean and var of the batch in training, running ones otherwise
    """

    layer = "nn.BatchNorm2d"
    examples = (
        Example({}, ((2, 3, 4, 5),)),
        Example({"eps": 1e-3, "momentum": 0.01}, ((2, 3, 4, 5),)),
        Example({"affine": False}, ((2, 3, 4, 5),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        feature_map(x, self.name)
        return self.checked(need, x)


@op("sync_batch_norm2d")
class SyncBatchNorm2d(BatchNorm2d):
    """A batch norm over the images of all processes (torch.nn.SyncBatchNorm).

    y[c] = weight[c] * (x[c] - mean[c]) / sqrt(var[c] + eps) + bias[c]
    x: [N, C, H, W] -> [N, C, H, W]; equal to batch_norm2d in evaluation and in a single process,
    on the CPU too; several processes need a GPU each
    """

    layer, word = "nn.SyncBatchNorm", "sync batch norm"
    synchronized = True


@op("frozen_batch_norm2d")
class FrozenBatchNorm2d(Op):
    """A batch norm that never changes (torchvision.ops.FrozenBatchNorm2d): buffers, no weights.

    y[c] = weight[c] * (x[c] - running_mean[c]) / sqrt(running_var[c] + eps) + bias[c]
    x: [N, C, H, W] -> [N, C, H, W], in training and evaluation alike; loads batch_norm2d's tensors
    """

    stateful = True

    eps: float = attr("added to the variance", 1e-5)
    examples = (Example({}, ((2, 3, 4, 5),)), Example({"eps": 1e-3}, ((2, 3, 4, 5),)))
    helpers = (
        Helper(
            "FrozenBatchNorm2d",
            '''\
class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics, weight and bias; all four are buffers."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def _load_from_state_dict(self, state: dict, prefix: str, *rest: dict | bool | list) -> None:
        state.pop(f"{prefix}num_batches_tracked", None)  # of the batch norm it was
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]
''',
        ),
    )

    def validate(self) -> None:
        if not self.eps > 0:
            raise Problem("SEG210", "eps must be above 0", attr="eps")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        known(feature_map(x, self.name)[1], self.name)
        return x

    def module(self, x: Tensor) -> Call:
        return Call("FrozenBatchNorm2d", (x.shape[1],), {"eps": self.eps}, {"eps": 1e-5})

    @property
    def style(self) -> Style:
        return Style("norm", "frozen batch norm")


@op("batch_norm1d")
class BatchNorm1d(_BatchNorm):
    """Zero mean and unit variance for each feature over the batch (torch.nn.BatchNorm1d).

    y[c] = weight[c] * (x[c] - mean[c]) / sqrt(var[c] + eps) + bias[c]
    x: [N, C] or [N, C, L] -> the same; mean and var of the batch in training, else running ones
    """

    layer = "nn.BatchNorm1d"
    examples = (Example({}, ((4, 3),)), Example({}, ((2, 3, 5),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, (2, 3), "features [N, C] or [N, C, L]")
        return self.checked(need, x)


@op("instance_norm2d")
class InstanceNorm2d(_Statistics):
    """Zero mean and unit variance for each channel of each image (torch.nn.InstanceNorm2d).

    y[n,c] = weight[c] * (x[n,c] - mean[n,c]) / sqrt(var[n,c] + eps) + bias[c]
    x: [N, C, H, W] -> [N, C, H, W]; needs more than one pixel
    """

    layer, word = "nn.InstanceNorm2d", "instance norm"

    affine: bool = attr("learn a weight and a bias for each channel", False)
    track_running_stats: bool = attr("keep the statistics evaluation uses", False)
    examples = (Example({}, ((2, 3, 4, 5),)), Example({"affine": True}, ((2, 3, 4, 5),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        _, c, h, w = feature_map(x, self.name)
        known(c, self.name)
        if not self.track_running_stats:
            _spread(need, self.name, (h, w))
        return x


@op("group_norm")
class GroupNorm(Op):
    """Zero mean and unit variance for each group of channels of each image (torch.nn.GroupNorm).

    y[n,c] = weight[c] * (x[n,c] - mean[n,g]) / sqrt(var[n,g] + eps) + bias[c], c in group g
    x: [N, C, ...] -> [N, C, ...], C a multiple of num_groups
    """

    stateful = True
    weights = ("weight", "bias")

    num_groups: int = attr("groups of channels", min=1)
    eps: float = attr("added to the variance", 1e-5)
    affine: bool = attr("learn a weight and a bias for each channel", True)
    examples = (
        Example({"num_groups": 2}, ((2, 4, 3, 5),)),
        Example({"num_groups": 3, "affine": False}, ((2, 6, 3),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(2, 9)), "a tensor [N, C, ...]")
        c = known(x.shape[1], self.name)
        if c % self.num_groups:
            message = f"{c} channels do not divide into {self.num_groups} groups"
            raise Problem("SEG202", message, attr="num_groups", operand=0)
        if c == self.num_groups:
            _spread(need, self.name, (x.shape[0], *x.shape[2:]))
        return x

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return _affine(x.shape[1], "weight", "bias") if self.affine else ()

    def module(self, x: Tensor) -> Call:
        values = {"eps": self.eps, "affine": self.affine}
        arguments = (self.num_groups, x.shape[1])
        return Call("nn.GroupNorm", arguments, values, {"eps": 1e-5, "affine": True})

    @property
    def style(self) -> Style:
        return Style("norm", f"group norm {self.num_groups}")


@op("layer_norm")
class LayerNorm(Op):
    """Zero mean and unit variance over the last axes (torch.nn.LayerNorm).

    y = weight * (x - mean) / sqrt(var + eps) + bias, mean and var over normalized_shape
    x: [..., *normalized_shape] -> the same; for channels of a map, `permute` them last
    """

    stateful = True
    weights = ("weight", "bias")

    normalized_shape: Ints | None = attr(
        "sizes of the last axes; default: the last one", None, min=1
    )
    eps: float = attr("added to the variance", 1e-5)
    elementwise_affine: bool = attr("learn a weight for each value", True)
    bias: bool = attr("learn a bias for each value too", True)
    examples = (
        Example({}, ((2, 4, 6),)),
        Example({"normalized_shape": (3, 5), "bias": False}, ((2, 4, 3, 5),)),
    )

    def _shape(self, x: Tensor) -> tuple[int, ...]:
        return self.normalized_shape or (known(x.shape[-1], self.name, "features"),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        if self.normalized_shape == ():
            raise Problem("SEG210", "normalized_shape is empty", attr="normalized_shape")
        shape = self._shape(x)
        ranked(x, self.name, tuple(range(len(shape), 9)), f"a tensor [..., {sizes(shape)}]")
        tail = x.shape[len(x.shape) - len(shape) :]
        message = f"layer_norm over {sizes(shape)} of a tensor that ends in {sizes(tail)}"
        for mine, wanted in zip(tail, shape, strict=True):
            if mine != wanted:
                need.equal(mine, wanted, Problem("SEG203", message, attr="normalized_shape"))
        return Tensor((*x.shape[: -len(shape)], *shape))

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        names = ("weight", "bias") if self.bias else ("weight",)
        shape = self._shape(x)
        return tuple(Param(n, shape) for n in names) if self.elementwise_affine else ()

    def module(self, x: Tensor) -> Call:
        shape = self._shape(x)
        names = ("eps", "elementwise_affine", "bias")
        values = {name: getattr(self, name) for name in names}
        defaults = {name: self.attrs[name].default for name in names}
        return Call("nn.LayerNorm", (shape[0] if len(shape) == 1 else shape,), values, defaults)

    @property
    def style(self) -> Style:
        return Style("norm", "layer norm")


@op("local_response_norm")
class LocalResponseNorm(Op):
    """Divide by the energy of neighbouring channels (torch.nn.LocalResponseNorm, Caffe's LRN).

    y[c] = x[c] / (k + alpha/size * sum over the size channels around c of x[c']**2) ** beta
    x: [N, C, ...] -> [N, C, ...]
    """

    size: int = attr("channels that take part", min=1)
    alpha: float = attr("weight of their energy", 1e-4)
    beta: float = attr("exponent", 0.75)
    k: float = attr("added to the energy", 1.0)
    examples = (
        Example({"size": 5}, ((2, 7, 3, 4),)),
        Example({"size": 2, "k": 2.0}, ((2, 3, 4, 5),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(3, 9)), "a tensor [N, C, ...] with at least one more axis")
        return x

    def _options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        names = ("alpha", "beta", "k")
        values = {name: getattr(self, name) for name in names}
        return values, {name: self.attrs[name].default for name in names}

    def module(self, x: Tensor) -> Call:
        return Call("nn.LocalResponseNorm", (self.size,), *self._options())

    def expr(self, x: Tensor) -> Call:
        return Call("F.local_response_norm", (X(0), self.size), *self._options())

    @property
    def style(self) -> Style:
        return Style("norm", f"LRN {self.size}")


@op("l2_norm")
class L2Norm(Op):
    """Unit length over the channels of each pixel, then a learned scale (ParseNet, SSD).

    y[c] = weight[c] * x[c] / max(sqrt(sum over c' of x[c']**2), eps)
    x: [N, C, ...] -> [N, C, ...]; without `scale` there is no weight
    """

    weights = ("weight",)

    scale: float | None = attr("learn a weight for each channel, this at first", None)
    eps: float = attr("smallest length to divide by", 1e-12)
    examples = (Example({}, ((2, 3, 4, 5),)), Example({"scale": 20}, ((2, 3, 4, 5),)))
    helpers = (
        Helper(
            "L2Norm",
            '''\
class L2Norm(nn.Module):
    """Unit length over the channels of each pixel, times a learned weight per channel."""

    def __init__(self, channels: int, scale: float, eps: float = 1e-12) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1, eps=self.eps) * self.weight[:, None, None]
''',
        ),
    )

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        return self.scale is not None

    def infer(self, need: Need, x: Tensor) -> Tensor:
        if self.scale is None:
            ranked(x, self.name, tuple(range(2, 9)), "a tensor [N, C, ...]")
        else:
            known(feature_map(x, self.name)[1], self.name)
        return x

    def parameters(self, x: Tensor) -> tuple[Param, ...]:
        return () if self.scale is None else _affine(x.shape[1], "weight")

    def module(self, x: Tensor) -> Call | None:
        if self.scale is None:
            return None
        return Call("L2Norm", (x.shape[1], self.scale), {"eps": self.eps}, {"eps": 1e-12})

    def expr(self, x: Tensor) -> Call:
        if self.scale is not None:
            return Call(Self(), (X(0),))
        values = {"dim": 1, "eps": self.eps}
        return Call("F.normalize", (X(0),), values, {"eps": 1e-12})

    @property
    def style(self) -> Style:
        return Style("norm", "L2 norm")
