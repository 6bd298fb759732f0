"""Pooling: fixed windows, windows that adapt to the output size, and norms over windows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from segc.code import Call, X
from segc.dim import DimLike
from segc.op import Example, Field, Need, Op, Pair, Problem, Style, attr, op
from segc.ops.common import by, feature_map, gathered, one, reach, slide, whole
from segc.types import Index, Tensor


class _Window(Op):
    """A fixed window slides over each channel; subclasses say what it takes from it."""

    layer: ClassVar[str] = ""  # the torch.nn class
    function: ClassVar[str] = ""  # the torch.nn.functional one
    word: ClassVar[str] = ""  # for the diagram

    kernel_size: Pair = attr("window, pixels", min=1)
    stride: Pair | None = attr("step between windows, pixels; default: the window", None, min=1)

    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool

    @property
    def steps(self) -> Pair:
        return self.stride or self.kernel_size

    def validate(self) -> None:
        for padding, kernel in zip(self.padding, self.kernel_size, strict=True):
            if 2 * padding > kernel:
                message = f"padding {padding} is more than half the kernel_size {kernel}"
                hint = "a `pad` layer of its own can add more"
                raise Problem("SEG210", message, attr="padding", hint=hint)

    def pooled(self, need: Need, size: DimLike, axis: int) -> DimLike:
        """The pooled size; with ceil_mode the last window must still start inside the map."""
        stride, padding = self.steps[axis], self.padding[axis]
        window = reach(self.kernel_size[axis], self.dilation[axis])
        spare = 2 * padding - window
        if self.ceil_mode:
            spare = min(spare + stride - 1, padding - 1)
        return slide(need, self.name, axis, size, window, stride, spare)

    def infer(self, need: Need, x: Tensor) -> Any:
        n, c, h, w = feature_map(x, self.name)
        return Tensor((n, c, self.pooled(need, h, 0), self.pooled(need, w, 1)))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        window = reach(self.kernel_size[axis], self.dilation[axis])
        return fields[0].window(window, self.steps[axis], self.padding[axis])

    def first(self) -> tuple[Any, ...]:
        """Arguments given by position."""
        return (one(self.kernel_size),)

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments and their defaults."""
        values = {"stride": one(self.steps), "ceil_mode": self.ceil_mode}
        return values, {"stride": one(self.kernel_size), "ceil_mode": False}

    def module(self, x: Tensor) -> Call | None:
        return Call(self.layer, self.first(), *self.options())

    def expr(self, x: Tensor) -> Call:
        return Call(self.function, (X(0), *self.first()), *self.options())

    @property
    def style(self) -> Style:
        label = f"{self.word} {by(self.kernel_size)}"
        if self.steps != self.kernel_size:
            label += f", stride {one(self.steps)}"
        return Style("down", label)


@op("max_pool2d")
class MaxPool2d(_Window):
    """The largest value of each window (torch.nn.MaxPool2d).

    y[c,i,j] = max over u,v of x[c, s*i + d*u - p, s*j + d*v - p]
    x: [N, C, H, W] -> [N, C, floor((H + 2p - d(k-1) - 1)/s) + 1, ...]; ceil_mode: ceil, without a
    window that would start beyond the map. Port `indices`: where each value was taken from.
    """

    layer, function, word = "nn.MaxPool2d", "F.max_pool2d", "max pool"

    padding: Pair = attr("pixels of -inf added on each side", 0, min=0)
    dilation: Pair = attr("step between the taps of a window, pixels", 1, min=1)
    return_indices: bool = attr("also give the positions, as port `indices`", False)
    ceil_mode: bool = attr("round the output size up", False)
    examples = (
        Example({"kernel_size": 2}, ((1, 2, 8, 6),)),
        Example({"kernel_size": 3, "stride": 2, "padding": 1}, ((1, 2, 9, 8),)),
        Example({"kernel_size": 2, "ceil_mode": True}, ((1, 1, 7, 5),)),
        Example({"kernel_size": 2, "return_indices": True}, ((1, 2, 8, 6),)),
        Example({"kernel_size": 3, "stride": 1, "dilation": 2}, ((1, 1, 9, 8),)),
    )

    @property
    def ports(self) -> tuple[str, ...]:
        return ("out", "indices") if self.return_indices else ("out",)

    def infer(self, need: Need, x: Tensor) -> Any:
        out = super().infer(need, x)
        return (out, Index(out.shape, x.shape, "")) if self.return_indices else out

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values, defaults = super().options()
        values |= {"padding": one(self.padding), "dilation": one(self.dilation)}
        values["return_indices"] = self.return_indices
        defaults |= {"padding": 0, "dilation": 1, "return_indices": False}
        order = ("stride", "padding", "dilation", "ceil_mode", "return_indices")
        return {k: values[k] for k in order}, defaults


@op("avg_pool2d")
class AvgPool2d(_Window):
    """The mean of each window (torch.nn.AvgPool2d).

    y[c,i,j] = mean over u,v of x[c, s*i + u - p, s*j + v - p]
    x: [N, C, H, W] -> [N, C, floor((H + 2p - k)/s) + 1, ...]; ceil_mode as in max_pool2d
    """

    layer, function, word = "nn.AvgPool2d", "F.avg_pool2d", "avg pool"

    padding: Pair = attr("zeros added on each side, pixels", 0, min=0)
    ceil_mode: bool = attr("round the output size up", False)
    count_include_pad: bool = attr("the added zeros count in the mean", True)
    divisor_override: int | None = attr("divide by this instead of the window's area", None)
    examples = (
        Example({"kernel_size": 2}, ((1, 2, 8, 6),)),
        Example(
            {"kernel_size": (3, 2), "stride": 2, "padding": 1, "count_include_pad": False},
            ((1, 2, 9, 8),),
        ),
        Example({"kernel_size": 3, "stride": 2, "ceil_mode": True}, ((1, 1, 8, 10),)),
    )

    def validate(self) -> None:
        super().validate()
        if self.divisor_override == 0:
            raise Problem("SEG210", "a mean cannot divide by 0", attr="divisor_override")

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values = {
            "stride": one(self.steps),
            "padding": one(self.padding),
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }
        defaults = {"padding": 0, "ceil_mode": False, "count_include_pad": True}
        return values, defaults | {"stride": one(self.kernel_size), "divisor_override": None}


@op("lp_pool2d")
class LpPool2d(_Window):
    """The p-norm of each window (torch.nn.LPPool2d).

    y[c,i,j] = (sum over u,v of x[c, s*i + u, s*j + v] ** p) ** (1/p)
    x: [N, C, H, W] -> [N, C, floor((H - k)/s) + 1, ...]; ceil_mode as in max_pool2d
    """

    layer, function, word = "nn.LPPool2d", "F.lp_pool2d", "Lp pool"

    norm_type: float = attr("the exponent p: 1 is a sum, large is the maximum")
    ceil_mode: bool = attr("round the output size up", False)
    examples = (
        Example({"norm_type": 2, "kernel_size": 2}, ((1, 2, 8, 6),)),
        Example({"norm_type": 1, "kernel_size": 3, "stride": 2}, ((1, 2, 9, 8),)),
    )

    def validate(self) -> None:
        if self.norm_type == 0:
            raise Problem("SEG210", "the exponent of a norm cannot be 0", attr="norm_type")

    def first(self) -> tuple[Any, ...]:
        return (self.norm_type, *super().first())


class _Adaptive(Op):
    """Pooling to a given size: windows are as equal as the map allows."""

    layer: ClassVar[str] = ""
    function: ClassVar[str] = ""
    word: ClassVar[str] = ""

    output_size: Pair = attr("height and width of the output, pixels", min=1)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, *_ = feature_map(x, self.name)
        return Tensor((n, c, *self.output_size))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        if self.output_size[axis] == 1 or not lengths:
            return whole(fields[0], lengths[0] if lengths else 1)
        return adaptive_field(fields[0], lengths[0], self.output_size[axis])

    def module(self, x: Tensor) -> Call:
        return Call(self.layer, (one(self.output_size),))

    def expr(self, x: Tensor) -> Call:
        return Call(self.function, (X(0), one(self.output_size)))

    @property
    def style(self) -> Style:
        return Style("context", f"{self.word} to {by(self.output_size)}")


def adaptive_field(field: Field, size: int, pooled: int) -> Field:
    """Output pixel o reads from floor(o*size/pooled) to ceil((o+1)*size/pooled) - 1."""
    ratio = Fraction(size, pooled)
    rows = range(ratio.denominator)
    low = min(o * size // pooled - o * ratio for o in rows)
    high = max(-(-(o + 1) * size // pooled) - 1 - o * ratio for o in rows)
    return gathered(field, ratio, low, high)


@op("adaptive_avg_pool2d")
class AdaptiveAvgPool2d(_Adaptive):
    """The means of output_size windows that cover the map; 1 is the global mean.

    y[c,i,j] = mean of x[c, floor(i*H/h) : ceil((i+1)*H/h), floor(j*W/w) : ceil((j+1)*W/w)]
    x: [N, C, H, W] -> [N, C, h, w]
    """

    layer, function, word = "nn.AdaptiveAvgPool2d", "F.adaptive_avg_pool2d", "avg pool"
    examples = (
        Example({"output_size": 1}, ((2, 3, 7, 6),)),
        Example({"output_size": (3, 2)}, ((1, 2, 7, 6),)),
    )


@op("adaptive_max_pool2d")
class AdaptiveMaxPool2d(_Adaptive):
    """The largest values of output_size windows that cover the map; 1 is the global maximum.

    y[c,i,j] = max of x[c, floor(i*H/h) : ceil((i+1)*H/h), floor(j*W/w) : ceil((j+1)*W/w)]
    x: [N, C, H, W] -> [N, C, h, w]
    """

    layer, function, word = "nn.AdaptiveMaxPool2d", "F.adaptive_max_pool2d", "max pool"
    examples = (
        Example({"output_size": 1}, ((2, 3, 7, 6),)),
        Example({"output_size": (3, 2)}, ((1, 2, 7, 6),)),
    )
