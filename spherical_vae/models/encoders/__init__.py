"""Encoders map a batch to one hidden vector an example: `(batch, embeddings) -> [B, H]`.

They know nothing of latents. A new encoder is a new file and a line in `build_encoder`.
"""

from flax import linen as nn
from ml_collections import ConfigDict

from spherical_vae.models.compute import Compute
from spherical_vae.models.encoders.bag_of_words import BagOfWordsEncoder
from spherical_vae.models.encoders.lstm import LSTMEncoder


def build_encoder(config: ConfigDict, vocabulary_size: int) -> nn.Module:
    """Returns the encoder that `config.encoder` describes (already validated)."""
    settings = config.encoder
    match settings.kind:
        case "lstm":
            return LSTMEncoder(
                settings.hidden_size,
                settings.layers,
                settings.bidirectional,
                settings.pooling,
                Compute.of(config.compute),
                config.dropout_mask == "sentence",
            )
        case "bag_of_words":
            return BagOfWordsEncoder(
                settings.hidden_size, settings.layers, settings.counts, vocabulary_size
            )
    raise ValueError(f"no encoder of kind {settings.kind!r}")
