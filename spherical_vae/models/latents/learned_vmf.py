"""The von Mises-Fisher latent whose concentration is learned for each example, within a range."""

from collections.abc import Mapping
from functools import partial

import jax
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import VonMisesFisher, von_mises_fisher
from spherical_vae.models.latents.latent import Latent, LatentHyperparameters
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

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the vMF distributions with these features."""
        if self.gradient == "exact":
            return super().distribution(features, hyper)
        family = partial(DetachedVonMisesFisher, method=self.sampler, validate_args=False)
        return self.with_learned_concentration(family, features, hyper["concentration"])


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    gradient = settings.concentration_gradient
    return LearnedVonMisesFisherLatent(
        prior, settings.dimension, settings.sampler, Range.of(settings), gradient
    )
