"""The sentence decoder: an LSTM started by z and fed z at every step, with the last word or not."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from spherical_vae.data.batch import END_ID, UNKNOWN_ID, Batch
from spherical_vae.models.compute import FLOAT32, Compute
from spherical_vae.models.decoders.decoder import Decoder, with_conditions
from spherical_vae.models.layers import (
    Dropout,
    DropoutRates,
    LSTMLayer,
    SoftmaxWeights,
    dense,
    dropout_mask,
)
from spherical_vae.models.recurrence import State
from spherical_vae.models.softmax import target_log_probs
from spherical_vae.random import threefry


def build(config: ConfigDict, vocabulary_size: int) -> "LSTMDecoder":
    """Returns the decoder that `config.decoder` describes."""
    settings = config.decoder
    return LSTMDecoder(
        settings.hidden_size,
        settings.layers,
        settings.inputless,
        vocabulary_size,
        Compute(**config.compute),
        settings.tied_embeddings,
        config.dropout_mask == "sentence",
        config.state_dropout_rate > 0,
        config.word_dropout_rate > 0,
    )


class LSTMDecoder(Decoder):
    """p(x|z) = product over t of p(x_t | x_<t, z), or of p(x_t | z) if inputless.

    Attributes:
      hidden_size: H.
      layers: number of stacked layers, each started by z through maps of its own.
      inputless: whether the previous word is not fed. A constant input (the unknown word in the
        authors' code) would be part of the biases.
      vocabulary_size: V.
      compute: how products are formed.
      tied: whether the softmax multiplies by the word embeddings.
      masks_per_sentence: whether a dropout mask is the same at all steps of a sentence.
      drops_state: whether `DropoutRates.state` is applied.
      drops_words: whether `DropoutRates.words` is applied.
    """

    hidden_size: int
    layers: int
    inputless: bool
    vocabulary_size: int
    compute: Compute = FLOAT32
    tied: bool = False
    masks_per_sentence: bool = False
    drops_state: bool = False
    drops_words: bool = False

    scores_sequences = True
    vocabulary_axes: ClassVar[Mapping[str, int]] = {"words.kernel": 1, "words.bias": 0}
    log_unigram_bias = ("words", "bias")

    @property
    def reads_embeddings(self) -> bool:
        """Whether words are fed, or the softmax multiplies by their embeddings."""
        return self.tied or not self.inputless

    def setup(self) -> None:
        """Declares the layers, the maps from z to their first states, and the softmax."""
        self.cells = [
            LSTMLayer(self.hidden_size, self.compute, name=f"layer_{i}") for i in range(self.layers)
        ]
        self.starts = [dense(2 * self.hidden_size, name=f"start_{i}") for i in range(self.layers)]
        self.words = SoftmaxWeights(self.vocabulary_size, self.tied)
        time_axis = 0 if self.masks_per_sentence else None
        self.embedding_dropout = Dropout(time_axis)
        self.output_dropout = Dropout(time_axis)
        self.word_dropout = WordDropout()

    def __call__(
        self,
        z: Float[Array, "S B D"],
        conditions: Float[Array, "B C"],
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "S B"]:
        """Returns log p(x|z) in nats."""
        # Time is the first axis. The layers see S * B rows, those of a sample together; the softmax
        # sees T * S steps of B rows, so that a block of logits can be one sample of one step.
        samples, rows, _ = z.shape
        steps = batch.ids.shape[1]
        constant = with_conditions(z, conditions).reshape(samples * rows, -1)
        hidden = None
        units = None if dropout is None else dropout.units
        if not self.inputless:
            previous = jnp.roll(batch.ids, 1, axis=1).at[:, 0].set(END_ID)  # [B, T]
            if self.drops_words and dropout is not None:
                previous = self.word_dropout(previous, dropout.words)
            # [T, B, E]: the layer repeats their product for each sample.
            hidden = self.embedding_dropout(embeddings[previous.T], units)
        for layer, state in zip(self.cells, self._start(z), strict=True):
            mask = None
            if self.drops_state and dropout is not None:
                mask = dropout_mask(self.make_rng("dropout"), state[1].shape, dropout.state)
            _, hidden = layer(hidden, constant, state, steps, mask)
        assert hidden is not None  # There is a layer at least.
        hidden = self.output_dropout(hidden, units)  # [T, S * B, H]
        hidden = hidden.reshape(steps * samples, rows, -1)
        targets, counts = (jnp.repeat(x.T, samples, axis=0) for x in (batch.ids, batch.counts))
        scores = target_log_probs(
            self.compute,
            *self.words(hidden, embeddings),
            targets,
            counts > 0 if dropout is None else None,
        )
        return (scores * counts).reshape(steps, samples, rows).sum(axis=0)

    def start(self, z: Float[Array, "N D"], max_length: int) -> list[State]:
        """Returns the state of each layer before the first word."""
        del max_length
        return self._start(z[None])

    def _start(self, z: Float[Array, "S B D"]) -> list[State]:
        flat = z.reshape(z.shape[0] * z.shape[1], -1)
        halves = [jnp.split(start(flat), 2, axis=1) for start in self.starts]
        return [(cell, hidden) for cell, hidden in halves]

    def step(
        self,
        carry: list[State],
        z: Float[Array, "N D"],
        conditions: Float[Array, "N C"],
        previous: Int[Array, " N"],
        embeddings: Float[Array, "V E"],
    ) -> tuple[list[State], Float[Array, "N V"]]:
        """Advances the state of each layer by one word."""
        constant = jnp.concatenate([z, conditions], axis=1)
        hidden = None if self.inputless else embeddings[previous][None]
        following = []
        for layer, state in zip(self.cells, carry, strict=True):
            state, hidden = layer(hidden, constant, state, 1)
            following.append(state)
        rows, kernel, bias = self.words(following[-1][1], embeddings)
        return following, self.compute.product(rows, kernel) + bias[None]


class WordDropout(nn.Module):
    """Replaces previous words by the unknown one, except the mark before the first word.

    It is a module, so that its key is its own and other dropout does not depend on it.
    """

    def __call__(self, previous: Int[Array, "B T"], rate: Float[Array, ""]) -> Int[Array, "B T"]:
        """Returns the words that are read instead."""
        dropped = threefry.uniform(self.make_rng("dropout"), previous.shape) < rate
        first = jax.lax.broadcasted_iota(jnp.int32, previous.shape, 1) == 0
        return jnp.where(dropped & ~first, UNKNOWN_ID, previous)
