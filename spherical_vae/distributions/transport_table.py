"""The monotone map from a standard normal variate to the cosine law, as a 2-D Chebyshev table.

NumPy only; `sampling.py` evaluates the table in JAX. For a standard normal t the value y(t, w0)
with F_u(y / sqrt(m (1 + w0^2))) = Phi(t), F_u being the distribution function of u (see
`special/cosine_law.py`), is a smooth function, nearly t itself.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtri_exp, roots_legendre

from spherical_vae.special.chebyshev import chebyshev_nodes, fit_table
from spherical_vae.special.cosine_law import arccosh_of_exp, log_tilt_coefficient

# Largest |t| of the table, nodes in t and in w0, and what may be trimmed, by float type. A float32
# normal variate of JAX never exceeds 5.5; a float64 one passes 8.5 with probability 2e-17.
_SETTINGS = {"float32": (6.0, 64, 40, 1e-8), "float64": (8.5, 112, 72, 1e-13)}
_PANELS = 160
_GAUSS_POINTS = 20


def table_range(dtype_name: str) -> float:
    """Returns the |t| beyond which the table must not be evaluated."""
    return _SETTINGS[dtype_name][0]


def log_density(u: np.ndarray, w0: np.ndarray, m: float) -> np.ndarray:
    """Computes log p(u) up to a constant, 0 at the mode u = 0."""
    q = w0 * np.tanh(u)
    log_cosh = np.abs(u) + np.log1p(np.expm1(-2.0 * np.abs(u)) / 2.0)
    return -m * (log_cosh + q * q * log_tilt_coefficient(q))


def normal_scores_to_cosine_law(m: float, w0: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Solves F_u(u; w0) = Phi(t) for u at every pair of w0 and t, to about 1e-14.

    Distribution functions are integrated from both tails by Gauss-Legendre panels and compared as
    normal scores, in which Newton's iteration is nearly exact from the first step.
    """
    nodes, weights = roots_legendre(_GAUSS_POINTS)
    nodes, weights = (nodes + 1.0) / 2.0, weights / 2.0
    # The density is below exp(-m log cosh u): this end leaves less than 1e-21 outside.
    end = arccosh_of_exp(50.0 / m)
    edges = np.linspace(-end, end, _PANELS + 1)
    width = edges[1] - edges[0]
    inside = edges[:-1, None] + width * nodes
    w0 = w0[:, None]
    density = np.exp(log_density(inside.reshape(1, -1), w0, m))
    panels = (density.reshape(len(w0), _PANELS, -1) @ weights) * width
    lower = np.concatenate([np.zeros_like(w0), np.cumsum(panels, 1)], 1)
    upper = np.concatenate([np.cumsum(panels[:, ::-1], 1)[:, ::-1], np.zeros_like(w0)], 1)
    total = lower[:, -1:]

    def normal_score(below: np.ndarray, above: np.ndarray) -> np.ndarray:
        return np.where(
            below < above, ndtri_exp(np.log(below / total)), -ndtri_exp(np.log(above / total))
        )

    with np.errstate(divide="ignore"):
        scores = normal_score(lower, upper)
    u = np.stack([np.interp(t, row[1:-1], edges[1:-1]) for row in scores])
    panel = np.stack([np.searchsorted(row[1:-1], t) for row in scores])
    for _ in range(5):
        left = edges[panel]
        step = u - left
        points = left[..., None] + step[..., None] * nodes
        part = step * (np.exp(log_density(points, w0[..., None], m)) @ weights)
        score = normal_score(
            np.take_along_axis(lower, panel, 1) + part, np.take_along_axis(upper, panel, 1) - part
        )
        log_slope = log_density(u, w0, m) - np.log(total) + score**2 / 2 + np.log(2 * np.pi) / 2
        u = u - (score - t) * np.exp(-log_slope)
    return u


@lru_cache(maxsize=128)
def transport_table(dimension: int, dtype_name: str) -> np.ndarray:
    """Computes the coefficients of y(t, w0).

    Args:
        dimension: d >= 3.
        dtype_name: "float32" or "float64", the type it will be evaluated in.

    Returns:
        Coefficients [I, J] over the Chebyshev polynomials T_i(t / range) and T_j(2 w0 - 1),
        trailing rows and columns below the tolerance of the type removed.
    """
    limit, t_count, w0_count, tolerance = _SETTINGS[dtype_name]
    m = dimension - 1.0
    t = limit * (2.0 * chebyshev_nodes(t_count) - 1.0)
    w0 = chebyshev_nodes(w0_count)
    y = normal_scores_to_cosine_law(m, w0, t) * np.sqrt(m * (1.0 + w0[:, None] ** 2))
    return fit_table(y.T, tolerance)
