"""The padded batch that models read. Nothing is imported here: a model needs no loader."""

from typing import Any, NamedTuple

# Of sequences; bags of words have neither.
UNKNOWN_ID = 0
END_ID = 1


class Batch(NamedTuple):
    """Padded examples of one compiled shape; a pytree of NumPy or JAX arrays.

    Attributes:
      ids: `[B, T]` int32; sequences: words, then the end mark, then padding; bags: distinct words.
      counts: `[B, T]` int32; 1 on words and end marks of sequences, occurrences in bags, 0 on pads.
      labels: `[B]` int32, 0 where the corpus has none.
      index: `[B]` int32 position in the split, -1 on rows that only fill the batch.
    """

    ids: Any
    counts: Any
    labels: Any
    index: Any  # hides tuple.index, which nobody calls
