"""Losses of row sets, each with an explicit denominator."""
