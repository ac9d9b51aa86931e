"""The power spherical latent (De Cao and Aziz 2020) with a learned concentration."""

from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import PowerSpherical
from spherical_vae.models.latents.latent import Latent
from spherical_vae.models.latents.spherical import Range, SphericalLatent


class PowerSphericalLatent(SphericalLatent):
    """The features of the learned vMF, as those of a power spherical distribution."""

    def family(
        self, mean: Float[Array, "*rows D"], concentration: Float[Array, "*rows"]
    ) -> Distribution:
        """Returns power spherical distributions."""
        return PowerSpherical(mean, concentration, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return PowerSphericalLatent(prior, settings.dimension, "", Range.of(settings))
