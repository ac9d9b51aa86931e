"""The mixture of the posteriors of learned pseudo-inputs (Tomczak and Welling 2018)."""

from typing import Any

from flax import linen as nn
from numpyro.distributions import Distribution

from spherical_vae.models.latents.priors.mixture import mixture


class Prior(nn.Module):
    """Posteriors of K pseudo-inputs, with learned weights.

    A pseudo-input is a vector in the place of the encoder's output: words are discrete, so the
    encoder itself has no inputs that could be learned by gradients.

    Attributes:
      components: K.
    """

    components: int
    learned = True

    @nn.compact
    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the mixture."""
        del latent, hyper
        start = nn.initializers.normal(1.0)
        inputs = self.param("pseudo_inputs", start, (self.components, hidden_size))
        logits = self.param("logits", nn.initializers.zeros, (self.components,))
        return mixture(logits, posterior_of(inputs))
