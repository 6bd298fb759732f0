"""Masks of regions: cropped from ground truth, pasted into the image, voted."""
