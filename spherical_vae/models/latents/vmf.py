"""The von Mises-Fisher latent on the unit sphere whose concentration is a setting, not learned."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters, unit_vectors
from spherical_vae.models.latents.spherical import Range, SphericalLatent


class VonMisesFisherLatent(SphericalLatent):
    """vMF(mean direction, concentration).

    The concentration is `hyper["concentration"]`, the same for every example: under the uniform
    prior the KL is a constant that training cannot collapse. Components of a mixture prior have
    learned concentrations of their own; those of a vamp prior are posteriors.
    """

    shared_concentration = True

    def features(self) -> dict[str, Feature]:
        """Returns the mean direction, not yet of unit length."""
        return {"mean": super().features()["mean"]}

    def component_features(self) -> dict[str, Feature]:
        """Returns the mean direction, and the offset of the concentration in its range."""
        return super().features()

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the vMF distributions with these directions."""
        mean = unit_vectors(features["mean"])
        shared = jnp.broadcast_to(hyper["concentration"], mean.shape[:-1])
        return self.family(mean, shared)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return VonMisesFisherLatent(prior, settings.dimension, settings.sampler, Range.of(settings))
