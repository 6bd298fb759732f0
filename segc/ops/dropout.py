"""Random zeros in training, nothing in evaluation."""

from __future__ import annotations

from typing import ClassVar

from segc.code import Call
from segc.op import Example, Need, Op, Style, attr, op
from segc.ops.common import feature_map, ranked
from segc.types import Tensor


class _Dropout(Op):
    """Has a module of its own because it behaves differently in training and evaluation."""

    stateful = True
    stored = False
    layer: ClassVar[str] = ""  # the torch.nn class

    p: float = attr("the share that is dropped", 0.5, min=0, max=1)
    examples = (Example({"p": 0.25}, ((2, 3, 4, 5),)), Example({}, ((2, 3, 4, 5),)))

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(1, 9)), "a tensor")
        return x

    def module(self, x: Tensor) -> Call:
        return Call(self.layer, (self.p,))

    @property
    def style(self) -> Style:
        return Style("act", f"{self.name.replace('_', ' ')} {self.p:g}")


@op("dropout")
class Dropout(_Dropout):
    """Drop values at random (torch.nn.Dropout).

    y = x * mask / (1 - p), each mask value 0 with probability p and else 1; evaluation: y = x
    x: any shape -> the same
    """

    layer = "nn.Dropout"


@op("dropout2d")
class Dropout2d(_Dropout):
    """Drop whole channels at random (torch.nn.Dropout2d).

    y[n,c] = x[n,c] * mask[n,c] / (1 - p), mask 0 with probability p; evaluation: y = x
    x: [N, C, H, W] -> the same
    """

    layer = "nn.Dropout2d"

    def infer(self, need: Need, x: Tensor) -> Tensor:
        feature_map(x, self.name)
        return x


@op("alpha_dropout")
class AlphaDropout(_Dropout):
    """Drop values at random, keeping mean and variance, for `selu` (torch.nn.AlphaDropout).

    y = a * (x where kept, -1.7581 where dropped) + b, with a and b that restore both moments
    x: any shape -> the same
    """

    layer = "nn.AlphaDropout"


@op("feature_alpha_dropout")
class FeatureAlphaDropout(_Dropout):
    """Drop whole channels at random, keeping mean and variance (torch.nn.FeatureAlphaDropout).

    y[n,c] = a * (x[n,c] if kept, -1.7581 if dropped) + b, with a and b that restore both moments
    x: [N, C, ...] -> the same
    """

    layer = "nn.FeatureAlphaDropout"

    def infer(self, need: Need, x: Tensor) -> Tensor:
        ranked(x, self.name, tuple(range(2, 9)), "a tensor [N, C, ...]")
        return x
