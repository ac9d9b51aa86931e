"""Distributions on the sphere."""

from spherical_vae.distributions import von_mises_fisher

__all__ = ["von_mises_fisher"]
