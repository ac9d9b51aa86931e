"""The range that a learned concentration moves in, shared by every kind that learns one."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict


@dataclass(frozen=True)
class Range:
    """An open interval of concentrations, entered by an offset on the whole real line.

    In a smooth range, the log concentration runs over it as a sigmoid does over (0, 1): neither end
    can be passed, and a step has the same relative effect everywhere. The paper clips instead
    (`clipped`), which stops the gradient at the ends.

    Attributes:
      low: lower end, above 0.
      high: upper end.
      clipped: whether values are cut off at the ends.
    """

    low: float
    high: float
    clipped: bool = False

    @classmethod
    def of(cls, settings: ConfigDict) -> "Range":
        """Returns the range of `config.latent`."""
        return cls(
            settings.min_concentration, settings.max_concentration, settings.range == "clipped"
        )

    def concentration(
        self, start: Float[ArrayLike, ""], offset: Float[Array, "*rows"]
    ) -> Float[Array, "*rows"]:
        """Returns the concentrations at some offsets; an offset of 0 is `start`.

        Args:
          start: strictly inside the range.
          offset: on the logarithmic scale at `start`, up to a factor in a smooth range.
        """
        low, high = jnp.log(self.low), jnp.log(self.high)
        if self.clipped:
            return jnp.exp(jnp.clip(jnp.log(start) + offset, low, high))
        place = jax.scipy.special.logit((jnp.log(start) - low) / (high - low))
        return jnp.exp(low + (high - low) * jax.nn.sigmoid(place + offset))


def component_start(dimension: int, range_: Range) -> float:
    """Returns where the concentration of a prior's component starts: broad, inside the range.

    At d / 2 a component is within 3 nats of the uniform distribution at d = 25, so a mixture of
    many starts near it.
    """
    inside = (range_.high / range_.low) ** 0.1
    return min(max(dimension / 2, range_.low * inside), range_.high / inside)
