"""Rewrites that are part of an architecture: a spec asks for them under `transforms:`."""

from __future__ import annotations

from segc.transforms import stride_to_dilation  # noqa: F401
from segc.transforms.base import TRANSFORMS, Transform

__all__ = ["TRANSFORMS", "Transform"]
