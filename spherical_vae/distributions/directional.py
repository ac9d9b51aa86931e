"""Base class of the distributions around a mean direction."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from spherical_vae.distributions.vectors import as_values, as_vectors
from spherical_vae.random.keys import as_key
from spherical_vae.special.arguments import Nested, as_float, working_dtype


class DirectionalDistribution(Distribution):
    """Base of distributions on the unit sphere of R^d whose density depends on mean_direction . z.

    A family defines `_sample`, of a typed key, and `_log_prob`, of an array of at least the rank of
    `mean_direction`.

    Args:
        mean_direction: unit vectors [..., D].
        concentration: in [0, inf], broadcast against the leading axes of `mean_direction`.
    """

    arg_constraints = {  # noqa: RUF012 - the name and type are NumPyro's
        "mean_direction": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    reparametrized_params = ["mean_direction", "concentration"]  # noqa: RUF012
    support = constraints.sphere
    pytree_data_fields = ("mean_direction", "concentration")

    def __init__(
        self,
        mean_direction: ArrayLike | Nested,
        concentration: ArrayLike | Nested,
        *,
        validate_args: bool | None = None,
    ) -> None:
        direction = as_vectors(mean_direction, "mean_direction")
        kappa = as_float(concentration, "concentration")
        batch, event = jnp.broadcast_shapes(direction.shape[:-1], kappa.shape), direction.shape[-1:]
        # Constants stay constants within `jit`, so that NumPyro can check them.
        with jax.ensure_compile_time_eval():
            self.mean_direction = jnp.broadcast_to(direction, batch + event)
            kappa = jnp.broadcast_to(kappa, batch)
            self.concentration = kappa.astype(working_dtype(direction.dtype))
        super().__init__(batch, event, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Samples unit vectors [*sample_shape, *batch_shape, D]; typed or raw keys."""
        return self._sample(as_key(key), tuple(sample_shape))

    def log_prob(self, value: ArrayLike | Nested) -> jax.Array:
        """Computes the log density with respect to surface area, in nats."""
        *batch, dimension = self.mean_direction.shape
        return self._log_prob(as_values(value, dimension, len(batch)))

    @property
    def mode(self) -> jax.Array:
        """The mean direction."""
        return self.mean_direction

    @classmethod
    def gather_pytree_data_fields(cls) -> tuple[str, ...]:
        """Returns the names of the leaves, sorted: NumPyro's order differs between processes."""
        return tuple(sorted(super().gather_pytree_data_fields()))

    @staticmethod
    def infer_shapes(
        mean_direction: tuple[int, ...], concentration: tuple[int, ...] = (), **_: object
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns (batch_shape, event_shape) from the shapes of the parameters."""
        batch = jnp.broadcast_shapes(tuple(mean_direction[:-1]), tuple(concentration))
        return batch, tuple(mean_direction[-1:])
