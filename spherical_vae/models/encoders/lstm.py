"""The sentence encoder: an LSTM over the whole sentence, its pads never seen."""

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.models.compute import FLOAT32, Compute
from spherical_vae.models.layers import Dropout, DropoutRates, LSTMLayer
from spherical_vae.models.recurrence import zero_state


def build(config: ConfigDict, vocabulary_size: int) -> "LSTMEncoder":
    """Returns the encoder that `config.encoder` describes."""
    del vocabulary_size
    settings = config.encoder
    return LSTMEncoder(
        settings.hidden_size,
        settings.layers,
        settings.bidirectional,
        settings.pooling,
        Compute(**config.compute),
        config.dropout_mask == "sentence",
    )


class LSTMEncoder(nn.Module):
    """LSTM states of a sentence, end mark included, reduced to one vector.

    The result depends on the example alone, not on the padding or on the rest of the batch: pads
    come after the end, and the state is read at the end mark. (The authors' code reads it after
    the padding, and its encoder does not see the last word.)

    Attributes:
      hidden_size: H, the size of each direction's state.
      layers: number of stacked layers.
      bidirectional: adds a right-to-left pass; the result is then `[B, 2H]`.
      pooling: "last" takes the state at the sentence's end; "mean_max" the mean and the maximum of
        all states, `[B, 2H]` (twice that if bidirectional).
      compute: how products are formed.
      masks_per_sentence: whether the dropout mask of the embeddings is the same at all steps.
    """

    hidden_size: int
    layers: int = 1
    bidirectional: bool = False
    pooling: str = "last"
    compute: Compute = FLOAT32
    masks_per_sentence: bool = False

    reads_embeddings = True
    vocabulary_axes: ClassVar[Mapping[str, int]] = {}

    @nn.compact
    def __call__(
        self,
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "B H"]:
        """Encodes a batch of sentences; the counts are the mask."""
        lengths = batch.counts.sum(axis=1)  # [B]
        rate = None if dropout is None else dropout.units
        across_time = Dropout(0 if self.masks_per_sentence else None, name="embedding_dropout")
        words = across_time(embeddings[batch.ids.T], rate)
        passes = [self._run(words, "forward")]
        if self.bidirectional:
            turned = reverse_sentences(words, lengths)
            passes.append(reverse_sentences(self._run(turned, "backward"), lengths))
        pooled = jnp.concatenate(
            [self._pool(states, lengths, i) for i, states in enumerate(passes)], 1
        )
        return Dropout(name="output_dropout")(pooled, rate)

    def _run(self, inputs: Float[Array, "T B F"], direction: str) -> Float[Array, "T B H"]:
        steps, rows, _ = inputs.shape
        for i in range(self.layers):
            layer = LSTMLayer(self.hidden_size, self.compute, name=f"{direction}_{i}")
            _, inputs = layer(
                inputs, jnp.zeros((rows, 0)), zero_state(rows, self.hidden_size), steps
            )
        return inputs

    def _pool(
        self, states: Float[Array, "T B H"], lengths: Int[Array, " B"], direction: int
    ) -> Float[Array, "B F"]:
        if self.pooling == "last":
            # The right-to-left pass ends at the first word; rows that fill a batch have length 0.
            end = jnp.zeros_like(lengths) if direction else jnp.maximum(lengths - 1, 0)
            return jnp.take_along_axis(states, end[None, :, None], axis=0)[0]
        inside = (jnp.arange(states.shape[0])[:, None] < lengths[None, :])[..., None]  # [T, B, 1]
        count = jnp.maximum(lengths, 1)[:, None]
        mean = jnp.where(inside, states, 0.0).sum(0) / count
        # LSTM states lie in (-1, 1): -1 is below every state, and stays finite in filler rows.
        return jnp.concatenate([mean, jnp.where(inside, states, -1.0).max(0)], axis=1)


def reverse_sentences(
    values: Float[Array, "T B F"], lengths: Int[Array, " B"]
) -> Float[Array, "T B F"]:
    """Reverses each sentence within its own length; the values of pads are meaningless."""
    steps = jnp.arange(values.shape[0])[:, None]
    source = jnp.clip(lengths[None, :] - 1 - steps, 0, None)  # [T, B]
    return jnp.take_along_axis(values, source[..., None], axis=0)
