"""Boxes: anchors and priors, encoding and decoding, clipping."""
