"""Special functions of the von Mises-Fisher distribution: arrays in, arrays out.

No distributions and no random numbers live here.
"""

from spherical_vae.special.bessel import log_iv
from spherical_vae.special.concentration import (
    bessel_ratio,
    bessel_ratio_complement,
    bessel_ratio_derivative,
    entropy,
    inverse_bessel_ratio,
    kl_to_uniform,
    log_density_at_mode,
    log_normalizer,
    log_sphere_area,
)

__all__ = [
    "bessel_ratio",
    "bessel_ratio_complement",
    "bessel_ratio_derivative",
    "entropy",
    "inverse_bessel_ratio",
    "kl_to_uniform",
    "log_density_at_mode",
    "log_iv",
    "log_normalizer",
    "log_sphere_area",
]
