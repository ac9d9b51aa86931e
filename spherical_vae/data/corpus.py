"""A corpus in memory or mapped from files: flat arrays of tokens with offsets, and a vocabulary."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Int, Int32, Int64

Kind = Literal["sequences", "bags"]


@dataclass(frozen=True)
class Vocabulary:
    """Words by id, most frequent first.

    For sequences, id 0 is the unknown word and id 1 the end mark; bags of words have neither.

    Attributes:
      words: the word of each id.
      train_counts: `[V]` occurrences in the training split, the end mark counted once a sentence.
    """

    words: tuple[str, ...]
    train_counts: Int[np.ndarray, " V"]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Split:
    """One split, all examples end to end; arrays may be memory-mapped.

    Attributes:
      ids: `[N]` int32 word ids: a sentence's words and its end mark; a document's distinct words.
      counts: `[N]` int32 occurrences of each id for bags of words; None for sequences.
      offsets: `[examples + 1]` int64; example i is `ids[offsets[i]:offsets[i + 1]]`.
      labels: `[examples]` int32 from 0, or None.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " examples"] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " examples"]:
        """`[examples]` slots of each example: tokens with the end mark, or distinct words."""
        return np.diff(self.offsets)

    @cached_property
    def tokens(self) -> int:
        """Scored tokens: words and end marks of sequences, the sum of counts of bags."""
        return int(self.offsets[-1] if self.counts is None else self.counts.sum())


@dataclass(frozen=True)
class Corpus:
    """A vocabulary and the splits `train`, `valid` and `test`.

    Attributes:
      name: as it must appear in every output.
      kind: whether the order of words is known.
      vocabulary: from train only.
      splits: by name.
      label_classes: number of labels, 0 if there are none.
      report: lines for a person: what was read, dropped, cut and carved, and the statistics.
    """

    name: str
    kind: Kind
    vocabulary: Vocabulary
    splits: Mapping[str, Split]
    label_classes: int
    report: tuple[str, ...]

    @property
    def mean_words(self) -> float:
        """Words of a sentence of train, the end mark not among them."""
        train = self.splits["train"]
        return train.tokens / len(train) - 1

    def fingerprint(self) -> int:
        """Returns a checksum of the vocabulary and of every split.

        A run that is resumed or evaluated on other text would mean nothing; runs compare it.
        """
        return self.checksum

    @cached_property
    def checksum(self) -> int:
        """The value of `fingerprint`, computed once; that of a prepared corpus is stored."""
        total = zlib.crc32("\n".join(self.vocabulary.words).encode())
        for name in sorted(self.splits):
            split = self.splits[name]
            for array in (split.ids, split.counts, split.offsets, split.labels):
                if array is not None:
                    total = zlib.crc32(np.ascontiguousarray(array).data, total)
        return total
