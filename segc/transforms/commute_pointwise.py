"""commute_pointwise: a 1x1 convolution behind a resize moves in front of it.

One is linear over channels, the other over pixels, so conv(U x) = U conv(x), and the bias passes
because the shares with which a resized pixel reads its neighbours sum to 1. Both sides are one
function of weights and input, hence their gradients are equal too.
"""

from __future__ import annotations

from segc.ir import Graph
from segc.op import attr
from segc.patterns import commuted
from segc.transforms.base import Transform, rewritten, transform


@transform("commute_pointwise")
class CommutePointwise(Transform):
    """Convolve the small map and enlarge the result, in training too.

    For 1x1 convolutions (stride 1, no padding) that read an `interpolate`: nearest, bilinear or
    bicubic. Less work and memory by the ratio of the areas, unless the channels grow. Weights,
    their names and gradients stay as they are.
    """

    layers: str | None = attr("the group, or the convolution; default: all", None)

    def apply(self, graph: Graph) -> Graph:
        return rewritten(graph, self.layers, commuted, "1x1 convolution that reads an interpolate")
