"""The contract every latent keeps: a pytree that knows its KL, and can draw and score z."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Key


@runtime_checkable
class Posterior(Protocol):
    """q(z|x) of each example of a batch, together with the prior p(z) that goes with it.

    Encode once, draw in chunks: a posterior carries all that drawing needs.

    Attributes:
      mean: `[B, D]` location; a unit vector on the sphere.
      prior_scale: factor that gives each coordinate of z unit variance under the prior.
    """

    mean: Float[Array, "B D"]
    prior_scale: float

    @property
    def expectation(self) -> Float[Array, "B D"]:
        """E z under q(z|x); inside the sphere where `mean` is a direction."""

    @property
    def kl_nats(self) -> Float[Array, " B"]:
        """KL(q(z|x) || p(z)), exact."""

    @property
    def paper_kl_nats(self) -> Float[Array, " B"]:
        """The KL that the authors' code charges; differs from `kl_nats` for vMF only."""

    def sample(self, key: Key[Array, ""], samples: int) -> Float[Array, "S B D"]:
        """Draws z, differentiable in the parameters of q."""

    def log_prob(self, z: Float[Array, "*S #B D"]) -> Float[Array, "*S B"]:
        """log q(z|x); a `B` axis of 1 in z broadcasts, so that all pairs of x and z can be had."""

    def prior_log_prob(self, z: Float[Array, "*S B D"]) -> Float[Array, "*S B"]:
        """log p(z)."""
