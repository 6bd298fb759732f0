"""The same values in another shape or order."""

from __future__ import annotations

from math import prod

from segc.code import Call, Method, X
from segc.dim import text
from segc.op import Example, Field, Ints, Need, Op, Problem, Style, attr, op
from segc.ops.common import axis_of, sizes, total, whole
from segc.types import Tensor


@op("reshape")
class Reshape(Op):
    """The same values in another shape, row by row (torch.reshape).

    y.flatten() = x.flatten(); one size may be -1: what the others leave
    x: any shape -> shape
    """

    shape: Ints = attr("the new sizes, with one -1 at most", min=-1)
    examples = (
        Example({"shape": (2, -1, 4)}, ((2, 3, 4, 5),)),
        Example({"shape": (-1, 6)}, ((2, 3, 4),)),
    )

    def validate(self) -> None:
        if self.shape.count(-1) > 1:
            raise Problem("SEG210", "reshape can work out one size, not two", attr="shape")
        if 0 in self.shape:
            raise Problem("SEG210", "a tensor has no axis of size 0", attr="shape")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        values = total(x.shape)
        fixed = prod(n for n in self.shape if n != -1)
        message = f"reshape of {sizes(x.shape)} to {list(self.shape)} changes the number of values"
        problem = Problem("SEG212", message, attr="shape", operand=0)
        if -1 not in self.shape:
            if values != fixed:
                need.equal(values, fixed, problem)
            return Tensor(self.shape, x.dtype)
        if fixed > 1:
            need.multiple(values, fixed, problem)
        rest = values // fixed
        return Tensor(tuple(rest if n == -1 else n for n in self.shape), x.dtype)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[0])

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "reshape", self.shape)

    @property
    def style(self) -> Style:
        return Style("shape", f"reshape {'×'.join(map(str, self.shape))}")


@op("flatten")
class Flatten(Op):
    """Merge the axes from start_dim to end_dim into one (torch.nn.Flatten).

    y[n, (c*H + i)*W + j] = x[n,c,i,j]
    x: [N, C, H, W] -> [N, C*H*W]
    """

    start_dim: int = attr("the first axis merged", 1)
    end_dim: int = attr("the last axis merged", -1)
    examples = (
        Example({}, ((2, 3, 4, 5),)),
        Example({"start_dim": 2}, ((2, 3, 4, 5),)),
        Example({"start_dim": 0, "end_dim": 1}, ((2, 3, 4, 5),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        first = axis_of(self.start_dim, len(x.shape), "start_dim")
        last = axis_of(self.end_dim, len(x.shape), "end_dim")
        if first > last:
            raise Problem("SEG210", "start_dim comes after end_dim", attr="start_dim")
        merged = total(x.shape[first : last + 1])
        return Tensor((*x.shape[:first], merged, *x.shape[last + 1 :]), x.dtype)

    def field(self, axis: int, fields: tuple[Field, ...], lengths: tuple[int, ...] = ()) -> Field:
        return whole(fields[0])

    def module(self, x: Tensor) -> Call:
        values = {"start_dim": self.start_dim, "end_dim": self.end_dim}
        return Call("nn.Flatten", (), values, {"start_dim": 1, "end_dim": -1})

    def expr(self, x: Tensor) -> Method:
        end = () if self.end_dim == -1 else (self.end_dim,)
        return Method(X(0), "flatten", (self.start_dim, *end))

    @property
    def style(self) -> Style:
        return Style("shape", "flatten")


@op("unflatten")
class Unflatten(Op):
    """Split one axis into several (torch.nn.Unflatten), the inverse of flatten.

    x: [N, C, H, W], dim 1, sizes [g, -1] -> [N, g, C/g, H, W]
    """

    dim: int = attr("the axis to split", 1)
    sizes: Ints = attr("the new sizes, with one -1 at most", min=-1)
    examples = (
        Example({"sizes": (2, -1)}, ((2, 6, 4, 5),)),
        Example({"dim": -1, "sizes": (2, 2, 3)}, ((2, 12),)),
    )

    def validate(self) -> None:
        if self.sizes.count(-1) > 1 or 0 in self.sizes or not self.sizes:
            message = "the sizes must be positive, with one -1 at most"
            raise Problem("SEG210", message, attr="sizes")

    def infer(self, need: Need, x: Tensor) -> Tensor:
        dim = axis_of(self.dim, len(x.shape), "dim")
        size, fixed = x.shape[dim], prod(n for n in self.sizes if n != -1)
        message = f"unflatten of an axis of {text(size)} to {list(self.sizes)} "
        problem = Problem("SEG212", message + "changes the number of values", attr="sizes")
        if -1 in self.sizes:
            if fixed > 1:
                need.multiple(size, fixed, problem)
        elif size != fixed:
            need.equal(size, fixed, problem)
        split = tuple(size // fixed if n == -1 else n for n in self.sizes)
        return Tensor((*x.shape[:dim], *split, *x.shape[dim + 1 :]), x.dtype)

    def module(self, x: Tensor) -> Call:
        return Call("nn.Unflatten", (self.dim, self.sizes))

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "unflatten", (self.dim, self.sizes))

    @property
    def style(self) -> Style:
        return Style("shape", f"unflatten {'×'.join(map(str, self.sizes))}")


@op("permute")
class Permute(Op):
    """Reorder the axes (torch.permute).

    y.shape[k] = x.shape[dims[k]]
    x: [N, C, H, W], dims [0, 2, 3, 1] -> [N, H, W, C]
    """

    dims: Ints = attr("for each axis of the output, the axis of the input it is")
    examples = (
        Example({"dims": (0, 2, 3, 1)}, ((2, 3, 4, 5),)),
        Example({"dims": (0, -1, 1)}, ((2, 3, 4),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        rank = len(x.shape)
        axes = [axis_of(d, rank, "dims") for d in self.dims]
        if sorted(axes) != list(range(rank)):
            message = f"{list(self.dims)} does not name each axis of {sizes(x.shape)} once"
            raise Problem("SEG210", message, attr="dims")
        return Tensor(tuple(x.shape[a] for a in axes), x.dtype)

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "permute", self.dims)

    @property
    def style(self) -> Style:
        return Style("shape", f"permute {' '.join(map(str, self.dims))}")


@op("unsqueeze")
class Unsqueeze(Op):
    """Insert an axis of size 1 (torch.unsqueeze).

    x: [N, C], dim 2 -> [N, C, 1]
    """

    dim: int = attr("where the new axis will be")
    examples = (Example({"dim": 1}, ((2, 3),)), Example({"dim": -1}, ((2, 3),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        dim = axis_of(self.dim, len(x.shape) + 1, "dim")
        return Tensor((*x.shape[:dim], 1, *x.shape[dim:]), x.dtype)

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "unsqueeze", (self.dim,))


@op("squeeze")
class Squeeze(Op):
    """Drop an axis of size 1 (torch.squeeze).

    x: [N, C, 1], dim 2 -> [N, C]; an axis of another size is an error
    """

    dim: int = attr("the axis to drop")
    examples = (Example({"dim": -1}, ((2, 3, 1),)),)

    def infer(self, need: Need, x: Tensor) -> Tensor:
        dim = axis_of(self.dim, len(x.shape), "dim")
        if x.shape[dim] != 1:
            message = f"squeeze drops an axis of size 1, axis {dim} has {text(x.shape[dim])}"
            need.equal(x.shape[dim], 1, Problem("SEG212", message, attr="dim", operand=0))
        return Tensor((*x.shape[:dim], *x.shape[dim + 1 :]), x.dtype)

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "squeeze", (self.dim,))


@op("select")
class Select(Op):
    """One entry of an axis, which disappears (torch.select).

    y[n, i, j] = x[n, index, i, j]
    x: [N, C, H, W], dim 1 -> [N, H, W]; a negative index counts from the end
    """

    dim: int = attr("the axis", 1)
    index: int = attr("which entry of it")
    examples = (
        Example({"index": 1}, ((2, 3),)),
        Example({"dim": -1, "index": -2}, ((2, 3, 4),)),
    )

    def infer(self, need: Need, x: Tensor) -> Tensor:
        dim = axis_of(self.dim, len(x.shape), "dim")
        size = x.shape[dim]
        least = self.index + 1 if self.index >= 0 else -self.index
        message = f"select takes entry {self.index} of an axis of {text(size)}"
        need.at_least(size, least, Problem("SEG210", message, attr="index", operand=0))
        return Tensor((*x.shape[:dim], *x.shape[dim + 1 :]), x.dtype)

    def expr(self, x: Tensor) -> Method:
        return Method(X(0), "select", (self.dim, self.index))

    @property
    def style(self) -> Style:
        return Style("shape", f"select {self.index}")
