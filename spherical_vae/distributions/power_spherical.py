"""The power spherical distribution of De Cao and Aziz (2020), the vMF's neighbour without a Bessel.

p(z) is proportional to (1 + mean_direction . z)^concentration.
"""

from functools import partial

import jax
import jax.numpy as jnp
from numpyro.distributions.util import validate_sample

from spherical_vae.distributions.directional import DirectionalDistribution
from spherical_vae.distributions.vectors import gaps, log_half, variance_by_coordinate
from spherical_vae.special import log_sphere_area
from spherical_vae.special.arguments import not_negative, result_dtype, working_dtype
from spherical_vae.special.gamma_ratio import gamma_ratio_growth, gamma_ratio_slope


class PowerSpherical(DirectionalDistribution):
    """Power spherical distribution on the unit sphere of R^d.

    Args:
        mean_direction: unit vectors [..., D].
        concentration: in [0, inf], broadcast against the leading axes; 0 is the uniform
            distribution, at inf all mass is at the mean direction. A negative one that is not
            validated gives NaN everywhere.

    Accuracy: log density and entropy to a few units of rounding of max(1, |value|), for every
        concentration. Samples are reparameterised in both parameters; the gradient in the
        concentration is JAX's of a gamma variate, in float32 finite everywhere and right up to 1e4.
    Source: De Cao and Aziz (2020), The Power Spherical distribution, (3)-(7).
    """

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> jax.Array:
        return _sample(key, self.mean_direction, self.concentration, sample_shape)

    @validate_sample
    def _log_prob(self, value: jax.Array) -> jax.Array:
        return _log_prob(value, self.mean_direction, self.concentration)

    def entropy(self) -> jax.Array:
        """Computes the differential entropy in nats, [*batch_shape]."""
        return _entropy(self.event_shape[0], self.concentration)

    @property
    def mean(self) -> jax.Array:
        """E[z] = concentration / (concentration + D - 1) mean_direction."""
        concentration = not_negative(self.concentration)
        infinite = jnp.isinf(concentration)
        finite = jnp.where(infinite, 1.0, concentration)
        # As 1 - (D - 1) / total it would lose all digits at a small concentration.
        shrinkage = jnp.where(infinite, 1.0, finite / (finite + (self.event_shape[0] - 1)))
        return (shrinkage[..., None] * self.mean_direction).astype(self.mean_direction.dtype)

    @property
    def variance(self) -> jax.Array:
        """The diagonal of the covariance of z, [*batch_shape, D]."""
        twice_beta = self.event_shape[0] - 1
        total = not_negative(self.concentration) + twice_beta
        low = 0.5 * twice_beta / total
        across = 2.0 * (1.0 - low) / (total + 1.0)
        along = 2.0 * low * across
        return variance_by_coordinate(along, across, self.mean_direction)


@partial(jax.jit, static_argnums=3)
def _sample(
    key: jax.Array, direction: jax.Array, concentration: jax.Array, sample_shape: tuple[int, ...]
) -> jax.Array:
    *batch, dimension = direction.shape
    dtype = working_dtype(direction.dtype)
    shape = (*sample_shape, *batch)
    beta = (dimension - 1) / 2
    concentration = not_negative(concentration)
    # At inf the gamma law has no variate; a NaN must end its loop, not spin it.
    lost = ~(concentration < jnp.inf)
    kappa = jnp.broadcast_to(jnp.where(lost, 1.0, concentration).astype(dtype), shape)
    key_alpha, key_beta, key_tangent = jax.random.split(_varying_as(key, kappa), 3)
    # (1 + w) / 2 is a beta variate G_alpha / (G_alpha + G_beta), and rounds to 1; the logarithm of
    # G_alpha / G_beta does not, and has a gradient everywhere.
    odds = jax.random.loggamma(key_alpha, kappa + beta, shape, dtype) - jax.random.loggamma(
        key_beta, jnp.full_like(kappa, beta), shape, dtype
    )
    odds = jnp.where(jnp.broadcast_to(lost, shape), concentration, odds)
    mean = jnp.broadcast_to(direction, (*shape, dimension)).astype(dtype)
    tangent = jax.random.normal(key_tangent, mean.shape, dtype)
    for _ in range(2):  # the second removes the rounding error of the first
        along = (tangent * mean).sum(-1, keepdims=True)
        tangent = tangent - along * mean
    tangent = tangent / jnp.linalg.norm(tangent, axis=-1, keepdims=True)
    small = jnp.exp(-0.5 * jnp.abs(odds))
    sine = 2.0 * small / (1.0 + small * small)
    z = jnp.tanh(0.5 * odds)[..., None] * mean + sine[..., None] * tangent
    return z.astype(direction.dtype)


def _varying_as(key: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the key, varying over those devices of `jax.shard_map` on which x varies."""
    zero = jnp.zeros_like(x, jnp.uint32).sum()
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(data + zero.astype(data.dtype), impl=jax.random.key_impl(key))


@jax.jit
def _log_prob(value: jax.Array, direction: jax.Array, concentration: jax.Array) -> jax.Array:
    dtype = result_dtype(value, direction)
    wide = working_dtype(dtype)
    # 1 - w and 1 + w
    gap, rest = gaps(value.astype(wide), direction.astype(wide))
    log_growth = log_half(gap, rest)
    concentration = concentration.astype(wide)
    finite = jnp.where(concentration == jnp.inf, 0.0, concentration)
    peak = log_density_at_mode(value.shape[-1], concentration)
    batch = jnp.broadcast_shapes(log_growth.shape, concentration.shape)
    peak, finite, concentration, log_growth, gap, rest = (
        jnp.broadcast_to(x, batch) for x in (peak, finite, concentration, log_growth, gap, rest)
    )
    # No density: opposite to the mode, and everywhere but at it where all mass is there.
    nowhere = ((concentration > 0) & (rest == 0)) | ((concentration == jnp.inf) & (gap > 0))
    return jnp.where(nowhere, -jnp.inf, peak + finite * log_growth).astype(dtype)


def log_density_at_mode(dimension: int, concentration: jax.Array) -> jax.Array:
    """Computes the log density at z = mean_direction, in nats."""
    return gamma_ratio_growth((dimension - 1) / 2, concentration) - log_sphere_area(dimension)


@partial(jax.jit, static_argnums=0)
def _entropy(dimension: int, concentration: jax.Array) -> jax.Array:
    infinite = concentration == jnp.inf
    finite = jnp.where(infinite, 0.0, concentration)
    # E log((1 + w) / 2) is minus the difference of two digamma functions: this slope.
    slope = gamma_ratio_slope((dimension - 1) / 2, finite)
    return jnp.where(infinite, -jnp.inf, finite * slope - log_density_at_mode(dimension, finite))
