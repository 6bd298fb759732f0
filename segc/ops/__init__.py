"""The operators. Importing this package fills `segc.op.REGISTRY`; one module per family."""

from __future__ import annotations

from segc.op import REGISTRY
from segc.ops import (
    act,
    basic,
    conv,
    crop,
    dropout,
    fused,
    fused_unpool,
    image,
    merge,
    norm,
    pad,
    pool,
    resize,
    shape,
    shuffle,
    unpool,
)

FAMILIES = (
    conv, pool, unpool, resize, norm, act, dropout, merge, crop, pad, shape, shuffle, image, basic,
)  # fmt: skip
WITHOUT_NAMES = (fused, fused_unpool)  # optimisations and transforms put them in

__all__ = ["FAMILIES", "REGISTRY", "WITHOUT_NAMES"]
