"""The von Mises-Fisher distribution as a NumPyro distribution; all numerics are elsewhere."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.distributions.vectors import as_values, broadcast_parameters
from spherical_vae.special.arguments import Nested
from spherical_vae.system.names import require_name


class VonMisesFisher(Distribution):
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

    arg_constraints = {  # noqa: RUF012 - the name and type are NumPyro's
        "mean_direction": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    reparametrized_params = ["mean_direction", "concentration"]  # noqa: RUF012
    support = constraints.sphere
    pytree_data_fields = ("mean_direction", "concentration")
    pytree_aux_fields = ("method",)

    def __init__(
        self,
        mean_direction: ArrayLike | Nested,
        concentration: ArrayLike | Nested,
        *,
        method: str = "transport",
        validate_args: bool | None = None,
    ) -> None:
        self.mean_direction, self.concentration = broadcast_parameters(
            mean_direction, concentration
        )
        require_name("method", method, von_mises_fisher.METHODS)
        self.method = method
        *batch_shape, dimension = self.mean_direction.shape
        super().__init__(tuple(batch_shape), (dimension,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws unit vectors [*sample_shape, *batch_shape, D]; typed or raw keys."""
        assert is_prng_key(key)
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.wrap_key_data(key)
        return von_mises_fisher.sample_unchecked(
            key, self.mean_direction, self.concentration, tuple(sample_shape), self.method
        )

    def log_prob(self, value: ArrayLike | Nested) -> jax.Array:
        """Computes the log density with respect to surface area, in nats."""
        *batch, dimension = self.mean_direction.shape
        return self._log_prob(as_values(value, dimension, len(batch)))

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
        return ratio[..., None] * self.mean_direction

    @property
    def mode(self) -> jax.Array:
        """The mean direction."""
        return self.mean_direction

    @property
    def variance(self) -> jax.Array:
        """The diagonal of the covariance of z, [*batch_shape, D]."""
        dimension = self.event_shape[0]
        along = special.bessel_ratio_derivative(dimension, self.concentration)
        complement = special.bessel_ratio_complement(dimension, self.concentration)
        # 1 - E[w^2] is what the tangential coordinates share.
        across = (complement * (2.0 - complement) - along) / (dimension - 1)
        return across[..., None] + (along - across)[..., None] * self.mean_direction**2

    @staticmethod
    def infer_shapes(
        mean_direction: tuple[int, ...], concentration: tuple[int, ...] = (), **_: object
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns (batch_shape, event_shape) from the shapes of the parameters."""
        batch = jnp.broadcast_shapes(tuple(mean_direction[:-1]), tuple(concentration))
        return batch, tuple(mean_direction[-1:])
