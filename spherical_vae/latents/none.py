"""No latent variable: an empty z, so that a language model is one more VAE."""

import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key


@struct.dataclass
class NoPosterior:
    """z has no coordinates; every density is 1 and every KL 0."""

    mean: Float[Array, "B D"]
    prior_scale: float = struct.field(pytree_node=False, default=1.0)

    @property
    def expectation(self) -> Float[Array, "B D"]:
        """No coordinates."""
        return self.mean

    @property
    def kl_nats(self) -> Float[Array, " B"]:
        """Zeros."""
        return jnp.zeros(self.mean.shape[0])

    @property
    def paper_kl_nats(self) -> Float[Array, " B"]:
        """Zeros."""
        return self.kl_nats

    def sample(self, key: Key[Array, ""], samples: int) -> Float[Array, "S B D"]:
        """Returns an array without entries."""
        del key
        return jnp.zeros((samples, *self.mean.shape))

    def log_prob(self, z: Float[Array, "*S #B D"]) -> Float[Array, "*S B"]:
        """Zeros."""
        return jnp.zeros(jnp.broadcast_shapes(z.shape[:-1], self.mean.shape[:-1]))

    def prior_log_prob(self, z: Float[Array, "*S B D"]) -> Float[Array, "*S B"]:
        """Zeros."""
        return jnp.zeros(z.shape[:-1])


class NoLatent(nn.Module):
    """Ignores what the encoder says."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "B H"], concentration: Float[Array, ""]) -> NoPosterior:
        """Returns the empty posterior of each example."""
        del concentration
        return NoPosterior(jnp.zeros((hidden.shape[0], 0)))
