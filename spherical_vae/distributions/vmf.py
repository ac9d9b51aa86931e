"""The von Mises-Fisher distribution as a NumPyro distribution; all numerics are elsewhere."""

import jax
from jax.typing import ArrayLike
from numpyro.distributions.util import validate_sample

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.distributions.directional import DirectionalDistribution
from spherical_vae.distributions.vectors import variance_by_coordinate
from spherical_vae.special.arguments import Nested
from spherical_vae.system.names import require_name


class VonMisesFisher(DirectionalDistribution):
    """p(z) = C_d(kappa) exp(kappa mean_direction . z) on the unit sphere of R^d.

    Exact for every d >= 2 and concentration >= 0 (0 is the uniform distribution), in float32 too.
    Samples are reparameterised in both parameters, pathwise and unbiased.

    Args:
        mean_direction: unit vectors [..., D]. Not normalised here. NumPyro's validation, which is
            on by default, raises on others and gives values off the sphere a log_prob of -inf.
        concentration: kappa in [0, inf], broadcast against the leading axes of `mean_direction`;
            at inf all mass is at the mean direction.
        method: "transport" or "wood" (see `von_mises_fisher.sample`), static.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> d = VonMisesFisher(jnp.array([0.0, 0.0, 1.0]), jnp.array([1.0, 10.0]))
        >>> d.batch_shape, d.event_shape, d.sample(jax.random.key(0)).shape
        ((2,), (3,), (2, 3))
    """

    pytree_aux_fields = ("method",)

    def __init__(
        self,
        mean_direction: ArrayLike | Nested,
        concentration: ArrayLike | Nested,
        *,
        method: str = "transport",
        validate_args: bool | None = None,
    ) -> None:
        require_name("method", method, von_mises_fisher.METHODS)
        self.method = method
        super().__init__(mean_direction, concentration, validate_args=validate_args)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> jax.Array:
        return von_mises_fisher.sample_unchecked(
            key, self.mean_direction, self.concentration, sample_shape, self.method
        )

    @validate_sample
    def _log_prob(self, value: jax.Array) -> jax.Array:
        return von_mises_fisher.log_prob_unchecked(value, self.mean_direction, self.concentration)

    def entropy(self) -> jax.Array:
        """Computes the differential entropy in nats, [*batch_shape]."""
        return special.entropy(self.event_shape[0], self.concentration)

    @property
    def mean(self) -> jax.Array:
        """E[z] = A_d(kappa) mean_direction; it lies inside the sphere."""
        ratio = special.bessel_ratio(self.event_shape[0], self.concentration)
        return (ratio[..., None] * self.mean_direction).astype(self.mean_direction.dtype)

    @property
    def variance(self) -> jax.Array:
        """The diagonal of the covariance of z, [*batch_shape, D]."""
        dimension = self.event_shape[0]
        along = special.bessel_ratio_derivative(dimension, self.concentration)
        complement = special.bessel_ratio_complement(dimension, self.concentration)
        # 1 - E[w^2] is what the tangential coordinates share.
        across = (complement * (2.0 - complement) - along) / (dimension - 1)
        return variance_by_coordinate(along, across, self.mean_direction)
