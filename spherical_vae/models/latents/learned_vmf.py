"""The von Mises-Fisher latent whose concentration is learned for each example, within a range."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import VonMisesFisher, von_mises_fisher
from spherical_vae.models.latents.latent import Latent
from spherical_vae.models.latents.spherical import Range, SphericalLatent


class DetachedVonMisesFisher(VonMisesFisher):
    """A vMF distribution whose samples pass no gradient to the concentration.

    A rejection sampler outside of the computation graph has the same effect: the concentration gets
    no gradient from the reconstruction, and the KL alone can only lower it.
    """

    reparametrized_params = ["mean_direction"]  # noqa: RUF012 - the name and type are NumPyro's

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> jax.Array:
        detached = jax.lax.stop_gradient(self.concentration)
        return von_mises_fisher.sample(
            key, self.mean_direction, detached, sample_shape, self.method
        )


class LearnedVonMisesFisherLatent(SphericalLatent):
    """vMF with a learned direction and concentration, initially `hyper["concentration"]`.

    Attributes:
      gradient: of the concentration: "exact", through the sampler, or "kl_only" for samples that
        pass none.
    """

    gradient: str = "exact"

    def family(
        self, mean: Float[Array, "*rows D"], concentration: Float[Array, "*rows"]
    ) -> Distribution:
        """Returns the vMF distributions with these gradients."""
        kind = VonMisesFisher if self.gradient == "exact" else DetachedVonMisesFisher
        return kind(mean, concentration, method=self.sampler, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    gradient = settings.concentration_gradient
    return LearnedVonMisesFisherLatent(
        prior, settings.dimension, settings.sampler, Range.of(settings), gradient
    )
