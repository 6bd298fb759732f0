"""max_unpool2d -> conv k, p, d => one layer that convolves the pooled map by its indices

The map between is zero but for one value in each window and channel, at the place its index says.
A product with tap t at output o needs position q = o - p + d t of that map, which is

    x[c, floor(q / s)]  where  indices[c, floor(q / s)] = q,  0 elsewhere.

On a CUDA device a Triton kernel does it tile by tile: pooled values and indices are read, the
unpooled map (s s as large) is never written. Same products, same weights under the same names.
For poolings whose windows do not overlap (stride = window, no padding) and convolutions or
transposed convolutions with stride 1 and one group, if nobody else reads the unpooled map.

On a CPU it stays two steps: unpooling is 1-6 % of the pair there, and every form of the pair in
plain PyTorch that was tried is slower (one x86 core, 3x3, 64 to 512 channels: masks and phases
x0.3-0.5, masks and a pixel shuffle x0.4-0.9 of its speed). So it is used from a GPU's balance on
(`--balance 100`) or by `--rule unpool_conv=on`.
"""

from __future__ import annotations

from segc.check import Checked
from segc.ir import Node
from segc.patterns import fused_unpool
from segc.rewrite import Rewrite, Skip

ON_CPU = "a CPU has no kernel for it and would do the same two steps; for a GPU give --balance 100"


def unpool_conv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A convolution of an unpooled map by a layer that never makes that map."""
    found = fused_unpool(checked.graph, node)
    if found is None or isinstance(found, str):
        return Skip(node.name, found) if found else None
    return Rewrite(put={node.name: found}, dear=ON_CPU)
