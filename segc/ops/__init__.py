"""The operators. Importing this package fills `segc.op.REGISTRY`; one module per family."""

from __future__ import annotations

from segc.op import REGISTRY
from segc.ops import (
    act,
    assign,
    basic,
    boxes,
    cascade,
    conv,
    crop,
    dropout,
    fused,
    fused_unpool,
    gradient,
    image,
    keypoints,
    local,
    masks,
    merge,
    norm,
    pad,
    points,
    pool,
    priors,
    recurrent,
    region,
    resize,
    row_losses,
    rows,
    sampling,
    select,
    shape,
    shuffle,
    unpool,
    warp,
    yolo,
    yolo_loss,
)

FAMILIES = (
    conv, pool, unpool, resize, norm, act, dropout, merge, crop, pad, shape, shuffle, image, basic,
    priors, boxes, select, assign, sampling, rows, gradient, region, warp, masks, cascade,
    keypoints, local, recurrent, row_losses, yolo, yolo_loss, points,
)  # fmt: skip
WITHOUT_NAMES = (fused, fused_unpool)  # optimisations and transforms put them in

__all__ = ["FAMILIES", "REGISTRY", "WITHOUT_NAMES"]
