"""E log((1 + nu . z) / 2) for a law of z around another direction mu: one integral over the angle.

Let z be at the angle theta from mu, its direction around mu uniform, and gamma the angle between
mu and nu. With T = tan(theta / 2) tan(gamma / 2) and a uniform unit vector t of R^(d-1),

    (1 + nu . z) / 2 = cos(theta / 2)^2 cos(gamma / 2)^2 |e_1 + T t|^2,

and the mean of log |e_1 + T t|^2 over t is h(T^2) for T <= 1 and 2 log T + h(1 / T^2) beyond, where

    h(s) = sum_k a_k s^k,    a_k = (n - 2) b_(k-1) / (k (2 k + n - 2)),    n = d - 1,
    b_k = (2 - n/2)_k / (n/2)_k,

from the Laplacian 2 (n - 2) / |x|^2 of log |x|^2 in R^n. What is left is the integral over theta.
It is taken in u = atanh(cos(theta)) less its mode, in which vMF and power spherical laws alike
decay as cosh(u)^-m (see `special/cosine_law.py`), to both sides of T = 1, where h is not smooth, by
the tanh-sinh rule. E log((1 + mu . z) / 2) does not depend on nu, and is taken around the mode.
"""

import math
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from spherical_vae.distributions.vectors import log_half
from spherical_vae.special.chebyshev import Series, chebyshev_nodes, evaluate_series, fit_series
from spherical_vae.special.concentration import mode
from spherical_vae.special.cosine_law import arccosh_of_exp

_TERMS = 4000
_SERIES_NODES = 64
# Nodes on each side of T = 1, and the log of what the tails may lack, by float type.
_RULE = {"float32": (320, 18.0), "float64": (800, 40.0)}
_RULE_END = 3.1


@partial(jax.jit, static_argnums=(0, 1))
def mean_log_half_turned(
    dimension: int, law: str, concentration: Array, below_one: Array, above_minus_one: Array
) -> Array:
    """Computes E log((1 + nu . z) / 2) less E log((1 + mu . z) / 2).

    Args:
        dimension: d >= 2.
        law: of z, "vmf" or "power_spherical".
        concentration: of the law, in [0, inf), [*batch].
        below_one: 1 - mu . nu, [*batch].
        above_minus_one: 1 + mu . nu, [*batch].

    Returns:
        Nats, [*batch].
    """
    kappa, gap, rest = (x[..., None] for x in (concentration, below_one, above_minus_one))
    found = _Mode.of(dimension, law, kappa)
    end, tail = found.ends()
    tiny = jnp.finfo(gap.dtype).tiny
    log_tan_square = jnp.log(jnp.maximum(gap, tiny)) - jnp.log(jnp.maximum(rest, tiny))
    # Of opposite directions T = 1 lies so far out that h is 0. Held where it is 0 to rounding, the
    # kink passes no slope on, which would overflow.
    kink = jnp.minimum(0.5 * log_tan_square - found.a0, end + 0.5 * tail)
    split = jnp.clip(kink, -end, end)
    away, weights = _rule(split, end)
    # log T^2 from the distance to the kink itself, which is known better than u.
    log_t_square = -2.0 * (away + (split - kink))
    u = split + away
    turned = jnp.where(
        log_t_square <= 0,
        log_half(gap, rest),
        jnp.log(jnp.maximum(gap, tiny)) - (2.0 * (found.a0 + u) + math.log(2.0)),
    )
    turned = turned + _mean_log_ring(dimension - 1, -jnp.abs(log_t_square))
    return (found.density(law, u, weights) * turned).sum(-1)


@partial(jax.jit, static_argnums=0)
def mean_log_half(dimension: int, concentration: Array) -> Array:
    """Computes E log((1 + mu . z) / 2) of a vMF law around mu.

    Args:
        dimension: d >= 2.
        concentration: in [0, inf), [*batch].

    Returns:
        Nats, [*batch].
    """
    found = _Mode.of(dimension, "vmf", concentration[..., None])
    end, _ = found.ends()
    # It has no kink: the nodes are around the mode.
    u, weights = _rule(jnp.zeros_like(found.a0), end)
    along = -jax.nn.softplus(-2.0 * (found.a0 + u))
    return (found.density("vmf", u, weights) * along).sum(-1)


class _Mode(NamedTuple):
    """A law of the cosine around its mode: m = d - 1, kappa, tanh(a0), 1 - tanh(a0) and a0."""

    m: int
    kappa: Array
    w0: Array
    one_minus_w0: Array
    a0: Array

    @classmethod
    def of(cls, dimension: int, law: str, kappa: Array) -> "_Mode":
        m = dimension - 1
        if law == "vmf":
            w0, w0_gap = mode(dimension, kappa)
            a0 = jnp.log((1.0 + w0) / jnp.sqrt(w0_gap))
            return cls(m, kappa, w0, w0_gap / (1.0 + w0), a0)
        a0 = 0.5 * jnp.log1p(kappa * (2.0 / m))
        return cls(m, kappa, kappa / (m + kappa), m / (m + kappa), a0)

    def ends(self) -> tuple[float, float]:
        """Returns where the tails are left off, from the mode, and the log of what they lack."""
        _, tail = _RULE[self.kappa.dtype.name]
        return arccosh_of_exp(tail / self.m), tail

    def density(self, law: str, u: Array, weights: Array) -> Array:
        """Returns the probabilities of the nodes u, from the mode."""
        m, w0, one_minus_w0 = self.m, self.w0, self.one_minus_w0
        tanh = jnp.tanh(u)
        q = w0 * tanh
        one_plus_q = one_minus_w0 + w0 * 2.0 * jax.nn.sigmoid(2.0 * u)
        # Where q is rounded to -1 the branch that is not taken would have a NaN as its gradient.
        small = jnp.abs(q) < 0.5
        log_one_plus_q = jnp.where(small, jnp.log1p(jnp.where(small, q, 0.0)), jnp.log(one_plus_q))
        log_cosh = jnp.abs(u) + jnp.log1p(0.5 * jnp.expm1(-2.0 * jnp.abs(u)))
        if law == "vmf":
            log_density = m * (q / one_plus_q - log_one_plus_q - log_cosh)
        else:
            growth = one_minus_w0 * tanh / one_plus_q
            log_growth = jnp.where(
                growth > -0.5,
                jnp.log1p(jnp.maximum(growth, -0.5)),
                math.log(2.0) - jax.nn.softplus(-2.0 * u) - log_one_plus_q,
            )
            log_density = self.kappa * log_growth - m * (log_one_plus_q + log_cosh)
        density = weights * jnp.exp(log_density)
        return density / density.sum(-1, keepdims=True)


def _rule(split: Array, end: float) -> tuple[Array, Array]:
    """Returns nodes on both sides of `split`, as distances from it, and their weights."""
    count, _ = _RULE[split.dtype.name]
    tau, step = np.linspace(-_RULE_END, _RULE_END, count, retstep=True)
    place = 1.0 / (1.0 + np.exp(-np.pi * np.sinh(tau)))
    weight = place / (1.0 + np.exp(np.pi * np.sinh(tau))) * np.cosh(tau) * (np.pi * step)
    axis = (1,) * (split.ndim - 1) + (-1,)
    places, steps = (jnp.asarray(x, split.dtype).reshape(axis) for x in (place, weight))
    lengths = split + end, end - split
    away = jnp.concatenate([-lengths[0] * places, lengths[1] * places], -1)
    return away, jnp.concatenate([lengths[0] * steps, lengths[1] * steps], -1)


def _mean_log_ring(n: int, log_s: Array) -> Array:
    """Computes h(s) for s in [0, 1]."""
    s = jnp.exp(log_s)
    if n == 1:
        return jnp.log(-jnp.expm1(log_s))
    if n == 2:
        return jnp.zeros_like(s)
    if n == 3:
        # (1 + s) artanh(sqrt s) / sqrt s + log(1 - s) - 1, and its series.
        small = s < 0.1
        root = jnp.sqrt(jnp.where(small, 0.5, s))
        near_one = jnp.where(small, -0.5, jnp.expm1(log_s))
        tail = jnp.maximum(-near_one, jnp.finfo(s.dtype).tiny)
        closed = ((1.0 + root) ** 2 * jnp.log1p(root) - _times_log(tail / (1.0 + root))) / (
            2.0 * root
        ) - 1.0
        series = jnp.polyval(jnp.asarray(_coefficients(3, 18)[::-1], s.dtype), s) * s
        return jnp.where(small, series, closed)
    return s * evaluate_series(_series(n), s)


def _times_log(x: Array) -> Array:
    return x * x * jnp.log(x)


def _coefficients(n: int, count: int) -> np.ndarray:
    """Returns a_1, a_2, .."""
    k = np.arange(count)
    b = np.concatenate([[1.0], np.cumprod((2 - n / 2 + k[:-1]) / (n / 2 + k[:-1]))])
    return (n - 2) * b / ((k + 1) * (2 * k + n))


@lru_cache(maxsize=64)
def _series(n: int) -> Series:
    """Returns h(s) / s as a Chebyshev series, n >= 4."""
    s = chebyshev_nodes(_SERIES_NODES)
    powers = s[:, None] ** np.arange(_TERMS)
    return fit_series(powers @ _coefficients(n, _TERMS))
