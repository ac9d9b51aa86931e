"""The document encoder of NVDM: a multilayer perceptron over word counts."""

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from spherical_vae.data.batch import Batch
from spherical_vae.models.layers import Dropout, DropoutRates, bag_vector, dense


def build(config: ConfigDict, vocabulary_size: int) -> "BagOfWordsEncoder":
    """Returns the encoder that `config.encoder` describes."""
    settings = config.encoder
    return BagOfWordsEncoder(
        settings.hidden_size, settings.layers, settings.counts, vocabulary_size
    )


class BagOfWordsEncoder(nn.Module):
    """Affine maps over a bag of words, a tanh after each but the last of several.

    Two layers of 400 are the paper's; as in the authors' code only the first carries a tanh, since
    the head of the latent follows the second.

    Attributes:
      hidden_size: H, the size of every layer.
      layers: number of affine maps.
      counts: "log" feeds log(1 + count), "raw" the counts themselves.
      vocabulary_size: V.
    """

    hidden_size: int
    layers: int
    counts: str
    vocabulary_size: int

    reads_embeddings = False
    vocabulary_axes: ClassVar[Mapping[str, int]] = {"layer_0.kernel": 0}

    @nn.compact
    def __call__(
        self,
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "B H"]:
        """Encodes a batch; neither the order of words nor `embeddings` is used."""
        del embeddings
        hidden = bag_vector(batch.ids, batch.counts.astype(jnp.float32), self.vocabulary_size)
        if self.counts == "log":
            hidden = jnp.log1p(hidden)
        for i in range(self.layers):
            hidden = dense(self.hidden_size, name=f"layer_{i}")(hidden)
            if i < self.layers - 1 or self.layers == 1:
                hidden = jnp.tanh(hidden)
        rate = None if dropout is None else dropout.units
        return Dropout(name="output_dropout")(hidden, rate)
