"""The power spherical latent (De Cao and Aziz 2020) with a learned concentration."""

from collections.abc import Mapping

from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import PowerSpherical
from spherical_vae.models.latents.latent import LatentHyperparameters, unit_vectors
from spherical_vae.models.latents.learned_concentration import Range, component_start
from spherical_vae.models.latents.learned_vmf import LearnedVonMisesFisherLatent


class PowerSphericalLatent(LearnedVonMisesFisherLatent):
    """The features of the learned vMF, read as those of a power spherical distribution."""

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the power spherical distributions with these features."""
        concentration = self.range.concentration(
            hyper["concentration"], features["concentration"][:, 0]
        )
        return PowerSpherical(unit_vectors(features["mean"]), concentration, validate_args=False)

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the same, started broad."""
        start = {"concentration": component_start(self.dimension, self.range)}
        return self.distribution(features, start)


def build(settings: ConfigDict, prior: nn.Module) -> PowerSphericalLatent:
    """Returns the latent that `config.latent` describes."""
    return PowerSphericalLatent(prior, settings.dimension, "", Range.of(settings))
