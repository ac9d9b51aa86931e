"""A prior of one's own: a normalizing flow, for every latent whose z is not on a sphere."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from numpyro.distributions import Distribution, TransformedDistribution, constraints
from numpyro.distributions.transforms import Transform

from spherical_vae.models.latents import PriorKind

KIND = PriorKind(__name__)


class Coupling(Transform):
    """Coordinates where `kept` is 0 are scaled and shifted by a function of the others."""

    domain = codomain = constraints.real_vector

    def __init__(self, kept: Array, inner: Array, outer: Array) -> None:
        self.kept, self.inner, self.outer = kept, inner, outer

    def _log_scale_and_shift(self, z: Array) -> tuple[Array, Array]:
        found = jnp.tanh((z * self.kept) @ self.inner) @ self.outer
        log_scale, shift = jnp.split(found, 2, axis=-1)
        return log_scale * (1 - self.kept), shift * (1 - self.kept)

    def __call__(self, x: Array) -> Array:
        """Returns the transformed values."""
        log_scale, shift = self._log_scale_and_shift(x)
        return x * jnp.exp(log_scale) + shift

    def _inverse(self, y: Array) -> Array:
        log_scale, shift = self._log_scale_and_shift(y)
        return (y - shift) * jnp.exp(-log_scale)

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        """Returns the sum of the log scales."""
        return self._log_scale_and_shift(x)[0].sum(axis=-1)

    def tree_flatten(self) -> tuple:
        """Returns the arrays, which are leaves, and their names."""
        return (self.kept, self.inner, self.outer), (("kept", "inner", "outer"), {})


class Prior(nn.Module):
    """The standard prior, transformed by couplings of the even and of the odd coordinates.

    Attributes:
      components: hidden units of each coupling.
    """

    components: int
    learned = True

    @nn.compact
    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the transformed distribution; at first it is the standard prior itself."""
        base = latent.standard_prior()
        (size,) = base.event_shape
        couplings = []
        for parity in range(2):
            inner = self.param(
                f"inner_{parity}", nn.initializers.lecun_normal(), (size, self.components)
            )
            outer = self.param(
                f"outer_{parity}", nn.initializers.zeros, (self.components, 2 * size)
            )
            kept = (jnp.arange(size) % 2 == parity).astype(jnp.float32)
            couplings.append(Coupling(kept, inner, outer))
        return TransformedDistribution(base, couplings, validate_args=False)
