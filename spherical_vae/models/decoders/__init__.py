"""Decoders map latents to words: `(z [S, B, D], conditions [B, C], batch) -> log p(x|z) [S, B]`.

They know nothing of where z comes from or what the conditions mean. A new decoder is a new file and
a line in `build_decoder`.
"""

from flax import linen as nn
from ml_collections import ConfigDict

from spherical_vae.models.compute import Compute
from spherical_vae.models.decoders.bag_of_words import BagOfWordsDecoder
from spherical_vae.models.decoders.lstm import LSTMDecoder


def build_decoder(config: ConfigDict, vocabulary_size: int) -> nn.Module:
    """Returns the decoder that `config.decoder` describes (already validated)."""
    settings = config.decoder
    match settings.kind:
        case "lstm":
            return LSTMDecoder(
                settings.hidden_size,
                settings.layers,
                settings.inputless,
                vocabulary_size,
                Compute.of(config.compute),
                settings.tied_embeddings,
                config.dropout_mask == "sentence",
                config.state_dropout_rate > 0,
                config.word_dropout_rate > 0,
            )
        case "bag_of_words":
            return BagOfWordsDecoder(
                settings.hidden_size, settings.layers, vocabulary_size, settings.skip
            )
    raise ValueError(f"no decoder of kind {settings.kind!r}")
