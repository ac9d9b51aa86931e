"""The uniform distribution on the unit sphere, as a NumPyro distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from spherical_vae.distributions.vectors import as_values
from spherical_vae.random.keys import as_key
from spherical_vae.special import log_sphere_area
from spherical_vae.special.arguments import Nested, check_dimension, working_dtype


class HypersphericalUniform(Distribution):
    """The uniform distribution on the unit sphere of R^dimension: vMF with concentration 0.

    Args:
        dimension: d >= 2 of the space around the sphere, static.
        batch_shape: axes of independent copies.
        dtype: of samples; None is the default float type.

    Example:
        >>> import jax
        >>> HypersphericalUniform(3).sample(jax.random.key(0), (5,)).shape
        (5, 3)
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - the name and type are NumPyro's
    reparametrized_params: list[str] = []  # noqa: RUF012
    support = constraints.sphere
    pytree_aux_fields = ("dimension", "dtype")

    def __init__(
        self,
        dimension: int,
        batch_shape: tuple[int, ...] = (),
        *,
        dtype: jax.typing.DTypeLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.dimension = check_dimension(dimension)
        self.dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
        super().__init__(tuple(batch_shape), (self.dimension,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Samples unit vectors [*sample_shape, *batch_shape, dimension]."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        return _sample(as_key(key), shape, self.dtype)

    def log_prob(self, value: ArrayLike | Nested) -> jax.Array:
        """Computes -log area, in nats, for each value."""
        return self._log_prob(as_values(value, self.dimension, len(self.batch_shape)))

    @validate_sample
    def _log_prob(self, value: jax.Array) -> jax.Array:
        shape = jnp.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return _full(shape, -log_sphere_area(self.dimension), value.dtype)

    def entropy(self) -> jax.Array:
        """Computes the log area of the sphere in nats, [*batch_shape]."""
        return _full(self.batch_shape, log_sphere_area(self.dimension), self.dtype)

    @property
    def mean(self) -> jax.Array:
        """The zero vector, which lies off the sphere."""
        return _full((*self.batch_shape, self.dimension), 0.0, self.dtype)

    @property
    def variance(self) -> jax.Array:
        """1 / dimension for every coordinate."""
        return _full((*self.batch_shape, self.dimension), 1.0 / self.dimension, self.dtype)


@partial(jax.jit, static_argnums=(1, 2))
def _sample(key: jax.Array, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    normal = jax.random.normal(key, shape, working_dtype(dtype))
    return (normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)).astype(dtype)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _full(shape: tuple[int, ...], value: float, dtype: np.dtype) -> jax.Array:
    return jnp.full(shape, value, dtype)
