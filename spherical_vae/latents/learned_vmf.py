"""The von Mises-Fisher latent whose concentration is learned for each example, within a range."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from spherical_vae.latents.vmf import VonMisesFisherPosterior, mean_direction
from spherical_vae.layers import dense


class LearnedVonMisesFisherHead(nn.Module):
    """Affine maps to a direction and to a concentration.

    log concentration runs over the range as a sigmoid does over (0, 1), so neither end can be
    passed and a step has the same relative effect everywhere. Training starts at the concentration
    of the call. The paper clips instead, which stops the gradient at the ends of the range.

    Attributes:
      dimension: D, at least 2.
      sampler: "transport" or "wood"; both carry exact gradients in the concentration.
      min_concentration: lower end of the range, above 0.
      max_concentration: upper end.
    """

    dimension: int
    sampler: str
    min_concentration: float
    max_concentration: float

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "B H"], concentration: Float[Array, ""]
    ) -> VonMisesFisherPosterior:
        """Returns the posterior of each example.

        Args:
          hidden: what the encoder says.
          concentration: where training starts, strictly inside the range.
        """
        mean = mean_direction(dense(self.dimension, name="mean")(hidden))
        offset = nn.Dense(1, kernel_init=nn.initializers.zeros_init(), name="concentration")
        low, high = jnp.log(self.min_concentration), jnp.log(self.max_concentration)
        start = jax.scipy.special.logit((jnp.log(concentration) - low) / (high - low))
        position = jax.nn.sigmoid(start + offset(hidden)[:, 0])  # [B], in (0, 1)
        return VonMisesFisherPosterior(mean, jnp.exp(low + (high - low) * position), self.sampler)
