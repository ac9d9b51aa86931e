"""The law of the cosine w = mean_direction . z in coordinates where nothing cancels; NumPy tables.

Notation, used throughout `special` and `distributions`: m = d - 1, R = sqrt(m^2 + 4 kappa^2),
w0 = 2 kappa / (m + R). w0 is tanh of the mode of a = atanh w, so kappa = m w0 / (1 - w0^2) and
1 - w0^2 = 2 m / (m + R). With u = a - atanh w0 and q = w0 tanh u the density of u is

    p(u) ~ cosh(u)^-m exp(m (q / (1 + q) - log1p q)),

smooth in w0 on [0, 1]: from the uniform law (w0 = 0) to the limit of large concentration (w0 = 1).
`docs/vmf.md` derives it. Everything that `special` evaluates is a smooth function of w0, computed
here by the trapezoidal rule, which converges exponentially for this density, and then expanded in
Chebyshev polynomials. The sums are arranged so that each result keeps full relative accuracy.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from spherical_vae.special.chebyshev import Series, chebyshev_nodes, fit_series

# Half the trapezoidal points, w0 nodes: enough for 1e-15 at d = 2, the hardest case.
_POINTS = 800
_NODES = 192


class ConcentrationSeries(NamedTuple):
    """Series in w0 of the smooth parts of the closed forms (see `concentration.py`)."""

    ratio_defect: Series  # H: A = w0 (1 - (1 - w0^2) H)
    kl_factor: Series  # F: KL = (m / 2) log1p(F w0^2 / (1 - w0^2))
    ratio_slope: Series  # G = dA / dw0


def log_tilt_coefficient(q: np.ndarray) -> np.ndarray:
    """Returns psi(q) = (log1p(q) - q / (1 + q)) / q^2 for q > -1, exact to rounding near q = 0."""
    small = np.abs(q) < 0.25
    y = np.where(small, 0.5, q)
    psi: np.ndarray = (np.log1p(y) - y / (1 + y)) / y**2
    # In place and of these alone: most of the time in which a table is made.
    minus_q = -q[small]
    series = np.zeros_like(minus_q)
    for k in range(34, -1, -1):
        series *= minus_q
        series += (k + 1) / (k + 2)
    psi[small] = series
    return psi


def arccosh_of_exp(x: float) -> float:
    """Returns arccosh(exp(x)) without overflow."""
    return x + np.log1p(np.sqrt(-np.expm1(-2.0 * x)))


def half_line(m: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns midpoints u > 0 of a trapezoidal rule, and log cosh u, over all of cosh(u)^-m."""
    # The weight beyond it is below 1e-18.
    end = arccosh_of_exp(42.0 / m)
    u = (np.arange(points) + 0.5) * (end / points)
    return u, u + np.log1p(np.expm1(-2.0 * u) / 2.0)


class _Tilt(NamedTuple):
    """The paired integrand at each w0 [I, 1] and u > 0 [U]."""

    w0: np.ndarray
    tanh: np.ndarray
    q: np.ndarray
    weight: np.ndarray  # cosh(u)^-m
    right: np.ndarray  # log of what w0 multiplies it with, at +u
    left: np.ndarray  # and at -u
    step: float


def _tilt(m: float) -> _Tilt:
    w0 = chebyshev_nodes(_NODES)[:, None]
    u, log_cosh = half_line(m, _POINTS)
    tanh = np.tanh(u)
    q = w0 * tanh
    right = -m * q**2 * log_tilt_coefficient(q)
    left = -m * q**2 * log_tilt_coefficient(-q)
    return _Tilt(w0, tanh, q, np.exp(-m * log_cosh), right, left, u[1] - u[0])


def log_laplace_correction(m: float) -> np.ndarray:
    """Computes log(integral of p(u) over its Gaussian approximation at u = 0), at the w0 nodes."""
    tilt = _tilt(m)
    total = (tilt.weight * (np.exp(tilt.right) + np.exp(tilt.left))).sum(1) * tilt.step
    return np.log(total * np.sqrt(m * (1.0 + tilt.w0[:, 0] ** 2) / (2.0 * np.pi)))


@lru_cache(maxsize=256)
def concentration_series(dimension: float) -> ConcentrationSeries:
    """Computes the series for one dimension (any real number >= 2), in about 50 ms; cached."""
    m = dimension - 1.0
    w0, tanh, q, weight, right, left, _ = _tilt(m)
    # The density at +u and at -u, paired so that odd parts cancel analytically, not in rounding.
    right_weight, left_weight = weight * np.exp(right), weight * np.exp(left)
    total = (right_weight + left_weight).sum(1)
    skew = right - left
    difference = np.where(
        skew < 1.0, left_weight * np.expm1(np.minimum(skew, 1.0)), right_weight - left_weight
    )
    w0 = w0[:, 0]
    ratio_defect = (
        tanh * (2.0 * tanh * left_weight / (1.0 - q**2) - difference / (w0[:, None] * (1.0 + q)))
    ).sum(1) / total
    log_total = np.log1p(
        (weight * (np.expm1(right) + np.expm1(left))).sum(1) / (2.0 * weight.sum())
    )
    # KL = -(m / 2) log(1 - w0^2) + w0^2 P; folding P into the logarithm leaves nothing to cancel.
    smooth_kl = -m * ratio_defect - log_total / w0**2
    kl_factor = 1.0 + np.expm1(2.0 * w0**2 * smooth_kl / m) / w0**2
    second = (right_weight * (tanh / (1.0 + q)) ** 2 + left_weight * (tanh / (1.0 - q)) ** 2).sum(
        1
    ) / total
    ratio_slope = m * (1.0 + w0**2) * (second - (w0 * ratio_defect) ** 2)
    return ConcentrationSeries(*map(fit_series, (ratio_defect, kl_factor, ratio_slope)))
