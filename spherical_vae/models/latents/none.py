"""No latent variable: z has no coordinates, so that a language model is one more VAE."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from spherical_vae.models.latents.gaussian import GaussianLatent, diagonal_normal
from spherical_vae.models.latents.latent import Latent, LatentHyperparameters, LatentPair
from spherical_vae.models.latents.priors import standard


class NoLatent(GaussianLatent):
    """Normal distributions over no coordinates: every density is 1 and every KL 0."""

    dimension: int = 0

    @nn.compact
    def __call__(self, hidden: Float[Array, "B H"], hyper: LatentHyperparameters) -> LatentPair:
        """Returns the empty posterior of each example, and the empty prior; nothing is learned."""
        nothing = jnp.zeros((hidden.shape[0], 0))
        return LatentPair(diagonal_normal(nothing, jnp.ones_like(nothing)), self.standard_prior())


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the empty latent, whose prior has nothing to learn."""
    del prior
    return NoLatent(standard.Prior(0))
