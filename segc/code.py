"""Expression trees an operator answers when asked for its PyTorch code.

They hold raw Python values, never source text: the emitter compares the trees of all instances of
a block, turns what differs into constructor arguments, and only then prints. So an operator need
not know whether its `out_channels` ends up as `64`, `width` or `4 * width`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class X:
    """The value of the operand number `index` (in the order of the layer's inputs)."""

    index: int


@dataclass(frozen=True, slots=True)
class SizeOf:
    """The spatial size of an operand at run time: `x.shape[-2:]`, or one axis `x.shape[-2]`."""

    index: int
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Self:
    """The layer's own module: `self.conv1`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of expressions, `[a, b]`."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """`func(*args, **kwargs)`; keyword arguments equal to their `defaults` everywhere are left out.

    `func` is a dotted torch name (`nn.Conv2d`, `F.relu`, `torch.cat`), the name of a `Helper`, or
    `Self()`. Arguments are expressions or plain values (int, float, bool, str, None, tuples).
    """

    func: str | Self
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """`obj.name(*args)`, for example `x.flatten(1)`."""

    obj: Any
    name: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class At:
    """`obj[index]`."""

    obj: Any
    index: Any


@dataclass(frozen=True, slots=True)
class Infix:
    """`a + b + c` or `a * b`: one operator over two or more operands."""

    operator: str
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ByPhase:
    """`train if self.training else test`, for plain values that differ between the phases."""

    train: Any
    test: Any


@dataclass(frozen=True, slots=True)
class Helper:
    """A small function the emitted module defines once, at its top, when an operator needs it.

    `source` is a complete, formatted `def` that uses only torch, `nn`, `F`, `math` and `Tensor`.
    With `file` it stands in that file beside the module instead, which imports it.
    """

    name: str
    source: str = ""
    file: str = ""


Expr = (
    X
    | SizeOf
    | Self
    | Listing
    | Call
    | Method
    | At
    | Infix
    | ByPhase
    | int
    | float
    | bool
    | str
    | tuple[Any, ...]
    | None
)
