"""The von Mises-Fisher latent whose concentration is learned for each example, within a range."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from spherical_vae.latents.vmf import VonMisesFisherPosterior, mean_direction
from spherical_vae.layers import dense


class LearnedVonMisesFisherHead(nn.Module):
    """Affine maps to a direction and to a concentration.

    In a smooth range, log concentration runs over it as a sigmoid does over (0, 1): neither end can
    be passed, and a step has the same relative effect everywhere. The paper clips instead
    (`clipped`), which stops the gradient at the ends. Training starts at the concentration of the
    call.

    The gradient in the concentration is exact by default. "kl_only" is what one gets where the
    rejection sampler of the cosine runs outside the graph: the reconstruction says nothing to the
    concentration, and the KL alone can only lower it.

    Attributes:
      dimension: D, at least 2.
      sampler: "transport" or "wood"; both carry exact gradients in the concentration.
      min_concentration: lower end of the range, above 0.
      max_concentration: upper end.
      range: "smooth" or "clipped".
      concentration_gradient: "exact" or "kl_only".
    """

    dimension: int
    sampler: str
    min_concentration: float
    max_concentration: float
    range: str = "smooth"
    concentration_gradient: str = "exact"

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
        offset = dense(1, "concentration", kernel_init=nn.initializers.zeros)
        low, high = jnp.log(self.min_concentration), jnp.log(self.max_concentration)
        if self.range == "clipped":
            logarithm = jnp.clip(jnp.log(concentration) + offset(hidden)[:, 0], low, high)
        else:
            start = jax.scipy.special.logit((jnp.log(concentration) - low) / (high - low))
            position = jax.nn.sigmoid(start + offset(hidden)[:, 0])  # [B], in (0, 1)
            logarithm = low + (high - low) * position
        return VonMisesFisherPosterior(
            mean, jnp.exp(logarithm), self.sampler, self.concentration_gradient
        )
