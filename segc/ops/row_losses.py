"""Losses of row sets, each with an explicit denominator."""

from __future__ import annotations

from typing import Any, ClassVar

from segc.code import Call, Expr, Helper, Infix, Method, X
from segc.op import Need, Operand, Problem, Style, attr, op
from segc.ops import loss_code as code
from segc.ops.boxes import same_geometry
from segc.ops.common import axis_of
from segc.ops.common import sizes as printed
from segc.ops.rows import RowOp, same_rows
from segc.types import Boxes, Rowed, Tensor

REDUCTION = "sum (over all values, divided by `per`), mean (over all values), weighted (the sum "
REDUCTION += "of weighted values by that of the weights) or none (each value)"
WORDS = ("mean", "sum", "weighted", "none")


class RowLoss(RowOp):
    """Base of losses: values of rows, and how they become one number.

    `values` is the loss of each value as code; `kept` which of them count in a mean, if not all do.
    """

    helpers: ClassVar[tuple[Helper, ...]] = (code.SPREAD, code.SUM, code.MEAN, code.WEIGHTED)

    reduction: str = attr(REDUCTION, "mean", choices=WORDS)
    per: Operand | None = attr(
        "with `sum`: divided by the number of rows of this value, or of images (`per: image`); at "
        "least by 1",
        None,
    )
    count: int = attr("with `per`: what each of its rows counts for", 1, min=1)
    row_weights: Operand | None = attr("one weight a row, or for each value of a row", None)

    def validate(self) -> None:
        given = set(self.extra)
        if "per" in given and self.reduction != "sum":
            message = f"`per` divides a sum, the reduction is {self.reduction}"
            raise Problem("SEG210", message, attr="per", hint="reduction: sum")
        if self.count != 1 and "per" not in given:
            message = "`count` is what each row of `per` counts for"
            raise Problem("SEG210", message, attr="count", hint="add `per`")
        if self.reduction == "weighted" and "row_weights" not in given:
            message = "a weighted mean has weights"
            raise Problem("SEG210", message, attr="reduction", hint="add `row_weights`")
        if "row_weights" in given and self.reduction in ("none", "balanced"):
            message = f"`row_weights` are of no use with `reduction: {self.reduction}`"
            raise Problem(
                "SEG210", message, attr="row_weights", hint="reduction: sum, mean, weighted"
            )

    # --- what each loss says of itself --------------------------------------------------------
    def shape(self, need: Need, *types: Any) -> Tensor:
        """The loss of each value, once the operands fit each other."""
        raise NotImplementedError

    def each(self, *types: Any) -> Expr:
        """The expression of that."""
        raise NotImplementedError

    def kept(self) -> Expr | None:
        return None

    # --- the same for all ---------------------------------------------------------------------
    def infer(self, need: Need, *types: Any) -> Tensor:
        own = len(self.operands)
        values = self.shape(need, *types[:own])
        given = dict(zip(self.extra, types[own:], strict=True))
        if "per" in given and not given["per"].shape:
            message = "`per` is a value with rows, or with images; this is one number"
            raise Problem("SEG201", message, attr="per")
        if "row_weights" in given:
            self._weights(need, values, given["row_weights"])
        return values if self.reduction == "none" else Tensor(())

    def _weights(self, need: Need, values: Tensor, weights: Tensor) -> None:
        operand = len(self.operands) + self.extra.index("row_weights")
        rank = len(weights.shape)
        if not 1 <= rank <= len(values.shape):
            message = f"weights are of rows or of their values, {printed(values.shape)}; these are "
            raise Problem("SEG201", message + printed(weights.shape), attr="row_weights")
        what = f"{self.name} takes values and their weights"
        same_rows(need, values.shape[0], weights.shape[0], what, operand)
        same_sizes(need, values.shape[:rank], weights.shape, what, operand)

    def expr(self, *types: Any) -> Expr:
        own = len(self.operands)
        loss = self.each(*types[:own])
        extra = {name: X(own + k) for k, name in enumerate(self.extra)}
        if self.reduction == "none":
            return loss
        kept = {"kept": self.kept()}
        if self.reduction == "weighted":
            return Call("weighted_loss", (loss, extra["row_weights"]), kept, {"kept": None})
        weights = {"weights": extra.get("row_weights")}
        if self.reduction == "mean":
            return Call("mean_loss", (loss,), weights | kept, {"weights": None, "kept": None})
        per: Expr = Call("len", (extra["per"],)) if "per" in extra else 1
        per = Infix("*", (self.count, per)) if self.count != 1 else per
        return Call("sum_loss", (loss,), weights | {"per": per}, {"weights": None, "per": 1})

    @property
    def style(self) -> Style:
        return Style("predict", self.name.replace("_", " "))


def same_sizes(
    need: Need, a: tuple[Any, ...], b: tuple[Any, ...], what: str, operand: int = 1
) -> None:
    """Demand that two values have rows of the same shape."""
    mine, theirs = (printed(s[1:]) or "one value" for s in (a, b))
    message = f"{what}: of each row one is {mine}, the other {theirs}"
    hint = "`by_class` picks the values of each row's class" if len(a) == len(b) + 1 else None
    problem = Problem("SEG203", message, operand=operand, hint=hint)
    if len(a) != len(b):
        raise problem
    for left, right in zip(a[1:], b[1:], strict=True):
        if left != right:
            need.equal(left, right, problem)


def real(x: Tensor | Rowed, op: str, operand: int = 0) -> None:
    """Demand a tensor of real numbers with rows."""
    if not isinstance(x, Tensor) or x.dtype != "float":
        kind = f"{x.dtype} values" if isinstance(x, Tensor) else "no numbers of a network"
        raise Problem("SEG201", f"{op} compares real numbers, these are {kind}", operand=operand)
    if not x.shape:
        raise Problem("SEG201", f"{op} takes values of rows, this is one number", operand=operand)


class Difference(RowLoss):
    """Base of losses of the difference between two values of the same rows."""

    operands = ("x", "y")
    helpers = (*RowLoss.helpers, code.OUTLIERS)

    drop_above: float | None = attr(
        "rows with a target larger than this, either sign, cost nothing but count in the mean "
        "(DenseCap: 10)",
        None,
        min=0,
    )

    def shape(self, need: Need, *types: Any) -> Tensor:
        x, y = types
        real(x, self.name)
        real(y, self.name, 1)
        what = f"{self.name} compares values with their targets"
        same_rows(need, x.shape[0], y.shape[0], what)
        same_sizes(need, x.shape, y.shape, what)
        if self.drop_above is not None and len(x.shape) < 2:
            message = f"`drop_above` is for rows of several values, these are {printed(x.shape)}"
            raise Problem("SEG201", message, attr="drop_above")
        return Tensor(x.shape)

    def difference(self) -> Call:
        raise NotImplementedError

    def each(self, *types: Any) -> Expr:
        loss = self.difference()
        if self.drop_above is None:
            return loss
        return Call("without_outliers", (loss, X(1), self.drop_above))


@op("smooth_l1_loss")
class SmoothL1Loss(Difference):
    """Squares of small differences, absolute values of large ones (Fast R-CNN).

    l = d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere, d = x - y
    x, y: [R, ...] -> a number
    Caffe's sigma is 1 / sqrt(beta): sigma 3 is beta 1/9. With beta 0 it is the L1 loss.
    """

    beta: float = attr("where squares end", 1.0, min=0)

    def difference(self) -> Call:
        given = {"reduction": "none", "beta": self.beta}
        return Call("F.smooth_l1_loss", (X(0), X(1)), given, {"beta": 1.0})


@op("l1_loss")
class L1Loss(Difference):
    """Absolute differences.

    l = |x - y|
    x, y: [R, ...] -> a number
    """

    def difference(self) -> Call:
        return Call("F.l1_loss", (X(0), X(1)), {"reduction": "none"})


@op("l2_loss")
class L2Loss(Difference):
    """Squared differences (without the factor 1/2 of Caffe's EuclideanLoss).

    l = (x - y)^2
    x, y: [R, ...] -> a number
    `row_weights` leave out what is not known: joints that are not labelled, images without a box.
    """

    def difference(self) -> Call:
        return Call("F.mse_loss", (X(0), X(1)), {"reduction": "none"})


@op("l2_penalty")
class L2Penalty(RowLoss):
    """Squares of values that shall stay small (DenseCap's pull of boxes to their anchors).

    l = x^2
    x: [R, ...] -> a number
    """

    def shape(self, need: Need, *types: Any) -> Tensor:
        real(types[0], self.name)
        return Tensor(types[0].shape)

    def each(self, *types: Any) -> Expr:
        return Method(X(0), "square")


@op("giou_loss")
class GiouLoss(RowLoss):
    """1 - generalised intersection over union of boxes and their targets (Rezatofighi et al. 2019).

    l = 1 - |a & b| / |a | b| + |hull - (a | b)| / |hull|
    boxes, targets: [R, 5] -> a number; `none`: [R]
    """

    operands = ("boxes", "targets")
    kinds = {"boxes": "boxes", "targets": "boxes"}
    helpers = (*RowLoss.helpers, code.GIOU)

    def shape(self, need: Need, *types: Any) -> Tensor:
        boxes, targets = types
        same_geometry(self.name, boxes, targets)
        if boxes.legacy:
            message = "giou_loss is for boxes without their last pixel (x2 - x1 wide)"
            raise Problem("SEG206", message, operand=0, hint="leave out `legacy`")
        what = "giou_loss compares boxes with their targets"
        same_rows(need, boxes.shape[0], targets.shape[0], what)
        return Tensor((boxes.shape[0],))

    def each(self, *types: Boxes) -> Expr:
        return Call("giou_values", (X(0), X(1)))


class Classification(RowLoss):
    """Base of losses that leave out rows by their label."""

    helpers = (*RowLoss.helpers, code.BALANCED)

    reduction: str = attr(
        REDUCTION + "; balanced: the mean over label 0 and the mean over the others, added",
        "mean",
        choices=(*WORDS, "balanced"),
    )

    def expr(self, *types: Any) -> Expr:
        if self.reduction == "balanced":
            return Call("balanced_loss", (self.each(*types[:2]), X(1)))
        return super().expr(*types)


@op("bce_loss")
class BceLoss(Classification):
    """Binary cross entropy of logits (torch's binary_cross_entropy_with_logits).

    l = max(x, 0) - x t + log(1 + exp(-|x|))
    logits, targets in 0..1: [R, ...] -> a number
    """

    operands = ("logits", "targets")
    helpers = (*Classification.helpers, code.BCE)

    ignored: float | None = attr("target of the values that are left out: -1", None)

    def shape(self, need: Need, *types: Any) -> Tensor:
        logits, targets = types
        real(logits, self.name)
        if not isinstance(targets, Tensor):
            raise Problem("SEG201", "bce_loss compares logits with numbers", operand=1)
        what = "bce_loss compares logits with their targets"
        same_sizes(need, (0, *logits.shape[1:]), (0, *targets.shape[1:]), what)
        same_rows(need, logits.shape[0], targets.shape[0], what)
        return Tensor(logits.shape)

    def each(self, *types: Any) -> Expr:
        return Call("bce_values", (X(0), X(1)), {"ignored": self.ignored}, {"ignored": None})

    def kept(self) -> Expr | None:
        return None if self.ignored is None else Method(X(1), "ne", (self.ignored,))


@op("ce_loss")
class CeLoss(Classification):
    """Softmax and cross entropy of logits and labels.

    l = log(sum_k exp x[k]) - x[label]
    logits: [R, ..., K], labels: [R, ...] -> a number; `none`: [R, ...]
    A sequence [R, T, K] is summed over time and averaged over rows by `reduction: sum`,
    `per:` its labels; keypoints are the classes h * w of [R, joints, h * w].
    """

    operands = ("logits", "labels")

    ignore_index: int = attr("label of the rows that are left out", -1)
    axis: int = attr("where the classes are", -1)

    def shape(self, need: Need, *types: Any) -> Tensor:
        logits, labels = types
        real(logits, self.name)
        if not isinstance(labels, Tensor) or labels.dtype != "int":
            message = "ce_loss compares logits with labels, whole numbers"
            raise Problem("SEG201", message, operand=1, hint="`matched_labels` makes them")
        if len(logits.shape) < 2:
            message = "ce_loss takes a score for each class, [R, ..., K]; this is "
            raise Problem("SEG201", message + printed(logits.shape), operand=0)
        axis = self._axis(logits)
        what = "ce_loss compares logits with their labels"
        shape = (*logits.shape[:axis], *logits.shape[axis + 1 :])
        same_rows(need, shape[0], labels.shape[0] if labels.shape else 1, what)
        same_sizes(need, shape, labels.shape, f"{what} (classes left out)")
        return Tensor(labels.shape)

    def _axis(self, logits: Tensor) -> int:
        axis = axis_of(self.axis, len(logits.shape), "axis")
        if axis == 0:
            message = "the first axis has the rows, not the classes"
            raise Problem("SEG210", message, attr="axis", hint="-1 is the last axis")
        return axis

    def each(self, *types: Any) -> Expr:
        axis = self._axis(types[0])
        logits = X(0) if axis == 1 else Method(X(0), "movedim", (axis, 1))
        given = {"reduction": "none", "ignore_index": self.ignore_index}
        return Call("F.cross_entropy", (logits, X(1)), given, {"ignore_index": -100})

    def kept(self) -> Expr | None:
        return Method(X(1), "ne", (self.ignore_index,))


@op("focal_loss")
class FocalLoss(RowLoss):
    """Focal loss of sigmoids, one for each class (Lin et al. 2017).

    l = -alpha (1 - p)^gamma log p for the label's class, -(1 - alpha) p^gamma log(1 - p) else
    logits: [R, K], labels: [R], 0 for background, -1 left out -> a number; `none`: [R, K]
    """

    operands = ("logits", "labels")
    helpers = (*RowLoss.helpers, code.FOCAL)

    alpha: float = attr("weight of the label's class, the others have 1 - alpha", 0.25)
    gamma: float = attr("how much less what is nearly right counts", 2.0, min=0)
    background: str = attr(
        "first: background has logits too, the first (torchvision); none: it has none",
        "first",
        choices=("first", "none"),
    )

    def shape(self, need: Need, *types: Any) -> Tensor:
        logits, labels = types
        real(logits, self.name)
        if len(logits.shape) != 2:
            message = "focal_loss takes a score for each class, [R, K]; this is "
            raise Problem("SEG201", message + printed(logits.shape), operand=0)
        if not isinstance(labels, Tensor) or labels.dtype != "int" or len(labels.shape) != 1:
            message = "focal_loss compares logits with the label of each row, a whole number"
            raise Problem("SEG201", message, operand=1, hint="`matched_labels` makes them")
        what = "focal_loss compares logits with their labels"
        same_rows(need, logits.shape[0], labels.shape[0], what)
        return Tensor(logits.shape)

    def each(self, *types: Any) -> Expr:
        first = int(self.background == "none")
        return Call("focal_values", (X(0), X(1), self.alpha, self.gamma, first))

    def kept(self) -> Expr | None:
        return Method(X(1), "ge", (0,))
