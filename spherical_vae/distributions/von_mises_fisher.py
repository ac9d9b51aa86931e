"""The von Mises-Fisher distribution as pure functions; the NumPyro class is built on them.

p(z) = C_d(kappa) exp(kappa mean_direction . z) on the unit sphere of R^d, with respect to surface
area. kappa = 0 is the uniform distribution.

Mean directions and values must be unit vectors. The functions neither check nor normalise them (a
caller that holds raw vectors divides by the norm, and gets the right gradient through that
division); the class `VonMisesFisher` checks, as NumPyro does by default.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Real

from spherical_vae.distributions.sampling import sample_with_tan_half
from spherical_vae.errors import UserError
from spherical_vae.special import (
    bessel_ratio,
    entropy,
    kl_to_uniform,
    log_density_at_mode,
)
from spherical_vae.special.arguments import as_float, check_dimension, working_dtype
from spherical_vae.special.concentration import inverse_of_pair

METHODS = ("transport", "wood")

__all__ = [
    "METHODS",
    "bessel_ratio",
    "entropy",
    "fit",
    "kl_to_uniform",
    "log_density_at_mode",
    "log_prob",
    "sample",
]


def sample(
    key: Key[Array, ""],
    mean_direction: Float[Array, "*directions D"],
    concentration: Real[ArrayLike, "*concentrations"],
    sample_shape: tuple[int, ...] = (),
    method: str = "transport",
) -> Float[Array, "*shape"]:
    """Draws exact samples.

    Args:
        key: a typed key, `jax.random.key(seed)`.
        mean_direction: unit vectors, D >= 2.
        concentration: kappa >= 0, broadcast against the leading axes of `mean_direction`.
        sample_shape: axes of independent draws in front.
        method: "transport" carries a normal variate along the quantiles of the cosine, without
            rejection; at D = 2 and D = 4 it is the same as "wood". "wood" is the rejection sampler
            of Wood (1994), run until everything is accepted.

    Returns:
        Unit vectors [*sample_shape, *batch, D].

    Raises:
        UserError: D < 2, or an unknown method.

    Gradients: pathwise in `mean_direction` and `concentration`, exact and unbiased for either
        method (see `sampling.py`), in forward and reverse mode.
    Accuracy: norms within 1e-6 of 1 in float32; the distribution function of the cosine is met
        within 4e-8 (transport) or exactly (wood).
    Source: Wood (1994), Simulation of the von Mises Fisher distribution; docs/vmf.md.
    """
    dimension = check_dimension(mean_direction.shape[-1])
    if method not in METHODS:
        raise UserError(f"unknown sampling method {method!r}; allowed: {', '.join(METHODS)}")
    kappa = as_float(concentration)
    dtype = mean_direction.dtype
    batch = jnp.broadcast_shapes(mean_direction.shape[:-1], kappa.shape)
    wide = working_dtype(dtype)
    z, _ = sample_with_tan_half(
        method,
        tuple(sample_shape),
        key,
        jnp.broadcast_to(mean_direction, (*batch, dimension)).astype(wide),
        jnp.broadcast_to(kappa, batch).astype(wide),
    )
    return z.astype(dtype)


def log_prob(
    value: Float[Array, "*values D"],
    mean_direction: Float[Array, "*directions D"],
    concentration: Real[ArrayLike, "*concentrations"],
) -> Float[Array, "*shape"]:
    """Computes the log density with respect to surface area.

    Args:
        value: unit vectors, D >= 2.
        mean_direction: unit vectors, leading axes broadcast against those of `value`.
        concentration: kappa >= 0, broadcast against the same axes.

    Returns:
        Nats, the broadcast leading axes.

    Raises:
        UserError: D < 2.

    Gradients: all orders in all three arguments. Off the sphere the function continues as
        -kappa |value - mean_direction|^2 / 2, not linearly: only the tangential part of a gradient
        has a meaning, and it is the same.
    Accuracy: the cosine enters as |value - mean_direction|^2 / 2, so nothing large is subtracted
        and a rounded norm costs only its square.
    """
    dimension = check_dimension(mean_direction.shape[-1])
    leading = jnp.broadcast_shapes(value.shape[:-1], mean_direction.shape[:-1])
    shape = (*leading, dimension)
    difference = jnp.broadcast_to(value, shape) - jnp.broadcast_to(mean_direction, shape)
    gap = 0.5 * (difference * difference).sum(-1)
    kappa = as_float(concentration).astype(gap.dtype)
    batch = jnp.broadcast_shapes(leading, kappa.shape)
    peak = jnp.broadcast_to(log_density_at_mode(dimension, kappa), batch)
    return peak - jnp.broadcast_to(kappa, batch) * jnp.broadcast_to(gap, batch)


def fit(
    values: Float[Array, "*batch N D"], weights: Float[Array, "*batch N"] | None = None
) -> tuple[Float[Array, "*batch D"], Float[Array, "*batch"]]:
    """Computes the maximum-likelihood mean direction and concentration.

    Args:
        values: unit vectors, N >= 1 of them.
        weights: >= 0, for instance responsibilities of a mixture; None weighs them alike.

    Returns:
        The mean direction [*batch, D] and kappa [*batch]. Where all values agree no kappa is the
        likeliest: it is then inf, or as large as their rounding allows. Where the mean is 0 no
        direction is: it is then NaN, and kappa 0. Weights that sum to 0 give NaN.

    Raises:
        UserError: D < 2.

    Gradients: in values and weights.
    Accuracy: that of the values: 1 - R, R the length of the mean, is the mean of
        |value - mean direction|^2 / 2, from which nothing large is subtracted.
    Source: Mardia and Jupp (2000), section 10.3.1.
    """
    dimension = check_dimension(values.shape[-1])
    if weights is None:
        weights = jnp.ones(values.shape[:-1], values.dtype)
    share = weights / weights.sum(-1, keepdims=True)
    mean = (share[..., None] * values).sum(-2)
    length = jnp.sqrt((mean * mean).sum(-1))
    direction = mean / length[..., None]
    distances = ((values - direction[..., None, :]) ** 2).sum(-1)
    complement = jnp.where(length > 0, 0.5 * (share * distances).sum(-1), 1.0)
    # Rounding may carry the length past 1.
    return direction, inverse_of_pair(dimension, jnp.minimum(length, 1.0), complement)
