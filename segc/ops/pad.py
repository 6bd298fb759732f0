"""Adding pixels around a map."""

from __future__ import annotations

from segc.code import Call, Helper, X
from segc.dim import DimLike, text
from segc.op import Example, Field, Need, Op, Problem, Quad, Style, attr, op
from segc.ops.common import AXES, feature_map, one, shifted
from segc.types import Tensor

LAYERS = {
    "constant": "nn.ConstantPad2d",
    "reflect": "nn.ReflectionPad2d",
    "replicate": "nn.ReplicationPad2d",
    "circular": "nn.CircularPad2d",
}


@op("pad")
class Pad(Op):
    """Add pixels around the map, or cut some off where negative (torch.nn.functional.pad).

    y[c,i,j] = x[c, i - top, j - left], outside of x: `value`, its mirror, its edge or its far side
    x: [N, C, H, W] -> [N, C, top + H + bottom, left + W + right]
    """

    padding: Quad = attr("pixels to add: [left, right, top, bottom], or one number for all")
    mode: str = attr(
        "what the added pixels hold",
        "constant",
        choices=("constant", "reflect", "replicate", "circular"),
    )
    value: float = attr("with mode constant: that value", 0)
    examples = (
        Example({"padding": 2}, ((1, 2, 4, 5),)),
        Example({"padding": (1, 0, 2, 3), "mode": "reflect"}, ((1, 2, 5, 6),)),
        Example({"padding": (1, 2, 3, 0), "mode": "circular"}, ((1, 2, 5, 6),)),
        Example({"padding": (-1, 2, 0, -2), "mode": "replicate"}, ((1, 2, 5, 6),)),
    )

    helpers = (
        Helper(
            "trim",
            '''\
def trim(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """A map without so many pixels of each side."""
    height, width = x.shape[-2:]
    return x[..., top : height - bottom, left : width - right]
''',
        ),
    )

    def validate(self) -> None:
        if self.mode != "constant" and self.value != 0:
            message = f"`value` goes with mode constant, not {self.mode}"
            raise Problem("SEG210", message, attr="value")

    @property
    def view(self) -> bool:
        """Cutting off looks at a part of the map."""
        return max(self.padding) <= 0

    def sides(self, axis: int) -> tuple[int, int]:
        """Pixels before and after."""
        left, right, top, bottom = self.padding
        return (left, right) if axis else (top, bottom)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        return Tensor((n, c, self._out(need, 0, h), self._out(need, 1, w)))

    def _out(self, need: Need, axis: int, size: DimLike) -> DimLike:
        sides = self.sides(axis)
        least = {"reflect": max(sides) + 1, "circular": max(sides)}.get(self.mode, 1)
        if least > 1:
            message = f"{self.mode} padding of {max(sides)} needs a map of {AXES[axis]} {least} or "
            message += f"more, this one has {text(size)}"
            need.at_least(size, least, Problem("SEG205", message, attr="padding", operand=0))
        cut = -sum(n for n in sides if n < 0)
        if cut:
            message = f"pad cuts {cut} pixels off a map of {AXES[axis]} {text(size)}"
            problem = Problem("SEG205", message, attr="padding", operand=0)
            least = 1 - sum(sides)
            need.at_least(size, least if self.mode == "replicate" else max(cut, least), problem)
        return size + sum(sides)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return shifted(fields[0], -self.sides(axis)[0])

    def module(self, x: Tensor) -> Call:
        value = (self.value,) if self.mode == "constant" else ()
        return Call(LAYERS[self.mode], (one(self.padding), *value))

    def expr(self, x: Tensor) -> Call:
        if max(self.padding) <= 0:
            return Call("trim", (X(0), *(-n for n in self.padding)))
        values = {"mode": self.mode, "value": self.value}
        return Call("F.pad", (X(0), self.padding), values, {"mode": "constant", "value": 0})

    @property
    def style(self) -> Style:
        sides = one(self.padding)
        return Style("shape", f"pad {sides if isinstance(sides, int) else list(sides)}")
