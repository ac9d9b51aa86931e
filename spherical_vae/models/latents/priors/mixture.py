"""A mixture of learned components of the posterior's family."""

from typing import Any

from flax import linen as nn
from numpyro.distributions import CategoricalLogits, Distribution, MixtureSameFamily


class Prior(nn.Module):
    """vMF components on the sphere, diagonal normals for a Gaussian; weights are learned too.

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
        del posterior_of, hidden_size
        features = {
            name: self.param(name, feature.component_init, (self.components, feature.size))
            for name, feature in latent.component_features().items()
        }
        logits = self.param("logits", nn.initializers.zeros, (self.components,))
        return mixture(logits, latent.component(features, hyper))


def mixture(logits: Any, components: Distribution) -> Distribution:
    """Returns the mixture of the last batch axis of some distributions, with these log weights."""
    weights = CategoricalLogits(logits, validate_args=False)
    return MixtureSameFamily(weights, components, validate_args=False)
