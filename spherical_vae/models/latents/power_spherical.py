"""The power spherical latent (De Cao and Aziz 2020) with a learned concentration."""

from collections.abc import Mapping
from functools import partial

from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import PowerSpherical
from spherical_vae.models.latents.latent import Latent, LatentHyperparameters
from spherical_vae.models.latents.spherical import Range, SphericalLatent


class PowerSphericalLatent(SphericalLatent):
    """The features of the learned vMF, as those of a power spherical distribution."""

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the power spherical distributions with these features."""
        family = partial(PowerSpherical, validate_args=False)
        return self.with_learned_concentration(family, features, hyper["concentration"])

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns power spherical components, initially broad."""
        start = self.range.component_start(self.dimension)
        return self.distribution(features, {"concentration": start})


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return PowerSphericalLatent(prior, settings.dimension, "", Range.of(settings))
