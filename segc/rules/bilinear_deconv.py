"""frozen bilinear conv_transpose k = 2s or 2s - 1, stride s => pad 1 -> interpolate x s -> cut

The window is diagonal over channels and, along each axis, the triangle 1 - |i - c| / s with
c = s - 1/2 or s - 1. So output n holds the linear interpolation of the map at (n + 1/2) / s - 1 or
(n + 1) / s - 1, zeros being where the map ends. With a rim of one zero these are the pixels
n + s/2 of an interpolation by s with half-pixel centres, or n + 1 of one that keeps the corners:

    interpolate(pad(x, 1)), s/2 (or 1) + padding rows cut off on every side.

For k = 2s with s even. Exact while the weights are what the spec says: `init: bilinear`, `freeze:
true`; from_model looks, and refuses others. C x C x k x k products a pixel become none.
"""

from __future__ import annotations

from segc.check import Checked
from segc.ir import Node, Ref
from segc.op import REGISTRY
from segc.ops.conv import ConvTranspose2d
from segc.rewrite import Move, Rewrite, Skip
from segc.rules.common import beside, layer


def bilinear_deconv(checked: Checked, node: Node) -> Rewrite | Skip | None:
    """A transposed convolution that only interpolates, as an interpolation."""
    op, owner = node.op, checked.graph.by_name[node.shared or node.name]
    if not isinstance(op, ConvTranspose2d) or "bilinear" not in (owner.init.get("weight") or ()):
        return None
    why = None if owner.freeze else "its weights are trained, they only start as bilinear ones"
    why = why or _other(checked, node, op)
    geometry = None if why else _geometry(op)
    if why or geometry is None:
        return Skip(
            node.name, why or "its window is not twice an even stride, or twice any less one"
        )
    scale, corners, cut = geometry
    rim, up = (beside(checked.graph, node, s) for s in ("rim", "up"))
    target = {"grow": scale, "align_corners": True} if corners else {"scale_factor": scale}
    new = (
        layer(node, rim, REGISTRY["pad"](padding=1), node.inputs[0]),
        layer(node, up, REGISTRY["interpolate"](mode="bilinear", **target), Ref(rim)),
        layer(node, node.name, REGISTRY["pad"](padding=-cut), Ref(up)),
    )
    return Rewrite(put={node.name: new}, moves=(Move("drop_bilinear", (node.name,)),))


def _other(checked: Checked, node: Node, op: ConvTranspose2d) -> str | None:
    """What else the layer does than to interpolate each channel."""
    if op.bias or op.dilation != (1, 1) or op.output_padding != (0, 0):
        return "it has a bias, a dilation or output padding"
    channels = checked.shape(node.inputs[0])[1]
    if channels != op.out_channels or op.groups not in (1, op.out_channels):
        return "it mixes channels"
    return None


def _geometry(op: ConvTranspose2d) -> tuple[int, bool, int] | None:
    """(s, whether corners are kept, rows to cut), if all is the same along both axes."""
    k, s, p = op.kernel_size[0], op.stride[0], op.padding[0]
    if (op.kernel_size, op.stride, op.padding) != ((k, k), (s, s), (p, p)) or s < 2:
        return None
    if k == 2 * s and s % 2 == 0:
        return s, False, s // 2 + p
    return (s, True, 1 + p) if k == 2 * s - 1 else None
