"""Rows chosen by score or overlap: top-k, non-maximum suppression, thresholds."""
