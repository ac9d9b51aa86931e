"""Priors: modules `(latent, posterior_of, hidden_size, hyper) -> Distribution`.

A prior says whether it is `learned`, and may use what `latent.py` defines of a latent; so every
prior fits every latent that has it.
"""

from typing import Any, ClassVar

from flax import linen as nn
from numpyro.distributions import CategoricalLogits, Distribution, MixtureSameFamily


class StandardPrior(nn.Module):
    """The prior without parameters: uniform on the sphere, N(0, I); `components` is not used."""

    components: int
    learned: ClassVar[bool] = False

    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the standard prior of the latent."""
        return latent.standard_prior()


class MixturePrior(nn.Module):
    """A mixture of K learned components of the posterior's family, with learned weights.

    Components are vMF distributions on the sphere, diagonal normals for a Gaussian.

    Attributes:
      components: K.
    """

    components: int
    learned: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the mixture."""
        features = {
            name: self.param(name, feature.component_init, (self.components, feature.size))
            for name, feature in latent.component_features().items()
        }
        logits = self.param("logits", nn.initializers.zeros, (self.components,))
        return _mixture(logits, latent.component(features, hyper))


class VampPrior(nn.Module):
    """The mixture of the posteriors of K learned pseudo-inputs (Tomczak and Welling 2018).

    A pseudo-input stands for the encoder's output: the inputs of the encoder are words, which
    gradients cannot learn. The weights are learned too.

    Attributes:
      components: K.
    """

    components: int
    learned: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self, latent: Any, posterior_of: Any, hidden_size: int, hyper: Any
    ) -> Distribution:
        """Returns the mixture."""
        start = nn.initializers.normal(1.0)
        inputs = self.param("pseudo_inputs", start, (self.components, hidden_size))
        logits = self.param("logits", nn.initializers.zeros, (self.components,))
        return _mixture(logits, posterior_of(inputs))


def _mixture(logits: Any, components: Distribution) -> Distribution:
    weights = CategoricalLogits(logits, validate_args=False)
    return MixtureSameFamily(weights, components, validate_args=False)
