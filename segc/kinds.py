"""Indices, boxes, choices of rows and matches stand where operators want them, and only there."""

from __future__ import annotations

from segc.dim import DimLike, Domain
from segc.ir import Input, Node
from segc.op import Problem
from segc.rows import RowSets
from segc.types import Boxes, Index, Match, Pick, Tensor, Type, Unknown


def input_type(declared: Input, shape: tuple[DimLike, ...]) -> Type:
    """The type of an input of the network."""
    if declared.type == "boxes":
        return Boxes(shape, declared.legacy)
    return Tensor(shape, declared.dtype)


def described(value: Type, domain: Domain, rows: RowSets) -> str:
    """What a value is, in a few words: its sizes without the batch, or whose rows it has."""
    if isinstance(value, Unknown):
        return "unknown"
    first, *others = map(domain.simplify, value.shape or (1,))
    if isinstance(value, Boxes):
        return f"boxes of the rows {first}"
    if isinstance(value, Pick):
        return f"a choice of rows, {first} of {domain.simplify(value.source)}"
    if isinstance(value, Match):
        return f"a match of the rows {first} with {domain.simplify(value.target)}"
    sizes = " x ".join(others)
    if not value.shape:
        return "one number"
    made = not (first.isidentifier() or first.isdigit()) or rows.among(value.shape[0])
    if isinstance(value, Tensor) and (not others or made):
        number = "a whole number" if value.dtype == "int" else "a number"
        return f"{sizes or number} for each of the rows {first}"
    return sizes or first


def check_kinds(node: Node, operands: list[Type]) -> None:
    """Indices where a tensor is needed, and the other way round."""
    for i, operand in enumerate(operands):
        if node.op.rowed and not isinstance(operand, Unknown) and not operand.shape:
            raise Problem("SEG201", f"{node.op.name} reads rows, this is one number", operand=i)
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
    verb = "these are" if got == "boxes" else "this is"
    message = f"{node.op.name} needs {what} as `{name}`, {verb} {got}"
    where = {"attr": name} if extra >= 0 else {"operand": i}
    raise Problem("SEG206", message, **where)


_KINDS: dict[type, str] = {Boxes: "boxes", Pick: "pick", Match: "match"}
_ARE = {
    "boxes": "boxes",
    "pick": "a choice of rows (of top_k, nms, sample, …)",
    "match": "a match of boxes with ground truth",
}
