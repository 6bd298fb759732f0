"""What the operators share: reading shapes, joining sizes, window arithmetic, printing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import prod
from typing import Any

from segc.dim import DimLike, text
from segc.op import Field, Need, Problem
from segc.types import Tensor

AXES = ("height", "width")


# --- how values are printed -------------------------------------------------------------------
def one(pair: tuple[Any, ...]) -> Any:
    """`(3, 3)` as torch's constructors are called: `3`."""
    return pair[0] if len(set(pair)) == 1 else pair


def by(pair: tuple[Any, ...]) -> str:
    """`3×5`, for labels."""
    return "×".join(str(v) for v in pair)


def sizes(shape: Iterable[DimLike]) -> str:
    """`64 x H x W`, for messages."""
    return " x ".join(text(d) for d in shape)


def count(number: DimLike, noun: str) -> str:
    """`1 channel`, `64 channels`."""
    return f"{text(number)} {noun}" if number == 1 else f"{text(number)} {noun}s"


# --- what an operand must be ------------------------------------------------------------------
def ranked(x: Tensor, op: str, ranks: tuple[int, ...], form: str, operand: int = 0) -> None:
    """Demand a floating tensor of one of `ranks` axes."""
    if x.dtype != "float":
        message = f"{op} computes with real numbers, this tensor holds {x.dtype} values"
        raise Problem("SEG201", message, operand=operand)
    if len(x.shape) not in ranks:
        axes = "1 axis" if len(x.shape) == 1 else f"{len(x.shape)} axes"
        message = f"{op} takes {form}; this tensor has {axes}: {sizes(x.shape)}"
        raise Problem("SEG201", message, operand=operand)


def feature_map(x: Tensor, op: str, operand: int = 0) -> tuple[DimLike, ...]:
    """The sizes (N, C, H, W) of a map."""
    ranked(x, op, (4,), "a map [N, C, H, W]", operand)
    return x.shape


def known(size: DimLike, op: str, what: str = "channels") -> int:
    """A size that fixes the shape of a weight, so it must be a number."""
    if isinstance(size, int):
        return size
    raise Problem(
        "SEG202",
        f"{op} has weights for each of its input {what}, and their number, {text(size)}, "
        "depends on the input's size",
        operand=0,
        hint="fix the input size in `inputs`, or pool to a fixed size first",
    )


def axis_of(dim: int, rank: int, attr: str, *, ends: int = 0) -> int:
    """Axis number `dim` counted from either end, as a number from 0."""
    if not -(rank + ends) <= dim < rank + ends:
        message = f"axis {dim} of a tensor with {rank} axes"
        hint = f"from {-rank - ends} to {rank + ends - 1}"
        raise Problem("SEG210", message, attr=attr, hint=hint)
    return dim % (rank + ends)


def equal(need: Need, a: DimLike, b: DimLike, problem: Callable[[], Problem]) -> DimLike:
    """The common size of a join; the constant if one of the two is constant."""
    if a != b:
        need.equal(a, b, problem())
    return b if isinstance(b, int) else a


# --- windows ----------------------------------------------------------------------------------
def reach(kernel: int, dilation: int) -> int:
    """Pixels from the first to the last tap of a window, both included."""
    return dilation * (kernel - 1) + 1


def slide(
    need: Need, op: str, axis: int, size: DimLike, window: int, stride: int, spare: int
) -> DimLike:
    """floor((size + spare) / stride) + 1 positions; `spare` = padding less window, usually < 0."""
    fits = spare >= -1 or (isinstance(size, int) and size >= -spare)  # a map has a pixel
    if not fits:
        message = (
            f"{op}: a window of {window} pixels does not fit a map of {AXES[axis]} {text(size)}, "
            f"which must be at least {-spare}"
        )
        need.at_least(size, -spare, Problem("SEG205", message, operand=0))
    return (size + spare) // stride + 1


def positive(need: Need, op: str, axis: int, size: DimLike, attr: str | None = None) -> None:
    """Demand at least one pixel of output."""
    if isinstance(size, int) and size >= 1:
        return
    message = f"{op}: nothing is left of the map, its {AXES[axis]} would be {text(size)}"
    need.at_least(size, 1, Problem("SEG205", message, attr=attr, operand=0))


# --- receptive fields -------------------------------------------------------------------------
def whole(field: Field, ratio: Fraction | int = 1) -> Field:
    """Every output pixel sees the whole map."""
    return Field(None, field.step * ratio, field.start)


def gathered(field: Field, ratio: Fraction, low: Fraction, high: Fraction) -> Field:
    """Output pixel o reads its operand's pixels from `ratio*o + low` to `ratio*o + high`."""
    if field.size is None:
        return whole(field, ratio)
    size = field.size + (high - low) * field.step
    return Field(size, field.step * ratio, field.start + low * field.step)


def shifted(field: Field, pixels: int | Fraction) -> Field:
    """The field after `pixels` of the operand are cut off (negative: added) in front."""
    return Field(field.size, field.step, field.start + pixels * field.step)


def total(shape: Iterable[DimLike]) -> DimLike:
    """The number of values of a tensor."""
    return prod(shape, start=1)
