"""The von Mises-Fisher distribution as pure functions; the NumPyro class is built on them.

p(z) = C_d(kappa) exp(kappa mean_direction . z) on the unit sphere of R^d, with respect to surface
area. kappa = 0 is the uniform distribution.

Arguments are arrays, numbers or lists of integers or floating-point numbers of any type; integers
get the default float type, and half precision is computed in float32.

Mean directions and values must be unit vectors, and others raise a `UserError`. Traced ones cannot
be looked at: there, a mean direction of another length gives NaN, and a value gives the density's
continuation off the sphere, of which `log_prob` tells. A caller that holds raw vectors divides by
the norm, and gets the right gradient through that division. Only `fit` divides by itself.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Real, UInt32

from spherical_vae.distributions.sampling import sample_with_tan_half
from spherical_vae.distributions.vectors import (
    as_unit_vectors,
    as_vectors,
    check_coordinates,
    gaps,
)
from spherical_vae.random.keys import as_key
from spherical_vae.special import (
    bessel_ratio,
    entropy,
    kl_to_uniform,
    log_density_at_mode,
)
from spherical_vae.special.arguments import Nested, as_float, result_dtype, working_dtype
from spherical_vae.special.concentration import inverse_of_pair
from spherical_vae.system.errors import UserError

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
    key: Key[Array, ""] | UInt32[Array, "2"],
    mean_direction: Real[ArrayLike, "*directions D"] | Nested,
    concentration: Real[ArrayLike, "*concentrations"] | Nested,
    sample_shape: tuple[int, ...] = (),
    method: str = "transport",
) -> Float[Array, "*shape"]:
    """Samples exactly.

    Args:
        key: one key, `jax.random.key(seed)`, or the raw words of one.
        mean_direction: unit vectors, D >= 2.
        concentration: kappa in [0, inf], broadcast against the leading axes of `mean_direction`; at
            inf every sample is the mean direction.
        sample_shape: leading axes of independent samples.
        method: "transport" carries a normal variate along the quantiles of the cosine, without
            rejection; at D = 2 and D = 4 it is the same as "wood". "wood" is the rejection sampler
            of Wood (1994), run until everything is accepted.

    Returns:
        Unit vectors [*sample_shape, *batch, D], of the type of `mean_direction`. NaN where the
        concentration is negative.

    Raises:
        UserError: D < 2, an unknown method, vectors that are not of unit length, not one key, or an
            argument that is not of real numbers.

    Gradients: pathwise in `mean_direction` and `concentration`, exact and unbiased for either
        method (see `sampling.py`), in forward and reverse mode.
    Accuracy: norms within 1e-6 of 1 in float32. "wood" is exact but for rounding; "transport" meets
        the distribution function of the cosine within 1e-6 in float32 (D = 1000: 3e-6), which is
        rounding too, and within 2e-12 in float64.
    Source: Wood (1994), Simulation of the von Mises Fisher distribution; docs/vmf.md.
    """
    if method not in METHODS:
        raise UserError(f"unknown sampling method {method!r}; allowed: {', '.join(METHODS)}")
    direction, valid = as_unit_vectors(mean_direction, "mean_direction")
    kappa = as_float(concentration, "concentration")
    if valid is not None:
        kappa, valid = jnp.broadcast_arrays(kappa, valid)
        kappa = jnp.where(valid, kappa, jnp.nan)
    return sample_unchecked(as_key(key), direction, kappa, tuple(sample_shape), method)


def sample_unchecked(
    key: Array,
    mean_direction: Array,
    concentration: Array,
    sample_shape: tuple[int, ...],
    method: str,
) -> Array:
    """Samples as `sample` does, of arguments that are known to be right."""
    batch = jnp.broadcast_shapes(mean_direction.shape[:-1], concentration.shape)
    wide = working_dtype(mean_direction.dtype)
    z, _ = sample_with_tan_half(
        method,
        sample_shape,
        key,
        jnp.broadcast_to(mean_direction, (*batch, mean_direction.shape[-1])).astype(wide),
        jnp.broadcast_to(concentration, batch).astype(wide),
    )
    return z.astype(mean_direction.dtype)


def log_prob(
    value: Real[ArrayLike, "*values D"] | Nested,
    mean_direction: Real[ArrayLike, "*directions D"] | Nested,
    concentration: Real[ArrayLike, "*concentrations"] | Nested,
) -> Float[Array, "*shape"]:
    """Computes the log density with respect to surface area.

    Args:
        value: unit vectors, D >= 2.
        mean_direction: unit vectors, leading axes broadcast against those of `value`.
        concentration: kappa in [0, inf], broadcast against the same axes.

    Returns:
        Nats, the broadcast leading axes, in the wider type of `value` and `mean_direction`. At
        kappa = inf the density is inf where the two are equal and 0 elsewhere.

    Raises:
        UserError: D < 2, or not the same in both; vectors that are not of unit length; an argument
            that is not of real numbers.

    Gradients: all orders in all three arguments. Off the sphere the function continues as
        -kappa |value - mean_direction|^2 / 2, not linearly: only the tangential part of a gradient
        has a meaning, and it is the same.
    Accuracy: the cosine enters as |value - mean_direction|^2 / 2, so nothing large is subtracted
        and a rounded norm costs only its square: an error of a few units of rounding of kappa times
        that, and of the log density at the mode. Where leading axes of `value` and of
        `mean_direction` are broadcast against each other (all pairs), matrix products take its
        place, in memory of the size of the result: kappa is then multiplied by an error of at most
        6e-11 sqrt(D) in float32, 7e-24 sqrt(D) in float64.
    """
    # Traced values are not looked at: reading them a second time would double the cost.
    z = as_unit_vectors(value, "value", check_traced=False).array
    direction, valid = as_unit_vectors(mean_direction, "mean_direction")
    kappa = as_float(concentration, "concentration")
    density = log_prob_unchecked(z, direction, kappa)
    if valid is not None:
        density = jnp.where(jnp.broadcast_to(valid, density.shape), density, jnp.nan)
    return density


@jax.jit
def log_prob_unchecked(value: Array, mean_direction: Array, concentration: Array) -> Array:
    """Computes what `log_prob` does, of arrays whose lengths are known to be right."""
    check_coordinates(value, "value", mean_direction.shape[-1], "mean_direction")
    dtype = result_dtype(value, mean_direction)
    wide = working_dtype(dtype)
    gap = gaps(value.astype(wide), mean_direction.astype(wide)).below_one
    kappa = concentration.astype(wide)
    batch = jnp.broadcast_shapes(gap.shape, kappa.shape)
    peak = jnp.broadcast_to(log_density_at_mode(value.shape[-1], kappa), batch)
    infinite = jnp.broadcast_to(kappa == jnp.inf, batch)
    kappa = jnp.broadcast_to(jnp.where(kappa == jnp.inf, 0.0, kappa), batch)
    gap = jnp.broadcast_to(gap, batch)
    return jnp.where(infinite & (gap > 0), -jnp.inf, peak - kappa * gap).astype(dtype)


def fit(
    values: Real[ArrayLike, "*batch N D"] | Nested,
    weights: Real[ArrayLike, "*batch N"] | Nested | None = None,
) -> tuple[Float[Array, "*batch D"], Float[Array, "*batch"]]:
    """Computes the maximum-likelihood mean direction and concentration.

    Args:
        values: vectors, N >= 1 of them, of any length > 0: each is divided by its norm.
        weights: >= 0, for instance responsibilities of a mixture; None weighs them alike.

    Returns:
        The mean direction [*batch, D] and kappa [*batch], float32 at least: half precision would
        not hold it. Where all values agree to rounding no
        kappa is the likeliest: it is then the largest that they can tell from others, where
        1 - A(kappa) is a sixteenth of the square of the type's spacing. Where the mean is 0 no
        direction is: it is then NaN, and kappa 0. Weights that sum to 0, and a zero vector of
        positive weight, give NaN.

    Raises:
        UserError: D < 2, weights of another shape, or an argument that is not of real numbers.

    Gradients: in values and weights.
    Accuracy: that of the values: 1 - R, R the length of the mean, is the mean of
        |value - mean direction|^2 / 2, from which nothing large is subtracted.
    Source: Mardia and Jupp (2000), section 10.3.1.
    """
    array = as_vectors(values, "values")
    if array.ndim < 2:
        raise UserError(f"values must have two axes at least, N and D, got the shape {array.shape}")
    shares = None if weights is None else as_float(weights, "weights")
    if shares is not None and shares.shape != array.shape[:-1]:
        raise UserError(f"weights must have the shape {array.shape[:-1]}, got {shares.shape}")
    direction, kappa = _fit(array, shares)
    return direction.astype(array.dtype), kappa


@jax.jit
def _fit(values: Array, weights: Array | None) -> tuple[Array, Array]:
    wide = working_dtype(values.dtype)
    spacing = float(jnp.finfo(values.dtype).eps)
    values = values.astype(wide)
    # Scaled first: a square must neither overflow nor vanish.
    largest = jax.lax.stop_gradient(jnp.abs(values).max(-1, keepdims=True))
    zero = largest == 0
    values = values / jnp.where(zero, 1.0, largest)
    values = values / jnp.sqrt(jnp.where(zero, 1.0, (values * values).sum(-1, keepdims=True)))
    if weights is None:
        weights = jnp.ones_like(values[..., 0])
    weights = jnp.where(zero[..., 0] & (weights != 0), jnp.nan, weights.astype(wide))
    share = weights / weights.sum(-1, keepdims=True)
    mean = (share[..., None] * values).sum(-2)
    square = (mean * mean).sum(-1)
    somewhere = square != 0
    length = jnp.where(somewhere, jnp.sqrt(jnp.where(somewhere, square, 1.0)), 0.0)
    direction = mean / jnp.where(somewhere, length, jnp.nan)[..., None]
    distances = ((values - direction[..., None, :]) ** 2).sum(-1)
    complement = jnp.where(somewhere, 0.5 * (share * distances).sum(-1), 1.0)
    complement = jnp.maximum(complement, spacing**2 / 16)
    # Rounding may carry the length past 1.
    kappa = inverse_of_pair(values.shape[-1], jnp.minimum(length, 1.0), complement)
    return direction, kappa
