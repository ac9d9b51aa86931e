"""What a corpus is once it has been read: flat token arrays with offsets, and a vocabulary.

Reading and preprocessing live in the sibling modules; padding and order live in `batches.py`.
"""

import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Int, Int32, Int64


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
      mappings: that the arrays live in, where they are mapped from files.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " examples"] | None
    mappings: tuple[mmap.mmap, ...] = ()

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

    def release_pages(self) -> None:
        """Takes what was read of mapped files out of this process's resident memory.

        Nothing is lost: the system still has it at hand, and maps it again when it is read.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapping in self.mappings:
                mapping.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Corpus:
    """A vocabulary and the splits `train`, `valid` and `test`.

    Attributes:
      name: as it must appear in every output.
      kind: whether order is known.
      vocabulary: from train only.
      splits: by name.
      label_classes: number of labels, 0 where there are none.
      report: lines for a person: what was read, dropped, cut and carved, and the statistics.
    """

    name: str
    kind: Literal["sequences", "bags"]
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

        A run resumed or evaluated on other text would go on without a word and mean nothing.
        """
        return self.checksum

    @cached_property
    def checksum(self) -> int:
        """What `fingerprint` returns, computed once; a prepared corpus knows it unread."""
        total = zlib.crc32("\n".join(self.vocabulary.words).encode())
        for name in sorted(self.splits):
            split = self.splits[name]
            for array in (split.ids, split.counts, split.offsets, split.labels):
                if array is not None:
                    total = zlib.crc32(np.ascontiguousarray(array).data, total)
        return total
