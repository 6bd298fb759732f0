"""Inverses of pooling: values go back where indices say, or to the corner of their cell."""

from __future__ import annotations

from fractions import Fraction

from segc.code import Call, Helper, SizeOf, X
from segc.dim import DimLike, text
from segc.op import Example, Field, Need, Op, Operand, Pair, Problem, Style, attr, op
from segc.ops.common import AXES, by, count, equal, feature_map, gathered, one, sizes
from segc.types import Index, Tensor


def _cells(field: Field, factor: int) -> Field:
    """Output pixel o reads its operand's pixel floor(o / factor)."""
    return gathered(field, Fraction(1, factor), Fraction(1 - factor, factor), Fraction(0))


@op("max_unpool2d")
class MaxUnpool2d(Op):
    """Put each value where the max pooling took it from, zeros elsewhere (torch.nn.MaxUnpool2d).

    y[c, indices[c,i,j]] = x[c,i,j], positions counted row by row in the map before the pooling
    x: [N, C, h, w], indices of a pooling of [N, C, H, W] -> [N, C, H, W]
    `size:` names a tensor of the size to restore, `pool1.input` where the pooling rounded; without
    it the size is (h - 1)s - 2p + k, and must be that of the map the indices point into.
    """

    operands = ("x", "indices")
    index_operands = ("indices",)

    kernel_size: Pair = attr("window of the pooling, pixels", 2, min=1)
    stride: Pair | None = attr("its step, pixels; default: the window", None, min=1)
    padding: Pair = attr("its padding, pixels", 0, min=0)
    size: Operand | None = attr("the tensor whose height and width to restore", None)
    examples = (
        Example({}, ((2, 3, 4, 5), (2, 3, 4, 5)), indices_of=True),
        Example({"size": "map"}, ((1, 2, 3, 4), (1, 2, 3, 4), (1, 5, 6, 8)), indices_of=True),
    )

    @property
    def steps(self) -> Pair:
        return self.stride or self.kernel_size

    def infer(self, need: Need, x: Tensor, indices: Index, like: Tensor | None = None) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        of = f" of {indices.pool}" if indices.pool else ""

        def channels() -> Problem:
            has, wants = count(c, "channel"), count(indices.shape[1], "channel")
            message = f"the indices{of} are for {wants}, the map to unpool has {has}"
            return Problem("SEG207", message, operand=1)

        def pixels() -> Problem:
            message = f"the indices{of} are for a map of {sizes(indices.shape[2:])}"
            message += f", the map to unpool is {sizes((h, w))}"
            return Problem("SEG207", message, operand=1)

        c = equal(need, c, indices.shape[1], channels)
        n = equal(need, n, indices.shape[0], pixels)
        h = equal(need, h, indices.shape[2], pixels)
        w = equal(need, w, indices.shape[3], pixels)
        out = (self._out(need, axis, size, indices, like) for axis, size in enumerate((h, w)))
        return Tensor((n, c, *out))

    def _out(
        self, need: Need, axis: int, size: DimLike, indices: Index, like: Tensor | None
    ) -> DimLike:
        natural = (size - 1) * self.steps[axis] - 2 * self.padding[axis] + self.kernel_size[axis]
        source = indices.source[2 + axis]
        wanted = natural if like is None else feature_map(like, self.name, 2)[2 + axis]

        def other_map() -> Problem:
            who = "max_unpool2d makes" if like is None else "`size` has"
            message = f"{who} {AXES[axis]} {text(wanted)}, but the indices point into a map of "
            message += f"{AXES[axis]} {text(source)}"
            if like is not None:
                return Problem("SEG203", message, attr="size")
            hint = f"give the size: `size: {indices.pool or 'pool'}.input`"
            return Problem("SEG203", message, operand=1, hint=hint)

        out = equal(need, wanted, source, other_map)
        if like is not None and out != natural:
            self._near(need, axis, out, natural)
        return out

    def _near(self, need: Need, axis: int, out: DimLike, natural: DimLike) -> None:
        """Torch restores sizes less than a stride away from the natural one."""
        slack = self.steps[axis] - 1
        message = (
            f"{AXES[axis]} {text(out)} is not what a pooling with this window and stride "
            f"had before: that is {text(natural)}, or up to {slack} more or less"
        )
        hint = "use the kernel_size, stride and padding of the pooling"
        problem = Problem("SEG210", message, attr="size", hint=hint)
        need.at_least(out - natural + slack, 0, problem)
        need.at_least(natural - out + slack, 0, problem)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return _cells(fields[0], self.steps[axis])

    def expr(self, x: Tensor, indices: Index, like: Tensor | None = None) -> Call:
        values = {"stride": one(self.steps), "padding": one(self.padding)}
        defaults = {"stride": one(self.kernel_size), "padding": 0}
        size = {} if like is None else {"output_size": SizeOf(2)}
        arguments = (X(0), X(1), one(self.kernel_size))
        return Call("F.max_unpool2d", arguments, values | size, defaults)

    @property
    def style(self) -> Style:
        return Style("up", f"unpool {by(self.kernel_size)}")


@op("bed_of_nails")
class BedOfNails(Op):
    """Each value at the top left of its own cell, zeros elsewhere: unpooling without indices.

    y[c, s*i, s*j] = x[c,i,j], all other values 0
    x: [N, C, H, W] -> [N, C, sH, sW]
    """

    scale_factor: Pair = attr("height and width of a cell, pixels", 2, min=1)
    examples = (
        Example({}, ((1, 2, 3, 4),)),
        Example({"scale_factor": (1, 3)}, ((2, 1, 3, 4),)),
    )
    helpers = (
        Helper(
            "bed_of_nails",
            '''\
def bed_of_nails(x: Tensor, height: int, width: int) -> Tensor:
    """Each value at the top left of a height x width cell that is zero elsewhere."""
    n, c, h, w = x.shape
    cells = F.pad(x[:, :, :, None, :, None], (0, width - 1, 0, 0, 0, height - 1))
    return cells.reshape(n, c, h * height, w * width)
''',
        ),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        n, c, h, w = feature_map(x, self.name)
        return Tensor((n, c, h * self.scale_factor[0], w * self.scale_factor[1]))

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        ratio = Fraction(1, self.scale_factor[axis])
        return gathered(fields[0], ratio, Fraction(0), Fraction(0))

    def expr(self, x: Tensor) -> Call:
        return Call("bed_of_nails", (X(0), *self.scale_factor))

    @property
    def style(self) -> Style:
        return Style("up", f"nails ×{one(self.scale_factor)}")
