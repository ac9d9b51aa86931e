"""The document decoder of NVDM: tokens are independent samples of softmax(f(z))."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.models.compute import EXACT
from spherical_vae.models.decoders.decoder import Decoder, with_conditions
from spherical_vae.models.layers import Dropout, DropoutRates, bag_vector, dense


def build(config: ConfigDict, vocabulary_size: int) -> "BagOfWordsDecoder":
    """Returns the decoder that `config.decoder` describes."""
    settings = config.decoder
    return BagOfWordsDecoder(settings.hidden_size, settings.layers, vocabulary_size, settings.skip)


class BagOfWordsDecoder(Decoder):
    """z and the conditions -> (hidden, tanh) -> softmax over the vocabulary.

    Attributes:
      hidden_size: size of the hidden layer.
      layers: number of hidden layers, 0 or 1.
      vocabulary_size: V.
      skip: whether a linear map of z and the conditions is added to the logits.
    """

    hidden_size: int
    layers: int
    vocabulary_size: int
    skip: bool = False

    scores_sequences = False
    vocabulary_axes: ClassVar[Mapping[str, int]] = {
        "words.kernel": 1,
        "words.bias": 0,
        "skip_kernel": 1,
    }
    log_unigram_bias = ("words", "bias")

    def word_log_probs(
        self, z: Float[Array, "S B D"], conditions: Float[Array, "B C"]
    ) -> Float[Array, "S B V"]:
        """Returns the log probability of each word at any place of the document."""
        return jax.nn.log_softmax(self._logits(z, conditions, None))

    @nn.compact
    def _logits(
        self, z: Array, conditions: Array, dropout: DropoutRates | None
    ) -> Float[Array, "S B V"]:
        given = hidden = with_conditions(z, conditions)
        for i in range(self.layers):
            hidden = jnp.tanh(dense(self.hidden_size, name=f"hidden_{i}")(hidden))
        # Of the hidden layer, not of the logits as in the authors' code: a dropped logit would be
        # 0, neither likely nor unlikely, and the noise would act on the normaliser.
        if self.layers:
            rate = None if dropout is None else dropout.units
            hidden = Dropout(name="hidden_dropout")(hidden, rate)
        logits = dense(self.vocabulary_size, name="words")(hidden)
        if self.skip:
            shape = (given.shape[-1], self.vocabulary_size)
            kernel = self.param("skip_kernel", nn.initializers.zeros, shape)
            logits = logits + jnp.matmul(given, kernel, precision=EXACT)
        return logits

    def __call__(
        self,
        z: Float[Array, "S B D"],
        conditions: Float[Array, "B C"],
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "S B"]:
        """Returns log p(x|z) in nats: the sum over tokens, without the multinomial coefficient."""
        del embeddings
        logits = self._logits(z, conditions, dropout)
        # The softmax touches all words anyway; a dense bag has a gradient without a scatter.
        bag = bag_vector(batch.ids, batch.counts.astype(jnp.float32), self.vocabulary_size)
        tokens = batch.counts.sum(axis=1).astype(jnp.float32)
        return (logits * bag[None]).sum(axis=2) - tokens[None] * jax.nn.logsumexp(logits, axis=2)
