"""The diagonal Gaussian latent with a standard normal prior (Kingma and Welling 2014)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key

from spherical_vae.layers import dense


@struct.dataclass
class GaussianPosterior:
    """N(mean, diag(exp(log_variance))) under the prior N(0, I)."""

    mean: Float[Array, "B D"]
    log_variance: Float[Array, "B D"]
    prior_scale: float = struct.field(pytree_node=False, default=1.0)

    @property
    def expectation(self) -> Float[Array, "B D"]:
        """The mean."""
        return self.mean

    @property
    def kl_nats(self) -> Float[Array, " B"]:
        """KL to the prior, summed over coordinates."""
        variance_terms = jnp.exp(self.log_variance) - 1 - self.log_variance
        return 0.5 * (variance_terms + self.mean**2).sum(axis=-1)

    @property
    def paper_kl_nats(self) -> Float[Array, " B"]:
        """The same: the authors' code has this KL right."""
        return self.kl_nats

    def sample(self, key: Key[Array, ""], samples: int) -> Float[Array, "S B D"]:
        """Draws by location and scale; pathwise gradients in both."""
        noise = jax.random.normal(key, (samples, *self.mean.shape))
        return self.mean[None] + jnp.exp(0.5 * self.log_variance)[None] * noise

    def log_prob(self, z: Float[Array, "*S #B D"]) -> Float[Array, "*S B"]:
        """log N(z; mean, diag(exp(log_variance)))."""
        lead = (1,) * (z.ndim - 2)
        mean = self.mean.reshape(lead + self.mean.shape)
        log_variance = self.log_variance.reshape(lead + self.mean.shape)
        squares = (z - mean) ** 2 * jnp.exp(-log_variance)
        return -0.5 * (squares + log_variance + jnp.log(2 * jnp.pi)).sum(axis=-1)

    def prior_log_prob(self, z: Float[Array, "*S B D"]) -> Float[Array, "*S B"]:
        """log N(z; 0, I)."""
        return -0.5 * (z**2 + jnp.log(2 * jnp.pi)).sum(axis=-1)


class GaussianHead(nn.Module):
    """Affine maps to the mean and the log variance.

    Attributes:
      dimension: D.
    """

    dimension: int

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "B H"], concentration: Float[Array, ""]
    ) -> GaussianPosterior:
        """Returns the posterior of each example; `concentration` belongs to other heads."""
        del concentration
        # A zero start for the log variance: training begins at the prior's spread.
        log_variance = dense(self.dimension, "log_variance", kernel_init=nn.initializers.zeros)
        return GaussianPosterior(dense(self.dimension, name="mean")(hidden), log_variance(hidden))
