"""Layers of detection networks: locally connected convolution, scaled L2 norm."""
