"""Cutting a window out of a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import eq
from typing import Any

from segc.code import Call, Helper, X
from segc.dim import DimLike, same_rate, text
from segc.op import Example, Field, Need, Op, Operand, Pair, Problem, Style, attr, op
from segc.ops.common import AXES, by, feature_map, shifted, sizes
from segc.types import Tensor


def _same_scale(op: str, have: Sequence[DimLike], window: Sequence[DimLike]) -> None:
    """Refuse to cut a map to the size of one of another resolution: what is left means nothing."""
    if not all(map(same_rate, have, window)):
        message = f"{op} cannot cut a map of {sizes(have)} to {sizes(window)}: the scales differ"
        raise Problem("SEG203", message, operand=0)


@op("crop")
class Crop(Op):
    """Cut out the window that starts at `offset` (Caffe's Crop).

    y[c,i,j] = x[c, top + i, left + j], offset = (top, left)
    x: [N, C, H, W] -> [N, C, h, w], the size of the layer `like`, or `size`
    """

    view = True

    like: Operand | None = attr("the tensor whose height and width the output gets", None)
    size: Pair | None = attr("height and width of the output, pixels", None, min=1)
    offset: Pair = attr("where the window starts: top and left, pixels", 0, min=0)
    examples = (
        Example({"like": "map", "offset": 2}, ((1, 2, 9, 8), (1, 5, 4, 6))),
        Example({"size": (3, 4), "offset": (5, 1)}, ((1, 2, 9, 8),)),
    )
    helpers = (
        Helper(
            "crop_like",
            '''\
def crop_like(x: Tensor, like: Tensor, top: int = 0, left: int = 0) -> Tensor:
    """The part of `x` from (top, left) on that has the height and width of `like`."""
    bottom, right = top + like.shape[-2], left + like.shape[-1]
    if bottom > x.shape[-2] or right > x.shape[-1]:
        raise ValueError(f"the crop reaches outside a map of {tuple(x.shape[-2:])}")
    return x[..., top:bottom, left:right]
''',
        ),
        Helper(
            "crop_at",
            '''\
def crop_at(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The height x width part of `x` whose first pixel is (top, left)."""
    if top + height > x.shape[-2] or left + width > x.shape[-1]:
        raise ValueError(f"the crop reaches outside a map of {tuple(x.shape[-2:])}")
    return x[..., top : top + height, left : left + width]
''',
        ),
    )

    def validate(self) -> None:
        if (self.like is None) == (self.size is None):
            has = "both" if self.size else "neither"
            message = f"crop needs either `like` or `size`, has {has}"
            raise Problem("SEG210", message, attr="size" if self.size else None)

    def infer(self, need: Need, x: Tensor, like: Tensor | None = None) -> Tensor:
        n, c, *have = feature_map(x, self.name)
        window = self.size or feature_map(like or x, self.name, 1)[2:]
        _same_scale(self.name, have, window)
        for axis in (0, 1):
            self._inside(need, axis, have[axis], window[axis])
        return Tensor((n, c, *window))

    def _inside(self, need: Need, axis: int, have: DimLike, window: DimLike) -> None:
        offset = self.offset[axis]
        rest = have - window - offset
        if isinstance(rest, int) and rest >= 0:
            return
        message = (
            f"a window of {AXES[axis]} {text(window)} from pixel {offset} on reaches outside "
            f"a map of {AXES[axis]} {text(have)}"
        )
        need.at_least(rest, 0, Problem("SEG211", message, operand=0))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return shifted(fields[0], self.offset[axis])

    def expr(self, x: Tensor, like: Tensor | None = None) -> Call:
        if self.size:
            return Call("crop_at", (X(0), *self.offset, *self.size))
        top, left = self.offset
        return Call("crop_like", (X(0), X(1)), {"top": top, "left": left}, {"top": 0, "left": 0})

    def identity(self, *types: Any, same: Callable[[DimLike, DimLike], bool] = eq) -> bool:
        window = self.size or types[1].shape[2:]
        return self.offset == (0, 0) and all(map(same, types[0].shape[2:], window))

    @property
    def style(self) -> Style:
        label = f"crop to {by(self.size)}" if self.size else "crop"
        if self.offset != (0, 0):
            label += f" at {by(self.offset).replace('×', ', ')}"
        return Style("shape", label)


@op("center_crop")
class CenterCrop(Op):
    """Cut equal margins so that the map gets the height and width of `reference` (U-Net's skips).

    y[c,i,j] = x[c, (H - h)/2 + i, (W - w)/2 + j]
    x: [N, C, H, W], reference: [N, D, h, w] -> [N, C, h, w]; H - h and W - w even, not negative
    """

    view = True
    operands = ("x", "reference")
    examples = (
        Example({}, ((1, 2, 9, 8), (1, 5, 3, 6))),
        Example({}, ((1, 2, 4, 6), (1, 1, 4, 6))),
    )
    helpers = (
        Helper(
            "center_crop",
            '''\
def center_crop(x: Tensor, reference: Tensor) -> Tensor:
    """The central part of `x` that has the height and width of `reference`."""
    height, width = reference.shape[-2:]
    spare = x.shape[-2] - height, x.shape[-1] - width
    if min(spare) < 0 or spare[0] % 2 or spare[1] % 2:
        raise ValueError(f"cannot cut {tuple(x.shape[-2:])} to {(height, width)} about its centre")
    top, left = spare[0] // 2, spare[1] // 2
    return x[..., top : top + height, left : left + width]
''',
        ),
    )

    def infer(self, need: Need, x: Tensor, reference: Tensor) -> Tensor:
        n, c, *have = feature_map(x, self.name)
        window = feature_map(reference, self.name, 1)[2:]
        _same_scale(self.name, have, window)
        for axis in (0, 1):
            if have[axis] != window[axis]:
                self._centred(need, axis, have[axis], window[axis])
        return Tensor((n, c, *window))

    def _centred(self, need: Need, axis: int, have: DimLike, window: DimLike) -> None:
        what = f"{AXES[axis]} {text(have)} to {AXES[axis]} {text(window)}"
        message = f"center_crop cannot enlarge a map of {what}"
        hint = "the map to crop comes first in `from`, the reference second"
        need.at_least(have - window, 0, Problem("SEG211", message, operand=0, hint=hint))
        message = f"center_crop from {what} leaves margins that are not equal"
        hint = "choose sizes that halve evenly, or `crop` with an offset"
        need.multiple(have - window, 2, Problem("SEG204", message, operand=0, hint=hint))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        margin = Fraction(lengths[0] - lengths[1], 2) if lengths else 0
        return shifted(fields[0], margin)

    def expr(self, x: Tensor, reference: Tensor) -> Call:
        return Call("center_crop", (X(0), X(1)))

    def identity(self, *types: Any, same: Callable[[DimLike, DimLike], bool] = eq) -> bool:
        x, reference = types
        return all(map(same, x.shape[2:], reference.shape[2:]))

    @property
    def style(self) -> Style:
        return Style("shape", "center crop")
