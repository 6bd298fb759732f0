"""Rewrites that are part of an architecture: a spec asks for them under `transforms:`."""

from __future__ import annotations

from segc.transforms import (  # noqa: F401
    commute_pointwise,
    convolutionalise,
    freeze,
    fuse_unpool,
    replace_norm,
    stride_to_dilation,
    tie,
)
from segc.transforms.base import TRANSFORMS, Transform

__all__ = ["TRANSFORMS", "Transform"]
