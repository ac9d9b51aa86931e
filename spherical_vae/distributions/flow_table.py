"""Derivative of a vMF cosine in the concentration, as a 2-D Chebyshev table.

NumPy only. A cosine w = tanh(a) carried along the quantiles of its law moves by

    da/dkappa = N(r, w0) / (m + kappa (1 + w)),

whichever sampler drew it (implicit reparameterisation; Figurnov et al. 2018). N is smooth, between
1 and 2.2 for every dimension and concentration. r is the signed root of the deviance,
r^2 / 2 = log p(0) - log p(u), a stand-in for the normal score of u that needs no distribution
function.
"""

from functools import lru_cache

import numpy as np

from spherical_vae.distributions.transport_table import log_density
from spherical_vae.special.chebyshev import chebyshev_nodes, fit_table
from spherical_vae.special.cosine_law import half_line

# Nodes in r and in w0 and what may be trimmed, by float type.
_SETTINGS = {"float32": (48, 40, 1e-7), "float64": (96, 80, 1e-11)}
# Below d = 5 the corner of small r and large w0 needs more nodes.
_SMALL_DIMENSION_NODES = (96, 80)
# |r| beyond this has probability below 1e-8; the table is used at its edge there.
DEVIANCE_RANGE = 6.0
_QUADRATURE_POINTS = 161


def _solve_deviance(r: np.ndarray, w0: np.ndarray, m: float) -> np.ndarray:
    """Solves log p(u) = -r^2 / 2 for u with the sign of r, by bisection on the monotone branch."""
    u_end = half_line(m, 1)[0][0] * 2.0 + DEVIANCE_RANGE**2 / m
    low, high = np.zeros_like(r), np.full_like(r, u_end)
    sign = np.sign(r)
    for _ in range(200):
        middle = (low + high) / 2.0
        outside = -2.0 * log_density(sign * middle, w0, m) > r**2
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        if np.all(high - low <= 4e-16 * high):
            break
    return sign * (low + high) / 2.0


def flow_factor(m: float, w0: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Computes N at u (same shape as w0), by quadrature from the nearer tail."""
    points, _ = half_line(m, 400)

    def tilt(x: np.ndarray) -> np.ndarray:
        tanh = np.tanh(x)
        return (tanh / (1.0 + w0[..., None] * tanh)) ** 2

    both = np.concatenate([-points[::-1], points])
    weights = np.exp(log_density(both, w0[..., None], m))
    mean_tilt = (tilt(both) * weights).sum(-1) / weights.sum(-1)
    # exp-sinh nodes on (0, inf): they resolve every decay scale that m and u can give.
    tau = np.linspace(-4.0, 4.0, _QUADRATURE_POINTS)
    x = np.exp(np.pi / 2.0 * np.sinh(tau)) / np.sqrt(m)
    dx = x * np.pi / 2.0 * np.cosh(tau) * (tau[1] - tau[0])
    side = np.where(u < 0, -1.0, 1.0)
    away = u[..., None] + side[..., None] * x
    decay = np.exp(log_density(away, w0[..., None], m) - log_density(u, w0, m)[..., None])
    tail = ((tilt(away) - mean_tilt[..., None]) * decay) @ dx
    # du/dw0 = -(dF/dw0) / p(u), the derivative of log p being -m w0 (tilt - its mean);
    # da/dw0 = 1 / (1 - w0^2) + du/dw0, and dkappa/dw0 = m (1 + w0^2) / (1 - w0^2)^2.
    growth = 1.0 - (1.0 - w0**2) * side * m * w0 * tail
    one_plus_cosine = 2.0 / (1.0 + (1.0 - w0) / (1.0 + w0) * np.exp(-2.0 * u))
    return growth * ((1.0 - w0**2) + w0 * one_plus_cosine) / (1.0 + w0**2)


@lru_cache(maxsize=128)
def flow_table(dimension: int, dtype_name: str) -> np.ndarray:
    """Computes the coefficients of N(r, w0).

    Args:
        dimension: d >= 2.
        dtype_name: "float32" or "float64", the type it will be evaluated in.

    Returns:
        Coefficients [I, J] over T_i(r / DEVIANCE_RANGE) and T_j(2 w0 - 1).
    """
    r_count, w0_count, tolerance = _SETTINGS[dtype_name]
    if dimension < 5:
        r_count, w0_count = _SMALL_DIMENSION_NODES
    m = dimension - 1.0
    r = DEVIANCE_RANGE * (2.0 * chebyshev_nodes(r_count) - 1.0)
    r, w0 = np.meshgrid(r, chebyshev_nodes(w0_count), indexing="ij")
    return fit_table(flow_factor(m, w0, _solve_deviance(r, w0, m)), tolerance)
