"""A latent of one's own: independent Laplace coordinates, under a Laplace prior."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution, Laplace

from spherical_vae.models.latents import LatentKind
from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters

KIND = LatentKind(__name__, "Laplace")


class LaplaceLatent(Latent):
    """Laplace(mean, exp(log_scale)); its KL has no registered form and is estimated."""

    dimension: int

    def features(self) -> dict[str, Feature]:
        """Returns the mean and the log scale."""
        zeros = nn.initializers.zeros
        return {"mean": Feature(self.dimension), "log_scale": Feature(self.dimension, zeros, zeros)}

    def distribution(
        self, features: Mapping[str, Float[Array, "rows D"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the Laplace distributions with these means and log scales."""
        return Laplace(features["mean"], jnp.exp(features["log_scale"])).to_event(1)

    def standard_prior(self) -> Distribution:
        """Returns the prior of scale 1 around the origin."""
        return Laplace(jnp.zeros(self.dimension), jnp.ones(self.dimension)).to_event(1)


def build(settings: ConfigDict, prior: nn.Module) -> LaplaceLatent:
    """Returns the latent that `config.latent` describes."""
    return LaplaceLatent(prior, settings.dimension)
