"""Growth of a ratio of gamma functions, without the difference of two large logarithms."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spherical_vae.special.arguments import not_negative
from spherical_vae.special.derivatives import with_derivative

# From here on Stirling's series, cut after the last coefficient, is exact to rounding in float64.
_STIRLING_FROM = 16.0
# B_2k / (2k (2k - 1)), of x^(1-2k); Abramowitz and Stegun (1964), 6.1.40.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


@partial(jax.jit, static_argnums=0)
def gamma_ratio_slope(half: float, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Computes digamma(x + 2 half) - digamma(x + half); arguments as `gamma_ratio_growth`.

    Gradients: all orders.
    Accuracy: a few units of rounding of the value; all parts of size are positive.
    """
    x = not_negative(x)
    steps, y = _lifted(half)
    low, high = y + x, (y + half) + x
    value = jnp.log1p(half / low) + (0.5 / low) * (half / high)
    value += _tail_slope(high) - _tail_slope(low)
    for step in range(steps):
        below = (half + step) + x
        value += (half / below) * (1.0 / (below + half))
    return value


@with_derivative(gamma_ratio_slope)
def gamma_ratio_growth(half: float, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Computes log(Gamma(x + 2 half) / Gamma(x + half)) less its value at x = 0.

    Args:
        half: > 0, static.
        x: >= 0.

    Returns:
        Nats >= 0, same shape; inf at inf, NaN below 0.

    Gradients: all orders; the first is `gamma_ratio_slope`.
    Accuracy: a few units of rounding of max(1, value).
    """
    x = not_negative(x)
    steps, y = _lifted(half)
    infinite = x == jnp.inf
    x = jnp.where(infinite, 0.0, x)
    # x log1p(half / x) has reached its limit long before a square could overflow.
    bounded = jnp.minimum(x, 1e18 if x.dtype == jnp.float32 else 1e150)
    z = y + half
    value = (
        half * jnp.log1p(x / z)
        - (y - 0.5) * jnp.log1p((half / y) * (x / (z + x)))
        + bounded * jnp.log1p(half / (y + bounded))
        + (_tail(z + x) - _tail(y + x) + (_tail(y) - _tail(z)))
    )
    # Gamma(x) = Gamma(x + 1) / x, `steps` times.
    for step in range(steps):
        below = half + step
        value += jnp.log1p((half / below) * (x / (below + half + x)))
    return jnp.where(infinite, jnp.inf, value)


def _lifted(half: float) -> tuple[int, float]:
    """Returns how often the recurrence is used, and `half` so much higher."""
    steps = max(0, math.ceil(_STIRLING_FROM - half))
    return steps, half + steps


def _tail(x: Array | float) -> Array | float:
    """Computes what Stirling's formula lacks of log Gamma(x)."""
    inverse = 1.0 / x
    square = inverse * inverse
    total = 0.0 * square
    for coefficient in reversed(_STIRLING):
        total = coefficient + square * total
    return total * inverse


def _tail_slope(x: Array) -> Array:
    inverse = 1.0 / x
    square = inverse * inverse
    total = 0.0 * square
    for k in range(len(_STIRLING), 0, -1):
        total = (1 - 2 * k) * _STIRLING[k - 1] + square * total
    return total * square
