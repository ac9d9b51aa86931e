"""Ratios of gamma functions, without the difference of two large logarithms."""

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

# Above it Stirling's series, cut after the last coefficient, is exact to rounding in float64 too.
_STIRLING_FROM = 16.0
# B_2k / (2k (2k - 1)), of x^(1-2k); Abramowitz and Stegun (1964), 6.1.40.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_gamma_ratio(x: Float[Array, "*batch"], shift: float) -> Float[Array, "*batch"]:
    """Computes log Gamma(x + shift) - log Gamma(x).

    Args:
        x: > 0.
        shift: static, in [0, x].

    Returns:
        Nats, same shape.

    Gradients: all orders; the first is the difference of the two digamma functions.
    Accuracy: a few units of rounding of max(1, |value|), where log Gamma itself is far larger.
    """
    large = x >= _STIRLING_FROM
    above = jnp.where(large, x, _STIRLING_FROM)
    below = jnp.where(large, _STIRLING_FROM, x)
    series = (
        (above - 0.5) * jnp.log1p(shift / above)
        + shift * (jnp.log(above + shift) - 1.0)
        + (_tail(above + shift) - _tail(above))
    )
    return jnp.where(large, series, gammaln(below + shift) - gammaln(below))


def _tail(x: Array) -> Array:
    """Computes what Stirling's formula lacks of log Gamma(x)."""
    square = 1.0 / (x * x)
    total = jnp.zeros_like(x)
    for coefficient in reversed(_STIRLING):
        total = coefficient + square * total
    return total / x
