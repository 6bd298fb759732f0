"""upsampling -> 1x1 conv => 1x1 conv -> upsampling

Both are linear, one over channels, one over pixels: conv(U x) = U conv(x). The shares with which
an upsampled pixel reads its neighbours sum to 1, so the bias passes. Exact for nearest, bilinear
and bicubic; the convolution then works on the small map. Only for a convolution with stride 1
and no padding; pays unless the channels grow more than the area.
"""

from __future__ import annotations

from segc.check import Checked
from segc.ir import Node
from segc.patterns import commuted
from segc.rewrite import Rewrite, Skip


def commute_pointwise(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """Convolve the small map, then enlarge the result."""
    found = commuted(checked.graph, node)
    if found is None or isinstance(found, str):
        return Skip(node.name, found) if found else None
    return Rewrite(put={node.name: found})
