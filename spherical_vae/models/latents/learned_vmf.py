"""The von Mises-Fisher latent whose concentration is learned for each example, within a range."""

from collections.abc import Mapping

import jax
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher, von_mises_fisher
from spherical_vae.models.latents.latent import (
    Feature,
    Latent,
    LatentHyperparameters,
    random_directions,
    unit_vectors,
)
from spherical_vae.models.latents.learned_concentration import Range, component_start


class DetachedVonMisesFisher(VonMisesFisher):
    """A vMF distribution whose samples pass no gradient to the concentration.

    It is what a rejection sampler outside of the graph gives: the reconstruction says nothing to
    the concentration, and the KL alone can only lower it.
    """

    reparametrized_params = ["mean_direction"]  # noqa: RUF012 - the name and type are NumPyro's

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws unit vectors, differentiable in the mean direction alone."""
        detached = jax.lax.stop_gradient(self.concentration)
        return von_mises_fisher.sample(
            key, self.mean_direction, detached, tuple(sample_shape), self.method
        )


class LearnedVonMisesFisherLatent(Latent):
    """vMF with a learned direction and concentration, standard prior uniform.

    Training starts at `hyper["concentration"]`, strictly inside of the range. The gradient in the
    concentration is exact by default, through the sampler.

    Attributes:
      dimension: D, at least 2.
      sampler: "transport" or "wood"; both carry exact gradients in the concentration.
      range: of the concentration.
      gradient: "exact", or "kl_only" for samples without a gradient in the concentration.
    """

    dimension: int
    sampler: str
    range: Range
    gradient: str = "exact"

    def features(self) -> dict[str, Feature]:
        """Returns the mean direction and the place of the concentration in its range."""
        return {
            "mean": Feature(self.dimension, component_init=random_directions()),
            "concentration": Feature(1, nn.initializers.zeros),
        }

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the vMF distributions with these features."""
        family = DetachedVonMisesFisher if self.gradient == "kl_only" else VonMisesFisher
        return self._vmf(family, features, hyper["concentration"])

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the same, started broad."""
        return self._vmf(VonMisesFisher, features, component_start(self.dimension, self.range))

    def standard_prior(self) -> Distribution:
        """Returns the uniform distribution on the sphere."""
        return HypersphericalUniform(self.dimension, validate_args=False)

    def _vmf(
        self, family: type[VonMisesFisher], features: Mapping[str, Array], start: ArrayLike
    ) -> Distribution:
        concentration = self.range.concentration(start, features["concentration"][:, 0])
        mean = unit_vectors(features["mean"])
        return family(mean, concentration, method=self.sampler, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return LearnedVonMisesFisherLatent(
        prior,
        settings.dimension,
        settings.sampler,
        Range.of(settings),
        settings.concentration_gradient,
    )
