"""The von Mises-Fisher latent on the unit sphere, with the uniform prior.

Its concentration is an argument of the call: the same for every example, traced, and never learned,
so the KL is a constant that training cannot collapse.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.layers import dense


@struct.dataclass
class VonMisesFisherPosterior:
    """vMF(mean, concentration) under the uniform prior; see `Posterior`.

    Attributes:
      mean: `[B, D]` unit vectors.
      concentration: `[B]`, at least 0.
      sampler: "transport" or "wood".
      concentration_gradient: "exact", or "kl_only": draws pass no gradient to the concentration.
    """

    mean: Float[Array, "B D"]
    concentration: Float[Array, " B"]
    sampler: str = struct.field(pytree_node=False, default="transport")
    concentration_gradient: str = struct.field(pytree_node=False, default="exact")

    @property
    def prior_scale(self) -> float:
        """sqrt(d): a uniform direction has variance 1/d in each coordinate."""
        return math.sqrt(self.mean.shape[-1])

    @property
    def expectation(self) -> Float[Array, "B D"]:
        """A_d(concentration) mean: the origin where q is the prior."""
        return special.bessel_ratio(self.mean.shape[-1], self.concentration)[:, None] * self.mean

    @property
    def kl_nats(self) -> Float[Array, " B"]:
        """KL to the uniform distribution; depends on the concentration only."""
        return special.kl_to_uniform(self.mean.shape[-1], self.concentration)

    @property
    def paper_kl_nats(self) -> Float[Array, " B"]:
        """Guu et al.'s formula, which is the exact KL two dimensions higher."""
        return special.kl_to_uniform(self.mean.shape[-1] + 2, self.concentration)

    def sample(self, key: Key[Array, ""], samples: int) -> Float[Array, "S B D"]:
        """Draws unit vectors; pathwise gradients in mean, and in concentration if "exact"."""
        concentration = self.concentration
        if self.concentration_gradient == "kl_only":
            concentration = jax.lax.stop_gradient(concentration)
        return von_mises_fisher.sample(
            key, self.mean, concentration, sample_shape=(samples,), method=self.sampler
        )

    def log_prob(self, z: Float[Array, "*S #B D"]) -> Float[Array, "*S B"]:
        """Log density with respect to the surface measure of the sphere."""
        lead = (1,) * (z.ndim - 2)
        return von_mises_fisher.log_prob(
            z,
            self.mean.reshape(lead + self.mean.shape),
            self.concentration.reshape(lead + self.concentration.shape),
        )

    def prior_log_prob(self, z: Float[Array, "*S B D"]) -> Float[Array, "*S B"]:
        """Minus the log area of the sphere."""
        return jnp.full(z.shape[:-1], -special.log_sphere_area(self.mean.shape[-1]))


def mean_direction(features: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Projects onto the unit sphere; the origin goes to the first axis instead of to NaN."""
    square = (features**2).sum(axis=-1, keepdims=True)
    axis = jnp.zeros_like(features).at[:, 0].set(1.0)
    # Both branches stay finite, so that the gradient at the origin is 0 rather than NaN.
    safe = jnp.where(square > 0, square, 1.0)
    return jnp.where(square > 0, features / jnp.sqrt(safe), axis)


class VonMisesFisherHead(nn.Module):
    """An affine map to the sphere; the concentration is the caller's.

    Attributes:
      dimension: D, at least 2.
      sampler: "transport" or "wood".
    """

    dimension: int
    sampler: str

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "B H"], concentration: Float[Array, ""]
    ) -> VonMisesFisherPosterior:
        """Returns the posterior of each example.

        Args:
          hidden: what the encoder says.
          concentration: at least 0, the same for all examples, traced.
        """
        mean = mean_direction(dense(self.dimension, name="mean")(hidden))
        shared = jnp.broadcast_to(concentration, mean.shape[:1])
        return VonMisesFisherPosterior(mean, shared, self.sampler)
