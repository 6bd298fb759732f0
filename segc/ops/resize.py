"""Resampling a map to another size."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

from segc.code import Call, Helper, SizeOf, X
from segc.dim import DimLike
from segc.op import Example, Field, Need, Op, Operand, Pair, Problem, Scale, Style, attr, op
from segc.ops.common import by, feature_map, gathered, one, positive, sizes, whole
from segc.ops.pool import adaptive_field
from segc.types import Tensor

SMOOTH = ("bilinear", "bicubic")
TARGETS = ("scale_factor", "size", "like", "grow", "shrink")
CORNERS = ("grow", "shrink")  # sizes counted from corner to corner; these two go together
TOGETHER = (["grow", "shrink"], ["like", "grow"])  # targets that go together
HALF = Fraction(1, 2)


def exact(scale: float) -> Fraction | None:
    """The fraction p/q with floor(n * scale) == floor(n * p / q) for every size n, if there is one.

    Torch multiplies in floating point. A product that should be whole stays whole if the factor
    errs upwards, or downwards by at most 2^-54 of itself; 0.29 * 100 = 28.999… does not.
    """
    near = Fraction(scale).limit_denominator(1024)
    if float(near) != scale:
        return None
    error = near - Fraction(scale)
    return near if error * 2**54 <= near else None


@op("interpolate")
class Interpolate(Op):
    """Resample the map to another size (torch.nn.functional.interpolate).

    Output pixel o reads its operand around r*(o + 1/2) - 1/2 with r = H/H'; with align_corners
    around r*o with r = (H - 1)/(H' - 1), so that the corner pixels keep their places.
    x: [N, C, H, W] -> [N, C, H', W']: floor(H * scale_factor), `size`, the size of the layer
    `like`, or with `grow: z` the corner-aligned z(H - 1) + 1, with `shrink: f` its inverse
    floor((H - 1)/f) + 1; with both, in one step, z floor((H - 1)/f) + 1 (Caffe's Interp).
    With `grow` and `like` the grown size must be that of `like` (PSPNet).
    """

    size: Pair | None = attr("height and width of the output, pixels", None, min=1)
    scale_factor: Scale | None = attr("output pixels per input pixel", None)
    like: Operand | None = attr("the tensor whose height and width the output gets", None)
    grow: int | None = attr("z: pixels become z apart, the corners stay: z(H - 1) + 1", None, min=1)
    shrink: int | None = attr(
        "f: every f-th pixel stays, the corners first: floor((H - 1)/f) + 1", None, min=1
    )
    mode: str = attr(
        "how values between pixels are made",
        "nearest",
        choices=("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
    )
    align_corners: bool | None = attr(
        "bilinear, bicubic: the corner pixels keep their places", None
    )
    antialias: bool = attr("bilinear, bicubic: widen the window when shrinking", False)
    examples = (
        Example({"scale_factor": 2}, ((1, 2, 4, 5),)),
        Example({"scale_factor": 2, "mode": "bilinear"}, ((1, 2, 6, 7),)),
        Example({"scale_factor": (1.5, 0.5), "mode": "nearest-exact"}, ((1, 1, 8, 10),)),
        Example({"size": (7, 9), "mode": "bicubic", "align_corners": True}, ((1, 2, 5, 5),)),
        Example({"size": 5, "mode": "area"}, ((1, 1, 11, 10),)),
        Example({"like": "map", "mode": "bilinear"}, ((1, 2, 4, 5), (1, 7, 9, 8))),
        Example({"grow": 4, "mode": "bilinear", "align_corners": True}, ((1, 2, 5, 6),)),
        Example({"shrink": 2, "mode": "bilinear", "align_corners": True}, ((1, 2, 9, 12),)),
        Example(
            {"shrink": 4, "grow": 3, "mode": "bilinear", "align_corners": True}, ((1, 1, 9, 15),)
        ),
        Example(
            {"grow": 8, "like": "map", "mode": "bilinear", "align_corners": True},
            ((1, 2, 5, 6), (1, 3, 33, 41)),
        ),
        Example({"size": 4, "mode": "bilinear", "antialias": True}, ((1, 1, 12, 12),)),
    )
    helpers = (
        Helper(
            "corner_size",
            '''\
def corner_size(x: Tensor, grow: int = 1, shrink: int = 1) -> tuple[int, int]:
    """The size of `x` with every `shrink`-th pixel and grow - 1 new ones between neighbours."""
    height, width = x.shape[-2:]
    return grow * ((height - 1) // shrink) + 1, grow * ((width - 1) // shrink) + 1
''',
        ),
        Helper(
            "corner_size_of",
            '''\
def corner_size_of(like: Tensor, x: Tensor, grow: int) -> tuple[int, int]:
    """The size of `x` with grow - 1 new pixels between neighbours; it must be that of `like`."""
    height, width = (grow * (n - 1) + 1 for n in x.shape[-2:])
    if (height, width) != tuple(like.shape[-2:]):
        want = tuple(like.shape[-2:])
        raise ValueError(f"the map grows to {(height, width)}, it must be {want}")
    return height, width
''',
        ),
    )

    def validate(self) -> None:
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) != 1 and given not in TOGETHER:
            message = "needs one of scale_factor, size, like, grow and shrink"
            message += f", has {' and '.join(given)}" if given else ""
            raise Problem("SEG210", f"interpolate {message}", attr=given[1] if given else None)
        if self.scale_factor and min(self.scale_factor) <= 0:
            raise Problem("SEG210", "a scale factor must be above 0", attr="scale_factor")
        self._check_mode()

    def _check_mode(self) -> None:
        if self.mode in SMOOTH:
            corners = [name for name in CORNERS if getattr(self, name) is not None]
            if corners and not self.align_corners:
                message = f"`{corners[0]}` keeps the corner pixels in place"
                hint = "add `align_corners: true`"
                raise Problem("SEG210", message, attr=corners[0], hint=hint)
            return
        for name, given in (
            ("align_corners", self.align_corners is not None),
            ("antialias", self.antialias),
            ("grow", self.grow),
            ("shrink", self.shrink),
        ):
            if given:
                message = f"`{name}` goes with mode bilinear or bicubic, not {self.mode}"
                raise Problem("SEG210", message, attr=name)

    def infer(self, need: Need, x: Tensor, like: Tensor | None = None) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        if like is not None:
            size = feature_map(like, self.name, 1)[2:]
            if self.grow:
                self._check_grown(need, (h, w), size)
            return Tensor((n, c, *size))
        return Tensor((n, c, self._out(need, 0, h), self._out(need, 1, w)))

    def _check_grown(
        self, need: Need, have: tuple[DimLike, ...], wanted: tuple[DimLike, ...]
    ) -> None:
        grown = tuple((d - 1) * (self.grow or 1) + 1 for d in have)
        for g, d in zip(grown, wanted, strict=True):
            message = (
                f"the map spread by {self.grow} is {sizes(grown)}, `{self.like}` {sizes(wanted)}"
            )
            need.equal(g, d, Problem("SEG203", message, attr="like", operand=0))

    def _out(self, need: Need, axis: int, size: DimLike) -> DimLike:
        if self.size:
            return self.size[axis]
        if self._corners:
            return (size - 1) // (self.shrink or 1) * (self.grow or 1) + 1
        scale = self._scale(axis)
        out = self._scaled(size, scale)
        if scale < 1:
            positive(need, self.name, axis, out, "scale_factor")
        return out

    @property
    def _corners(self) -> bool:
        return bool(self.grow or self.shrink)

    def _scale(self, axis: int) -> float:
        return self.scale_factor[axis] if self.scale_factor else 1

    def _scaled(self, size: DimLike, scale: float) -> DimLike:
        if isinstance(size, int):
            return floor(size * scale)
        fraction = exact(scale)
        if fraction is None:
            message = f"floor(H * {scale}) depends on how the product is rounded"
            hint = "give a `size`, a `like`, or a factor such as 0.5, 1.5 or 1/3"
            raise Problem("SEG210", message, attr="scale_factor", hint=hint)
        return size * fraction.numerator // fraction.denominator

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        field, ratio = fields[0], self._ratio(axis, fields, lengths)
        if ratio is None:
            return whole(field)
        if self.mode == "area":
            return adaptive_field(field, ratio.numerator, ratio.denominator)
        taps = [self._taps(o, ratio) for o in range(ratio.denominator)]
        low = min(first - o * ratio for o, (first, _) in enumerate(taps))
        high = max(last - o * ratio for o, (_, last) in enumerate(taps))
        return gathered(field, ratio, Fraction(low), Fraction(high))

    def _ratio(
        self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...]
    ) -> Fraction | None:
        """Input pixels per output pixel."""
        if self.grow and not self.shrink:
            return Fraction(1, self.grow)
        if self.align_corners and lengths and lengths[-1] > 1:
            return Fraction(lengths[0] - 1, lengths[-1] - 1)
        if self.shrink:
            return Fraction(self.shrink, self.grow or 1)
        if self.scale_factor:
            scale = self._scale(axis)
            return 1 / (exact(scale) or Fraction(scale).limit_denominator(1024))
        if lengths:
            return Fraction(lengths[0], lengths[-1])
        return fields[1].step / fields[0].step if self.like else None

    def _taps(self, o: int, ratio: Fraction) -> tuple[int, int]:
        """The first and last input pixel that output pixel `o` reads."""
        centre = (o + HALF) * ratio
        if self.mode in ("nearest", "nearest-exact"):
            pixel = floor(o * ratio if self.mode == "nearest" else centre)
            return pixel, pixel
        reach = 1 if self.mode == "bilinear" else 2
        if self.antialias:
            support = reach * max(ratio, Fraction(1))
            return floor(centre - support + HALF), ceil(centre + support - HALF) - 1
        at = o * ratio if self.align_corners else centre - HALF
        if at.denominator == 1:
            return int(at), int(at)
        return floor(at) - reach + 1, ceil(at) + reach - 1

    def _options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values: dict[str, Any] = {"mode": self.mode}
        if self.mode in SMOOTH:
            values["align_corners"] = bool(self.align_corners)
        return values, {"mode": "nearest"}

    def _target(self) -> dict[str, Any]:
        if self.size:
            return {"size": self.size}
        if self.scale_factor:
            return {"scale_factor": one(self.scale_factor)}
        return {"size": self._corner_size() if self._corners else SizeOf(1)}

    def _corner_size(self) -> Call:
        if self.like:
            return Call("corner_size_of", (X(1), X(0), self.grow))
        factors = {name: getattr(self, name) or 1 for name in CORNERS}
        return Call("corner_size", (X(0),), factors, dict.fromkeys(CORNERS, 1))

    def module(self, x: Tensor, like: Tensor | None = None) -> Call | None:
        if self.like or self._corners or self.antialias:
            return None
        values, defaults = self._options()
        return Call("nn.Upsample", (), self._target() | values, defaults)

    def expr(self, x: Tensor, like: Tensor | None = None) -> Call:
        values, defaults = self._options()
        values, defaults = values | {"antialias": self.antialias}, defaults | {"antialias": False}
        return Call("F.interpolate", (X(0),), self._target() | values, defaults)

    @property
    def style(self) -> Style:
        if self.size:
            return Style("up", f"{self.mode} to {by(self.size)}")
        if self.like and not self.grow:
            return Style("up", f"{self.mode} to {self.like}")
        if self._corners:
            ratio = Fraction(self.grow or 1, self.shrink or 1)
            return Style("down" if ratio < 1 else "up", f"{self.mode} ×{ratio}")
        factors = (self._scale(0), self._scale(1))
        family = "down" if max(factors) < 1 else "up"
        return Style(family, f"{self.mode} ×{one(factors)}")
