"""The kinds of encoder: `(batch, embeddings, dropout) -> [B, H]`, one hidden vector per example.

Importing this loads neither JAX nor Flax. A new kind is a file with `build(config,
vocabulary_size)` and a line here, or a user's module with a `KIND` (see `Registry`). An encoder has
the attributes `reads_embeddings`, whether it reads the word embeddings, and `vocabulary_axes`, as
a decoder has.
"""

from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.system.registry import Registry, part


@dataclass(frozen=True)
class EncoderKind:
    """Description of a kind of encoder, known before any module is loaded.

    Attributes:
      module: with the function `build(config, vocabulary_size)`.
      sequences: whether the order of words is read, which bags of words do not have.
      reads: optional keys of the configuration that it reads; setting another one is an error.
    """

    module: str
    sequences: bool
    reads: frozenset[str] = frozenset()


ENCODERS = Registry(
    {
        "lstm": EncoderKind(
            f"{__name__}.lstm",
            sequences=True,
            reads=frozenset({"compute.dtype", "dropout_mask", "encoder.bidirectional"}),
        ),
        "bag_of_words": EncoderKind(
            f"{__name__}.bag_of_words", sequences=False, reads=frozenset({"encoder.counts"})
        ),
    }
)


def build_encoder(config: ConfigDict, vocabulary_size: int) -> Any:
    """Returns the Flax module that `config.encoder` describes (already validated)."""
    return part(ENCODERS[config.encoder.kind].module, "build")(config, vocabulary_size)
