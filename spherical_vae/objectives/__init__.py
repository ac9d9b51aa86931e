"""Bounds on log p(x)."""
