"""A product of spheres, a von Mises-Fisher distribution on each."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution, Independent

from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher
from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters, unit_vectors
from spherical_vae.models.latents.spherical import Range


class ProductVonMisesFisherLatent(Latent):
    """M independent vMF distributions, standard prior uniform on each sphere; events are `[M, d]`.

    It lies between a Gaussian, with a variance for each coordinate, and a vMF, with one
    concentration for all of them.

    Attributes:
      spheres: M.
      dimension: d of each sphere, at least 2.
      sampler: "transport" or "wood".
      range: of the concentrations.
      concentrations: "learned_each", one for every sphere of every example; "learned_shared", one
        for every example; "fixed", `hyper["concentration"]` for all.
    """

    spheres: int
    dimension: int
    sampler: str
    range: Range
    concentrations: str

    def features(self) -> dict[str, Feature]:
        """Returns the mean directions, and the offsets of learned concentrations."""
        directions = nn.initializers.normal(1.0)
        features = {"mean": Feature(self.spheres * self.dimension, None, directions)}
        if self.concentrations != "fixed":
            size = self.spheres if self.concentrations == "learned_each" else 1
            features["concentration"] = Feature(size, nn.initializers.zeros)
        return features

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the products with these features."""
        return self._product(features, hyper["concentration"])

    def standard_prior(self) -> Distribution:
        """Returns the product of uniform distributions."""
        each = HypersphericalUniform(self.dimension, (self.spheres,), validate_args=False)
        return Independent(each, 1, validate_args=False)

    def component_features(self) -> dict[str, Feature]:
        """Returns the mean directions and a concentration for every sphere."""
        return self.features() | {"concentration": Feature(self.spheres)}

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns products with concentrations of their own, initially broad."""
        return self._product(features, self.range.component_start(self.dimension))

    def _product(self, features: Mapping[str, Array], start: ArrayLike) -> Distribution:
        kappa = start
        if "concentration" in features:
            kappa = self.range.concentration(start, features["concentration"])
        directions = unit_vectors(features["mean"].reshape(-1, self.spheres, self.dimension))
        kappa = jnp.broadcast_to(kappa, directions.shape[:-1])
        each = VonMisesFisher(directions, kappa, method=self.sampler, validate_args=False)
        return Independent(each, 1, validate_args=False)


def build(settings: ConfigDict, prior: nn.Module) -> Latent:
    """Returns the latent that `config.latent` describes."""
    return ProductVonMisesFisherLatent(
        prior,
        settings.spheres,
        settings.dimension // settings.spheres,
        settings.sampler,
        Range.of(settings),
        settings.concentrations,
    )
