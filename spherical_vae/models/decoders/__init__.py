"""The kinds of decoder: `(z [S, B, D], conditions [B, C], batch) -> log p(x|z) [S, B]`.

Importing this loads neither JAX nor Flax. A new kind is a file with `build(config,
vocabulary_size)` and a line here, or a user's module with a `KIND` (see `Registry`); the contract
of the decoder is in `decoder.py`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from spherical_vae.system.registry import Registry, part

if TYPE_CHECKING:
    from spherical_vae.models.decoders.decoder import Decoder


@dataclass(frozen=True)
class DecoderKind:
    """Description of a kind of decoder, known before any module is loaded.

    Attributes:
      module: with the function `build(config, vocabulary_size) -> Decoder`.
      sequences: whether words are scored in order, as sentences; otherwise as bags of words.
      min_layers: least value of `config.decoder.layers`.
      max_layers: largest value of it.
      reads: optional keys of the configuration that it reads; setting another one is an error.
    """

    module: str
    sequences: bool
    min_layers: int = 1
    max_layers: int = 2**31 - 1
    reads: frozenset[str] = frozenset()


DECODERS = Registry(
    {
        "lstm": DecoderKind(
            f"{__name__}.lstm",
            sequences=True,
            reads=frozenset({"compute.dtype", "condition_on_bag", "decoder.tied_embeddings"})
            | {"dropout_mask", "state_dropout_rate", "word_dropout_rate"},
        ),
        "bag_of_words": DecoderKind(
            f"{__name__}.bag_of_words",
            sequences=False,
            min_layers=0,
            max_layers=1,
            reads=frozenset({"decoder.skip"}),
        ),
    }
)


def build_decoder(config: ConfigDict, vocabulary_size: int) -> "Decoder":
    """Returns the decoder that `config.decoder` describes (already validated)."""
    decoder: Decoder = part(DECODERS[config.decoder.kind].module, "build")(config, vocabulary_size)
    return decoder
