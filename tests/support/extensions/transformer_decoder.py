"""A decoder of one's own: a small Transformer that is told z at every position."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from spherical_vae.data.batch import END_ID, Batch
from spherical_vae.models.decoders import DecoderKind
from spherical_vae.models.decoders.decoder import Decoder
from spherical_vae.models.layers import Dropout, DropoutRates

KIND = DecoderKind(__name__, sequences=True)


class TransformerDecoder(Decoder):
    """Layers of causal attention; what generation carries is the words written so far."""

    hidden_size: int
    layers: int
    vocabulary_size: int

    scores_sequences = True
    vocabulary_axes: ClassVar[Mapping[str, int]] = {"words.kernel": 1, "words.bias": 0}
    log_unigram_bias = ("words", "bias")
    reads_embeddings = True

    def setup(self) -> None:
        """Declares the layers."""
        self.inputs = nn.Dense(self.hidden_size)
        self.attentions = [nn.MultiHeadDotProductAttention(2) for _ in range(self.layers)]
        self.norms = [nn.LayerNorm() for _ in range(2 * self.layers)]
        self.wide = [nn.Dense(2 * self.hidden_size) for _ in range(self.layers)]
        self.narrow = [nn.Dense(self.hidden_size) for _ in range(self.layers)]
        self.dropout = Dropout()
        self.words = nn.Dense(self.vocabulary_size)

    def _logits(
        self,
        previous: Int[Array, "N T"],
        constant: Float[Array, "N C"],
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "N T V"]:
        rows, steps = previous.shape
        constant = jnp.broadcast_to(constant[:, None], (rows, steps, constant.shape[1]))
        angles = jnp.arange(steps)[:, None] / 50.0 ** jnp.linspace(0, 1, 4)[None, :]
        positions = jnp.broadcast_to(jnp.sin(angles)[None], (rows, steps, 4))
        hidden = self.inputs(jnp.concatenate([embeddings[previous], constant, positions], axis=2))
        hidden = self.dropout(hidden, None if dropout is None else dropout.units)
        mask = nn.make_causal_mask(previous)
        for i in range(self.layers):
            normed = self.norms[2 * i](hidden)
            hidden = hidden + self.attentions[i](normed, mask=mask)
            normed = self.norms[2 * i + 1](hidden)
            hidden = hidden + self.narrow[i](nn.gelu(self.wide[i](normed)))
        return self.words(hidden)

    def __call__(
        self,
        z: Float[Array, "S B D"],
        conditions: Float[Array, "B C"],
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "S B"]:
        """Returns log p(x|z) in nats."""
        previous = jnp.roll(batch.ids, 1, axis=1).at[:, 0].set(END_ID)

        def score(z: Float[Array, "B D"]) -> Float[Array, " B"]:
            constant = jnp.concatenate([z, conditions], axis=1)
            logits = jax.nn.log_softmax(self._logits(previous, constant, embeddings, dropout))
            chosen = jnp.take_along_axis(logits, batch.ids[..., None], axis=2)[..., 0]
            return (chosen * batch.counts).sum(axis=1)

        return jnp.stack([score(one) for one in z])

    def start(
        self, z: Float[Array, "N D"], max_length: int
    ) -> tuple[Int[Array, "N L"], Int[Array, ""]]:
        """Returns room for the words that are written, and the number of those there."""
        return jnp.full((z.shape[0], max_length), END_ID), jnp.zeros((), jnp.int32)

    def step(
        self,
        carry: tuple[Int[Array, "N L"], Int[Array, ""]],
        z: Float[Array, "N D"],
        conditions: Float[Array, "N C"],
        previous: Int[Array, " N"],
        embeddings: Float[Array, "V E"],
    ) -> tuple[tuple[Int[Array, "N L"], Int[Array, ""]], Float[Array, "N V"]]:
        """Appends the last word, and reads all words again."""
        words, count = carry
        words = words.at[:, count].set(previous)
        constant = jnp.concatenate([z, conditions], axis=1)
        return (words, count + 1), self._logits(words, constant, embeddings)[:, count]


def build(config: ConfigDict, vocabulary_size: int) -> TransformerDecoder:
    """Returns the decoder that `config.decoder` describes."""
    settings = config.decoder
    return TransformerDecoder(settings.hidden_size, settings.layers, vocabulary_size)
