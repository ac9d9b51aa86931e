"""The von Mises-Fisher latent on the unit sphere whose concentration is a setting, not learned."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher
from spherical_vae.models.latents.latent import (
    Feature,
    Latent,
    LatentHyperparameters,
    random_directions,
    unit_vectors,
)
from spherical_vae.models.latents.learned_concentration import Range, component_start


class VonMisesFisherLatent(Latent):
    """vMF(mean direction, concentration), standard prior uniform.

    The concentration is `hyper["concentration"]`, the same for every example: under the uniform
    prior the KL is a constant that training cannot collapse. Components of a learned prior have
    concentrations of their own, which are learned.

    Attributes:
      dimension: D, at least 2.
      sampler: "transport" or "wood".
      range: of the concentrations of a prior's components.
    """

    dimension: int
    sampler: str
    range: Range
    shared_concentration = True

    def features(self) -> dict[str, Feature]:
        """Returns the mean direction, not yet of unit length."""
        return {"mean": Feature(self.dimension, component_init=random_directions())}

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the vMF distributions with these directions."""
        mean = unit_vectors(features["mean"])
        shared = jnp.broadcast_to(hyper["concentration"], mean.shape[:-1])
        return VonMisesFisher(mean, shared, method=self.sampler, validate_args=False)

    def standard_prior(self) -> Distribution:
        """Returns the uniform distribution on the sphere."""
        return HypersphericalUniform(self.dimension, validate_args=False)

    def component_features(self) -> dict[str, Feature]:
        """Returns the mean direction and the place of the concentration in its range."""
        return self.features() | {"concentration": Feature(1)}

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns vMF distributions with concentrations of their own."""
        start = component_start(self.dimension, self.range)
        concentration = self.range.concentration(start, features["concentration"][:, 0])
        mean = unit_vectors(features["mean"])
        return VonMisesFisher(mean, concentration, method=self.sampler, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return VonMisesFisherLatent(prior, settings.dimension, settings.sampler, Range.of(settings))
