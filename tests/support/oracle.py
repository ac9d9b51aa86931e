"""Reference values from mpmath at 50 digits; nothing of the package is used."""

from functools import cache
from typing import NamedTuple

import mpmath as mp


class Reference(NamedTuple):
    """Exact values for one dimension and concentration > 0."""

    ratio: mp.mpf
    ratio_complement: mp.mpf
    ratio_derivative: mp.mpf
    kl: mp.mpf
    kl_derivative: mp.mpf
    log_normalizer: mp.mpf
    log_density_at_mode: mp.mpf
    entropy: mp.mpf


def log_iv(order: float, x: float) -> mp.mpf:
    """Computes log I_order(x) from 0F1, whose series has positive terms only."""
    with mp.workdps(50):
        v, x = mp.mpf(order), mp.mpf(x)
        series = mp.log(_hypergeometric(v + 1, x * x / 4))
        return v * mp.log(x / 2) - mp.loggamma(v + 1) + series


def _hypergeometric(b: mp.mpf, z: mp.mpf) -> mp.mpf:
    return mp.hyp0f1(b, z, maxterms=10**7)


@cache
def reference(dimension: int, concentration: float) -> Reference:
    """Computes the closed forms straight from their definitions."""
    # The definitions subtract numbers of the size of kappa: 20 digits on top of the 50.
    with mp.workdps(70):
        kappa, d = mp.mpf(concentration), mp.mpf(dimension)
        v = d / 2 - 1
        z = kappa * kappa / 4
        low, high = _hypergeometric(v + 1, z), _hypergeometric(v + 2, z)
        ratio = kappa / d * high / low
        log_area = mp.log(2) + d / 2 * mp.log(mp.pi) - mp.loggamma(d / 2)
        log_normalizer = -mp.log(low) - log_area
        derivative = 1 - ratio**2 - (d - 1) / kappa * ratio
        return Reference(
            ratio,
            1 - ratio,
            derivative,
            kappa * ratio + log_normalizer + log_area,
            kappa * derivative,
            log_normalizer,
            log_normalizer + kappa,
            -(log_normalizer + kappa * ratio),
        )
