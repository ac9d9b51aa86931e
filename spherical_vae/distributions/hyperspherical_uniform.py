"""The uniform distribution on the unit sphere, as a NumPyro distribution."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from spherical_vae.special import log_sphere_area
from spherical_vae.special.arguments import check_dimension


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
        """Draws unit vectors [*sample_shape, *batch_shape, dimension]."""
        assert is_prng_key(key)
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        normal = jax.random.normal(key, shape, self.dtype)
        return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        """Computes -log area, in nats, for each value."""
        shape = jnp.broadcast_shapes(jnp.shape(value)[:-1], self.batch_shape)
        return jnp.full(shape, -log_sphere_area(self.dimension), jnp.result_type(value))

    def entropy(self) -> jax.Array:
        """Computes the log area of the sphere in nats, [*batch_shape]."""
        return jnp.full(self.batch_shape, log_sphere_area(self.dimension), self.dtype)

    @property
    def mean(self) -> jax.Array:
        """The zero vector, which lies off the sphere."""
        return jnp.zeros((*self.batch_shape, self.dimension), self.dtype)

    @property
    def variance(self) -> jax.Array:
        """1 / dimension for every coordinate."""
        return jnp.full((*self.batch_shape, self.dimension), 1.0 / self.dimension, self.dtype)

    @staticmethod
    def infer_shapes(
        dimension: int, batch_shape: tuple[int, ...] = (), **_: object
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns (batch_shape, event_shape) of a distribution with these arguments."""
        return tuple(batch_shape), (dimension,)
