"""fuse_unpool: a max unpooling and the convolution that reads it become one layer.

The layer convolves the pooled map by its indices: the products are those of the convolution of the
unpooled map, y[o] = bias + sum over c, t of w[o,c,t] U[c, o - p + d t], where U is x at the places
the indices say and zero elsewhere. On CUDA devices Triton kernels do it without writing U, and so
do those of its gradients, which need the pooled map only; elsewhere it is the two steps.
"""

from __future__ import annotations

from dataclasses import replace

from segc.ir import Graph
from segc.op import attr
from segc.patterns import fused_unpool
from segc.transforms.base import Transform, rewritten, transform, without_idle_inits

FUSED = {"conv2d": "unpool_conv2d", "conv_transpose2d": "unpool_conv_transpose2d"}


@transform("fuse_unpool")
class FuseUnpool(Transform):
    """Unpool and convolve in one layer, in training too: nothing is stored of the unpooled map.

    For convolutions and transposed convolutions (stride 1, one group) that alone read a
    max_unpool2d of windows that do not overlap. Weights, their names and gradients stay as they
    are. On CUDA devices with Triton the unpooled map, as large as the window times the pooled one,
    is never written; on a CPU nothing changes but the code. The folder gets unpool_conv.py and
    unpool_kernels.py.
    """

    layers: str | None = attr("the group, or the convolution; default: all", None)

    def apply(self, graph: Graph) -> Graph:
        what = "convolution that reads a max_unpool2d"
        fused = rewritten(graph, self.layers, fused_unpool, what)
        inits = dict(fused.inits)
        for plain, new in FUSED.items():
            if plain in inits and any(node.op.name == new for node in fused.nodes):
                inits[new] = inits[plain]
        return without_idle_inits(replace(fused, inits=inits), *FUSED)
