"""The logarithm of the modified Bessel function of the first kind, of any real order >= 0.

With m = 2 order + 1 and w0 = 2 x / (m + sqrt(m^2 + 4 x^2)) (see `cosine_law.py`),

    log I_v(x) = v log w0 + x w0 + log((1 - w0^2) / (1 + w0^2)) / 2 + zeta(w0) + constant(v),

zeta being the small, smooth correction to Laplace's method, a Chebyshev series in w0. The terms
cancel around the zero of log I_v; there the function is (x - zero) Q(w0), Q another such series.
"""

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spherical_vae.special import decimal_bessel
from spherical_vae.special.arguments import Numbers, as_float, working_dtype
from spherical_vae.special.chebyshev import Series, evaluate_series, fit_series
from spherical_vae.special.concentration import mode, ratio_core
from spherical_vae.special.cosine_law import log_laplace_correction
from spherical_vae.special.derivatives import with_derivative
from spherical_vae.system.errors import UserError

# The zero of log I_v lies near x = 0.66 v. Around it, from here to there in x / zero, the terms
# would cancel to more than 4 units in the last place. Below this order they are too small to.
_WINDOW = (0.52, 2.2)
# The series is fitted a little beyond: Clenshaw's recurrence is least accurate at its ends.
_FIT_WINDOW = (0.45, 2.6)
_WINDOW_ORDER = 0.3
_WINDOW_NODES = 36


class _Window(NamedTuple):
    """log I_v(x) = (x - high - low) Q on [left, right], Q over w0 from w0_left to w0_right."""

    left: float
    right: float
    high: float
    low: float
    w0_left: float
    w0_right: float
    quotient: Series


def _w0(order: float, x: float) -> float:
    ratio = 2.0 * x / (2.0 * order + 1.0)
    return ratio / (1.0 + math.hypot(1.0, ratio))


@lru_cache(maxsize=64)
def _constant(order: float) -> float:
    """Computes (v - 1/2) log(v + 1/2) - log Gamma(v + 1/2), rounded once."""
    with localcontext() as context:
        context.prec = 45
        v, half = Decimal(order), Decimal("0.5")
        return float((v - half) * (v + half).ln() - decimal_bessel.log_gamma(v + half))


@lru_cache(maxsize=64)
def _correction_series(order: float) -> Series:
    # A logarithm near 0, known to the rounding of 1.
    return fit_series(log_laplace_correction(2.0 * order + 1.0), noise=1e-16)


@lru_cache(maxsize=64)
def _window(order: float, dtype_name: str) -> _Window:
    """Tabulates Q; 10 ms at small orders, 0.1 s at order 2000, linear beyond."""
    exact_order = Decimal(order)
    zero = decimal_bessel.log_iv_zero(exact_order, Decimal(0.6627434 * order + 1.0))
    high = float(np.dtype(dtype_name).type(zero))
    left, right = _WINDOW[0] * high, _WINDOW[1] * high
    w0_left, w0_right = (_w0(order, edge * high) for edge in _FIT_WINDOW)

    def quotient(w0: Decimal) -> Decimal:
        point = (2 * exact_order + 1) * w0 / (1 - w0 * w0)
        return decimal_bessel.log_iv(exact_order, point) / (point - zero)

    series = decimal_bessel.chebyshev_coefficients(
        quotient, Decimal(w0_left), Decimal(w0_right), _WINDOW_NODES
    )
    low = float(zero - Decimal(high))
    return _Window(left, right, high, low, w0_left, w0_right, series)


def _log_iv_slope(order: float, x: Array) -> Array:
    # I_v' / I_v = I_(v+1) / I_v + v / x
    ratio = ratio_core(2.0 * order + 2.0, x)
    return ratio if order == 0.0 else ratio + order / x


@with_derivative(_log_iv_slope)
def _log_iv(order: float, x: Array) -> Array:
    m = 2.0 * order + 1.0
    infinite = x == jnp.inf
    x = jnp.where(infinite, 1.0, x)
    w0, gap = mode(m + 1.0, x)
    correction = evaluate_series(_correction_series(order), w0)
    value = x * w0 + (
        0.5 * jnp.log(jnp.maximum(gap / (1.0 + w0 * w0), jnp.finfo(x.dtype).tiny))
        + (correction + _constant(order))
    )
    if order == 0.0:
        return jnp.where(infinite, jnp.inf, value)
    value = jnp.where(infinite, jnp.inf, value)
    # Below the first limit w0 is x / m, and might be too small for a normal number.
    tiny = x < 1e-20
    log_w0 = jnp.log(jnp.where(tiny, x, w0)) - jnp.where(tiny, math.log(m), 0.0)
    # An order that the type would round to 0 still leaves 0 at x = 0.
    value = max(order, float(jnp.finfo(x.dtype).tiny)) * log_w0 + value
    if order < _WINDOW_ORDER:
        return value
    window = _window(order, x.dtype.name)
    position = (w0 - window.w0_left) * (1.0 / (window.w0_right - window.w0_left))
    quotient = evaluate_series(window.quotient, jnp.clip(position, 0.0, 1.0))
    # Two products: XLA would fold (x - high) - low into x - (high + low).
    near_zero = (x - window.high) * quotient - window.low * quotient
    near = (x > window.left) & (x < window.right) & ~infinite
    return jnp.where(near, near_zero, value)


def log_iv(order: float | int, x: Numbers) -> Float[Array, "*batch"]:
    """Computes log I_order(x), the modified Bessel function of the first kind.

    Args:
        order: any real number >= 0, static (a Python or NumPy number, not a traced array).
        x: >= 0, any shape; a negative one gives NaN.

    Returns:
        Same shape; -inf at x = 0 where order > 0, inf at inf.

    Raises:
        UserError: `order` is negative, not finite, or no static number; x is not of real numbers.

    Gradients: all orders in x. None in `order`.
    Accuracy: within 4 eps max(1, |value|), also around the zero of the function.
    Source: docs/vmf.md.
    """
    try:
        static_order = float(order)
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError) as error:
        raise UserError(f"order must be a static number >= 0, got {order!r}") from error
    if not (static_order >= 0.0 and math.isfinite(static_order)):
        raise UserError(f"order must be a finite number >= 0, got {static_order}")
    array = as_float(x, "x")
    return _log_iv(static_order, array.astype(working_dtype(array.dtype))).astype(array.dtype)
