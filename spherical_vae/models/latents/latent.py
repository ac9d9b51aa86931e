"""The contract of a latent, and functions of its two NumPyro distributions.

Nothing depends on the name of a kind: whether z is a direction, the prior variance of its
coordinates and the KL are properties of the distributions.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Initializer
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict
from numpyro.distributions import Distribution, Independent, constraints, kl_divergence

from spherical_vae.models.layers import dense
from spherical_vae.system.errors import UserError

# Scalars that a latent reads and that may vary without compiling again; opaque to all others.
LatentHyperparameters = Mapping[str, Any]

_VARIANCE_SAMPLES = 20_000
_MEAN_SAMPLES = 100

# Decorator: NumPyro may broadcast samples with parameters, also under strict promotion.
promoting_ranks = jax.numpy_rank_promotion("allow")


class LatentPair(NamedTuple):
    """Posterior and prior of a batch.

    Attributes:
      posterior: q(z|x), batch shape `[B]`, with reparameterised samples.
      prior: p(z), batch shape `[]`; its value does not depend on the batch.
    """

    posterior: Distribution
    prior: Distribution


class Feature(NamedTuple):
    """One array of parameters of a distribution, before constraints.

    Attributes:
      size: entries for each distribution.
      kernel_init: of the affine map from the encoder's output; None for the package's own.
      component_init: of the same array as a free parameter of a prior's components.
    """

    size: int
    kernel_init: Initializer | None = None
    component_init: Initializer = nn.initializers.zeros


class Latent(nn.Module):
    """Base of all kinds: affine maps from the encoder's output to features, then a distribution.

    A kind defines `features`, `distribution` and `standard_prior`; learned priors use the same.

    Attributes:
      prior: one of `priors/`: `(latent, posterior_of, hidden_size, hyper) -> Distribution`.
      shared_concentration: whether q(z|x) has the same concentration for every x.
    """

    prior: nn.Module
    shared_concentration: ClassVar[bool] = False

    def features(self) -> dict[str, Feature]:
        """Returns the arguments of `distribution` by name, also the names of the parameters."""
        raise NotImplementedError

    def distribution(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns the distribution with these features, batch shape `[rows]`."""
        raise NotImplementedError

    def standard_prior(self) -> Distribution:
        """Returns the prior without parameters, batch shape `[]`."""
        raise NotImplementedError

    def component_features(self) -> dict[str, Feature]:
        """Returns the arguments of `component`."""
        return self.features()

    def component(
        self, features: Mapping[str, Float[Array, " rows _"]], hyper: LatentHyperparameters
    ) -> Distribution:
        """Returns components of a learned prior, batch shape `[rows]`."""
        return self.distribution(features, hyper)

    @nn.compact
    def __call__(self, hidden: Float[Array, "B H"], hyper: LatentHyperparameters) -> LatentPair:
        """Returns the posterior of each example, and the prior."""
        maps = {
            name: dense(feature.size, name, kernel_init=feature.kernel_init)
            for name, feature in self.features().items()
        }

        def posterior_of(hidden: Float[Array, " rows H"]) -> Distribution:
            return self.distribution({name: map_(hidden) for name, map_ in maps.items()}, hyper)

        pair = LatentPair(
            posterior_of(hidden), self.prior(self, posterior_of, hidden.shape[-1], hyper)
        )
        for name, found, batch in zip(pair._fields, pair, (hidden.shape[:1], ()), strict=True):
            if found.batch_shape != batch or not found.event_shape:
                raise UserError(
                    f"{type(self).__name__}: its {name} has batch shape {found.batch_shape} and "
                    f"event shape {found.event_shape}, allowed: batch shape {batch}, and the "
                    "coordinates of z as event, as by to_event(1)"
                )
        return pair


def latent_hyperparameters(settings: ConfigDict) -> dict[str, np.ndarray]:
    """Returns the settings in `config.latent` that may vary without compiling again."""
    return {"concentration": np.asarray(settings.concentration, np.float32)}


@promoting_ranks
def sample(
    distribution: Distribution, key: Key[Array, ""], samples: int
) -> Float[Array, " S *batch_and_event"]:
    """Samples z, differentiable in the distribution's parameters."""
    return distribution.sample(key, (samples,))


@promoting_ranks
def log_prob(
    distribution: Distribution, z: Float[Array, "*values_and_event"]
) -> Float[Array, "*values"]:
    """Computes the log density of values whose leading axes broadcast against the batch."""
    return distribution.log_prob(z)


@promoting_ranks
def kl_nats(pair: LatentPair, z: Float[Array, "S B *event"]) -> Float[Array, " B"]:
    """Computes KL(q(z|x) || p(z)) in nats: exactly if it is registered, else from samples z of q.

    The estimate, whose expectation is the KL, is minus the entropy of q, exact if it is known, less
    the mean of log p(z) over the samples.
    """
    posterior, prior = pair
    try:
        return kl_divergence(posterior, prior)
    except NotImplementedError:
        pass
    try:
        negative_entropy = -posterior.entropy()
    except NotImplementedError:
        negative_entropy = posterior.log_prob(z).mean(axis=0)
    return negative_entropy - prior.log_prob(z).mean(axis=0)


@promoting_ranks
def prior_deviations(prior: Distribution) -> Float[np.ndarray, " D"]:
    """Returns the standard deviation of each coordinate of z under a prior.

    It is estimated from samples, to 1%, if NumPyro has no variance of the prior, as of a flow.
    """
    try:
        variance = np.asarray(prior.variance, np.float64)
    except NotImplementedError:
        z = prior.sample(jax.random.key(0), (_VARIANCE_SAMPLES,))
        variance = np.asarray(z, np.float64).var(axis=0)
    return np.sqrt(variance.reshape(-1))


@promoting_ranks
def mean_codes(posterior: Distribution) -> Float[Array, " N *event"]:
    """Returns one code for each example: the mean of q(z|x), or on a sphere its direction."""
    mean = expectation(posterior)
    return unit_vectors(mean) if is_spherical(posterior) else mean


@promoting_ranks
def posterior_means(posterior: Distribution) -> Float[np.ndarray, "N D"]:
    """Returns E z of each example; for a direction it is inside of the sphere."""
    return np.asarray(coordinates(expectation(posterior), 1))


def expectation(posterior: Distribution) -> Float[Array, " N *event"]:
    """Returns E z, estimated from samples if NumPyro has no mean of the posterior."""
    try:
        return posterior.mean
    except NotImplementedError:
        return posterior.sample(jax.random.key(0), (_MEAN_SAMPLES,)).mean(axis=0)


@promoting_ranks
def factor_kl_nats(pair: LatentPair) -> Float[Array, "B F"]:
    """Computes the KL of each independent factor: coordinates of a Gaussian, spheres of a product.

    A posterior that is not a product is one factor.

    Raises:
      NotImplementedError: no closed form is registered for the two.
    """
    posterior, prior = pair
    if isinstance(posterior, Independent) and isinstance(prior, Independent):
        kl = kl_divergence(posterior.base_dist, prior.base_dist)
        return kl.reshape(kl.shape[0], -1)
    return kl_divergence(posterior, prior)[:, None]


def is_spherical(distribution: Distribution) -> bool:
    """Returns whether values lie on the unit sphere, or on a product of spheres."""
    support = distribution.support
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    return support is constraints.sphere


def unit_variance_scale(prior: Distribution) -> float:
    """Returns sqrt(d) for a sphere of R^d, and 1 for anything else.

    Under the uniform distribution on the sphere, coordinates then have unit variance, as those of a
    standard normal have.
    """
    return math.sqrt(prior.event_shape[-1]) if is_spherical(prior) else 1.0


def coordinates(z: Float[Array, "*shape"], leading: int) -> Float[Array, "*flat"]:
    """Returns z with the axes after the first `leading` as one axis, the D coordinates."""
    return z.reshape(*z.shape[:leading], -1)


def unit_vectors(features: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
    """Projects onto the unit sphere; the origin becomes the first axis instead of NaN."""
    square = (features**2).sum(axis=-1, keepdims=True)
    axis = jnp.zeros_like(features).at[..., 0].set(1.0)
    # Both branches are finite, so that the gradient at the origin is 0 rather than NaN.
    safe = jnp.where(square > 0, square, 1.0)
    return jnp.where(square > 0, features / jnp.sqrt(safe), axis)
