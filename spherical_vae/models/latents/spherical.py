"""Parts of latents on the unit sphere: the range of learned concentrations, and components."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict
from numpyro.distributions import Distribution

from spherical_vae.distributions import HypersphericalUniform, VonMisesFisher
from spherical_vae.models.latents.latent import Feature, Latent, LatentHyperparameters, unit_vectors


@dataclass(frozen=True)
class Range:
    """An open interval of concentrations, parameterised by an offset on the real line.

    In a smooth range, the log concentration is to the offset as a sigmoid: it never reaches the
    ends, and a step has the same relative effect everywhere. The paper clips instead (`clipped`),
    which stops the gradient at the ends.

    Attributes:
      low: lower end, above 0.
      high: upper end.
      clipped: whether values are clipped to the ends.
    """

    low: float
    high: float
    clipped: bool = False

    @classmethod
    def of(cls, settings: ConfigDict) -> "Range":
        """Returns the range of `config.latent`."""
        clipped = settings.range == "clipped"
        return cls(settings.min_concentration, settings.max_concentration, clipped)

    def concentration(
        self, start: Float[ArrayLike, ""], offset: Float[Array, "*rows"]
    ) -> Float[Array, "*rows"]:
        """Returns the concentrations at some offsets.

        Args:
          start: the concentration at offset 0, strictly inside of the range.
          offset: on the logarithmic scale at `start`, up to a factor in a smooth range.
        """
        low, high = jnp.log(self.low), jnp.log(self.high)
        if self.clipped:
            return jnp.exp(jnp.clip(jnp.log(start) + offset, low, high))
        at_start = jax.scipy.special.logit((jnp.log(start) - low) / (high - low))
        return jnp.exp(low + (high - low) * jax.nn.sigmoid(at_start + offset))

    def component_start(self, dimension: int) -> float:
        """Returns the initial concentration of a prior's component: broad, inside of the range.

        At d / 2 a component is within 3 nats of the uniform distribution at d = 25, so that the
        initial mixture of many is near it.
        """
        inside = (self.high / self.low) ** 0.1
        return min(max(dimension / 2, self.low * inside), self.high / inside)


class SphericalLatent(Latent):
    """Base of latents on one sphere: standard prior uniform, components with own concentrations.

    Attributes:
      dimension: D, at least 2.
      sampler: of a vMF: "transport" or "wood", both with exact gradients in the concentration.
      range: of learned concentrations.
    """

    dimension: int
    sampler: str
    range: Range

    def standard_prior(self) -> Distribution:
        """Returns the uniform distribution on the sphere."""
        return HypersphericalUniform(self.dimension, validate_args=False)

    def features(self) -> dict[str, Feature]:
        """Returns the mean direction, and the offset of a learned concentration in its range."""
        zeros, directions = nn.initializers.zeros, nn.initializers.normal(1.0)
        return {
            "mean": Feature(self.dimension, None, directions),
            "concentration": Feature(1, zeros),
        }

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns distributions of learned concentration, initially `hyper["concentration"]`."""
        return self._distributions(features, hyper["concentration"])

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns components with concentrations of their own, initially broad."""
        return self._distributions(features, self.range.component_start(self.dimension))

    def _distributions(
        self, features: Mapping[str, Float[Array, " rows _"]], start: Float[ArrayLike, ""]
    ) -> Distribution:
        concentration = self.range.concentration(start, features["concentration"][:, 0])
        return self.family(unit_vectors(features["mean"]), concentration)

    def family(
        self, mean: Float[Array, "*rows D"], concentration: Float[Array, "*rows"]
    ) -> Distribution:
        """Returns the distributions of the latent, vMF here, with its sampler."""
        return VonMisesFisher(mean, concentration, method=self.sampler, validate_args=False)
