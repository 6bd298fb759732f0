"""Indices, boxes, choices of rows and matches stand where operators want them, and only there."""

from __future__ import annotations

from segc.dim import DimLike
from segc.ir import Input, Node
from segc.op import Problem
from segc.types import Boxes, Index, Match, Pick, Tensor, Type


def input_type(declared: Input, shape: tuple[DimLike, ...]) -> Type:
    """The type of an input of the network."""
    if declared.type == "boxes":
        return Boxes(shape, declared.legacy)
    return Tensor(shape, declared.dtype)


def check_kinds(node: Node, operands: list[Type]) -> None:
    """Indices where a tensor is needed, and the other way round."""
    for i, operand in enumerate(operands):
        if _check_rowed(node, i, operand):
            continue
        wants_index = i < len(node.op.operands) and node.op.operands[i] in node.op.index_operands
        if isinstance(operand, Index) and not wants_index:
            message = f"{node.op.name} needs a tensor, these are the indices of `{operand.pool}`"
            hint = f"only max_unpool2d reads indices; the pooled map is `{operand.pool}`"
            raise Problem("SEG206", message, operand=i, hint=hint)
        if wants_index and not isinstance(operand, Index):
            message = f"{node.op.name} needs the indices of a max pooling here, this is a tensor"
            hint = "for example `from: [x, pool1.indices]`"
            raise Problem("SEG208", message, operand=i, hint=hint)


def _check_rowed(node: Node, i: int, operand: Type) -> bool:
    """Boxes, picks and matches where they belong; whether the operand is settled by that."""
    own = len(node.op.operands)
    name = node.op.operands[min(i, own - 1)].lstrip("*") if own else ""
    extra = i - (len(node.inputs) - len(node.op.extra))
    if extra >= 0:
        name = node.op.extra[extra]
    wanted = node.op.kinds.get(name, "tensor")
    found = _KINDS.get(type(operand))
    if wanted == "any" or wanted == found:
        return True
    if wanted == "tensor" and found is None:
        return False
    what = _ARE.get(wanted, "a tensor")
    got = _ARE.get(found or "tensor", "a tensor")
    message = f"{node.op.name} needs {what} as `{name}`, this is {got}"
    where = {"attr": name} if extra >= 0 else {"operand": i}
    raise Problem("SEG206", message, **where)


_KINDS: dict[type, str] = {Boxes: "boxes", Pick: "pick", Match: "match"}
_ARE = {
    "boxes": "boxes",
    "pick": "a choice of rows (of top_k, nms, sample, …)",
    "match": "a match of boxes with ground truth",
}
