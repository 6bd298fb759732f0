"""Boxes assigned to ground truth: matching, sampling, targets."""
