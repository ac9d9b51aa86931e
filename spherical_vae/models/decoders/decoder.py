"""The contract of a decoder."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from spherical_vae.data.batch import Batch
from spherical_vae.models.layers import DropoutRates


class Decoder(nn.Module):
    """p(x|z, conditions), for sequences or for bags of words.

    A decoder of sequences also defines `start` and `step`, one of bags `word_log_probs`.

    Attributes:
      scores_sequences: whether words are scored in order.
      vocabulary_axes: the axis over the vocabulary of each parameter that has one, by its path.
      log_unigram_bias: path of the parameter that is added to the logits of all words, and is
        initialised as the logarithm of their frequencies; None if there is none.
    """

    scores_sequences: ClassVar[bool]
    vocabulary_axes: ClassVar[Mapping[str, int]] = {}
    log_unigram_bias: ClassVar[tuple[str, ...] | None] = None

    @property
    def reads_embeddings(self) -> bool:
        """Whether it reads the word embeddings that it shares with the encoder."""
        return False

    def __call__(
        self,
        z: Float[Array, "S B D"],
        conditions: Float[Array, "B C"],
        batch: Batch,
        embeddings: Float[Array, "V E"],
        dropout: DropoutRates | None = None,
    ) -> Float[Array, "S B"]:
        """Returns log p(x|z) in nats, the end mark of a sequence included.

        Args:
          z: samples.
          conditions: of each example, beside z; C may be 0.
          batch: the examples to score.
          embeddings: of all words; E is 0 unless a part of the model reads them.
          dropout: rates; None in evaluation.
        """
        raise NotImplementedError

    def start(self, z: Float[Array, "N D"], max_length: int) -> Any:
        """Returns the carry of `step` before the first of at most `max_length` words."""
        raise NotImplementedError

    def step(
        self,
        carry: Any,
        z: Float[Array, "N D"],
        conditions: Float[Array, "N C"],
        previous: Int[Array, " N"],
        embeddings: Float[Array, "V E"],
    ) -> tuple[Any, Float[Array, "N V"]]:
        """Advances by one word.

        Args:
          carry: of `start`, or of the step before; opaque to the caller.
          z: as given to `start`.
          conditions: as in scoring.
          previous: the last word; the end mark before the first.
          embeddings: as in scoring.

        Returns:
          The carry of the next step, and the logits of the next word.
        """
        raise NotImplementedError

    def word_log_probs(
        self, z: Float[Array, "S B D"], conditions: Float[Array, "B C"]
    ) -> Float[Array, "S B V"]:
        """Returns the log probability of each word at any place of a document."""
        raise NotImplementedError


def with_conditions(
    z: Float[Array, "S B D"], conditions: Float[Array, "B C"]
) -> Float[Array, "S B F"]:
    """Appends the conditions of each example to all of its samples."""
    repeated = jnp.broadcast_to(conditions[None], (z.shape[0], *conditions.shape))
    return jnp.concatenate([z, repeated], axis=2)
