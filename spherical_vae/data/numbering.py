"""Sentences as numbers: words counted off in the order in which they first appear.

One pass over the text; which numbers become which ids of a vocabulary is decided afterwards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from spherical_vae.data.array_file import ArrayWriter
from spherical_vae.data.sentences import Sentences

# Words that are worked on at once.
_BLOCK_WORDS = 2**20


@dataclass(frozen=True)
class NumberedSentences:
    """Sentences end to end.

    Attributes:
      numbers: `[words]` number of each word; may be mapped from a file.
      offsets: `[all + 1]` sentence i is `numbers[offsets[i]:offsets[i + 1]]`, one word at least.
      labels: `[all]` from 0, or None.
      chosen: `[all]` the sentences that count; the others are passed over.
    """

    numbers: Int32[np.ndarray, " words"]
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " all"] | None
    chosen: Bool[np.ndarray, " all"]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.chosen))

    def take(self, positions: Int[np.ndarray, " positions"]) -> "NumberedSentences":
        """Returns the sentences at sorted positions, nothing being copied."""
        chosen = np.zeros(len(self.chosen), bool)
        chosen[positions] = True
        return NumberedSentences(self.numbers, self.offsets, self.labels, chosen)

    def blocks(self) -> Iterator[tuple[Int32[np.ndarray, " words"], Int64[np.ndarray, " some"]]]:
        """Yields the chosen sentences, some at a time: numbers of their words, and lengths."""
        begin = 0
        while begin < len(self.chosen):
            limit = self.offsets[begin] + _BLOCK_WORDS
            end = max(begin + 1, int(np.searchsorted(self.offsets, limit, "right")) - 1)
            chosen = self.chosen[begin:end]
            lengths = np.diff(self.offsets[begin : end + 1])
            numbers = self.numbers[self.offsets[begin] : self.offsets[end]]
            yield numbers[np.repeat(chosen, lengths)], lengths[chosen]
            begin = end


class Numbering(dict[str, int]):
    """The number of each word; a word that is looked up for the first time gets the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number

    def number(self, blocks: Iterable[Sentences], path: Path | None = None) -> NumberedSentences:
        """Numbers sentences that come some at a time.

        Args:
          blocks: every sentence has a word at least; all have labels or none has.
          path: of the file that numbers are written to; None keeps them in memory.
        """
        lengths, labels = [np.zeros(1, np.int64)], []
        with ArrayWriter(path, np.int32) as writer:
            for block in blocks:
                sizes = np.fromiter(map(len, block.words), np.int64, len(block.words))
                words = chain.from_iterable(block.words)
                writer.append(np.fromiter(map(self.__getitem__, words), np.int32, sizes.sum()))
                lengths.append(sizes)
                if block.labels is not None:
                    labels.append(np.array(block.labels, np.int32))
            numbers = writer.finish()
        offsets = np.cumsum(np.concatenate(lengths))
        all_labels = np.concatenate(labels) if labels else None
        return NumberedSentences(numbers, offsets, all_labels, np.ones(len(offsets) - 1, bool))
