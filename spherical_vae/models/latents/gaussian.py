"""The diagonal Gaussian latent (Kingma and Welling 2014)."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution, Independent, Normal

from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters


class GaussianLatent(Latent):
    """N(mean, diag(exp(log_variance))), standard prior N(0, I).

    Attributes:
      dimension: D.
    """

    dimension: int

    def features(self) -> dict[str, Feature]:
        """Returns the mean and the log variance."""
        # A log variance of 0: training begins at the prior's variance.
        zeros = nn.initializers.zeros
        return {
            "mean": Feature(self.dimension, component_init=nn.initializers.normal(1.0)),
            "log_variance": Feature(self.dimension, zeros, zeros),
        }

    def distribution(
        self, features: Mapping[str, Float[Array, "rows D"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the normal distributions with these means and log variances."""
        return diagonal_normal(features["mean"], jnp.exp(0.5 * features["log_variance"]))

    def standard_prior(self) -> Distribution:
        """Returns N(0, I)."""
        return diagonal_normal(jnp.zeros(self.dimension), jnp.ones(self.dimension))


def diagonal_normal(mean: Float[Array, "*rows D"], scale: Float[Array, "*rows D"]) -> Distribution:
    """Returns the normal distribution of vectors with independent coordinates."""
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return GaussianLatent(prior, settings.dimension)
