"""No latent variable: z has no coordinates, so that a language model is one more VAE."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.models.latents.gaussian import diagonal_normal
from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters, LatentPair


class NoLatent(Latent):
    """Normal distributions over no coordinates: every density is 1 and every KL 0."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "B H"], hyper: LatentHyperparameters) -> LatentPair:
        """Returns the empty posterior of each example, and the empty prior; nothing is learned."""
        return LatentPair(_nothing(hidden.shape[0]), _nothing())

    def features(self) -> dict[str, Feature]:
        """Returns no features."""
        return {}

    def distribution(
        self, features: Mapping[str, Array], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the distribution over no coordinates, batch shape `[]`."""
        return _nothing()

    def standard_prior(self) -> Distribution:
        """Returns the distribution over no coordinates, batch shape `[]`."""
        return _nothing()


def _nothing(*batch_shape: int) -> Distribution:
    return diagonal_normal(jnp.zeros((*batch_shape, 0)), jnp.ones((*batch_shape, 0)))


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the empty latent."""
    return NoLatent(prior)
