"""Reparameterisation of directions, for HMC, NUTS and autoguides.

There is no bijection from R^n to the sphere; a normal vector divided by its norm does instead.
"""

import jax
import jax.numpy as jnp
import numpyro
from numpyro.distributions import Distribution, Normal, constraints, transforms
from numpyro.infer.reparam import Reparam

# Standard deviation of log |x|, where x is the vector that is divided by its norm: small against 1,
# and not so small that a sampler has more trouble with the thin shell than with the sphere.
_LENGTH_SPREAD = 0.1


class _NonzeroVector(constraints.Constraint):
    """Vectors of R^dimension but the origin, which has no direction."""

    event_dim = 1

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.isfinite(x).all(-1) & (x != 0).any(-1)

    def feasible_like(self, prototype: jax.Array) -> jax.Array:
        return jnp.full_like(prototype, self.dimension**-0.5)

    def tree_flatten(self) -> tuple[tuple, tuple]:
        return (), ((), {"dimension": self.dimension})

    def eq(self, other: object, static: bool = False) -> bool:
        return isinstance(other, _NonzeroVector) and other.dimension == self.dimension


@transforms.biject_to.register(_NonzeroVector)
def _away_from_the_origin(constraint: _NonzeroVector) -> transforms.Transform:
    # NumPyro may start inference at the origin of the unconstrained space.
    shift = transforms.AffineTransform(constraint.dimension**-0.5, 1.0)
    return transforms.IndependentTransform(shift, 1)


class DirectionWithLength(Distribution):
    """x in R^d whose direction has a given law, and log |x| a narrow normal one of its own.

    Args:
        direction_law: on the sphere; its batch shape is that of x.
    """

    pytree_data_fields = ("direction_law",)

    def __init__(self, direction_law: Distribution, *, validate_args: bool | None = None) -> None:
        self.direction_law = direction_law
        super().__init__(
            direction_law.batch_shape, direction_law.event_shape, validate_args=validate_args
        )

    @property
    def support(self) -> constraints.Constraint:
        """All vectors but the origin."""
        return _NonzeroVector(self.event_shape[0])

    @property
    def _log_length(self) -> Distribution:
        return Normal(0.0, _LENGTH_SPREAD)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Samples vectors [*sample_shape, *batch_shape, D]."""
        key_direction, key_length = jax.random.split(key)
        direction = self.direction_law.sample(key_direction, sample_shape)
        length = jnp.exp(self._log_length.sample(key_length, direction.shape[:-1]))
        return length[..., None] * direction

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Computes the log density with respect to volume, in nats."""
        square = (value**2).sum(-1)
        log_length = 0.5 * jnp.log(square)
        # dx = |x|^d dlog|x| dz.
        return (
            self.direction_law.log_prob(value / jnp.sqrt(square)[..., None])
            + self._log_length.log_prob(log_length)
            - value.shape[-1] * log_length
        )


class SphereReparam(Reparam):
    """Samples a site on the sphere as x / |x|, x a vector in R^d named `NAME_vector`.

    The direction of x has the law of the site, so prior samples, posterior and evidence are those
    of the site. log |x| is normal with mean 0 and standard deviation 0.1 in every direction: its
    scale in x, which is |x| times an angle, hardly varies. With the length of a
    normal vector a posterior that is narrow in angle would be a funnel, and chains diverge in it.

    Example:
        >>> import jax.numpy as jnp, numpyro
        >>> from numpyro.handlers import reparam
        >>> @reparam(config={"direction": SphereReparam()})
        ... def model(data):
        ...     direction = numpyro.sample("direction", HypersphericalUniform(3))
        ...     with numpyro.plate("data", len(data)):
        ...         numpyro.sample("z", VonMisesFisher(direction, 10.0), obs=data)
    """

    def __call__(
        self, name: str, fn: Distribution, obs: object
    ) -> tuple[Distribution | None, object]:
        """Replaces the site; called by NumPyro's `reparam` handler."""
        assert obs is None, "SphereReparam does not support observe statements"
        fn, expand_shape, event_dim = self._unwrap(fn)
        if fn.support is not constraints.sphere or fn.event_dim != 1:
            raise ValueError(f"SphereReparam needs a site on the sphere, {name!r} is not")
        law = self._wrap(DirectionWithLength(fn), expand_shape, event_dim)
        vector = numpyro.sample(f"{name}_vector", law)
        return None, vector / jnp.linalg.norm(vector, axis=-1, keepdims=True)
