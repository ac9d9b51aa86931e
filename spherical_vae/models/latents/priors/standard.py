"""The prior without parameters: uniform on the sphere, N(0, I)."""

from typing import Any

from flax import linen as nn
from numpyro.distributions import Distribution


class Prior(nn.Module):
    """The standard prior of the latent.

    Attributes:
      components: not used.
    """

    components: int
    learned = False

    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the standard prior."""
        del posterior_of, hidden_size, hyper
        return latent.standard_prior()
