"""Distributions on the sphere: pure functions in `von_mises_fisher`, NumPyro classes on top.

Importing this registers the KL divergences with NumPyro. It needs neither Flax nor a data set.
"""

from spherical_vae.distributions import kl as _kl  # noqa: F401 - registers the divergences
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.distributions.hyperspherical_uniform import HypersphericalUniform
from spherical_vae.distributions.power_spherical import PowerSpherical
from spherical_vae.distributions.sphere_reparam import SphereReparam
from spherical_vae.distributions.vmf import VonMisesFisher

__all__ = [
    "HypersphericalUniform",
    "PowerSpherical",
    "SphereReparam",
    "VonMisesFisher",
    "von_mises_fisher",
]
