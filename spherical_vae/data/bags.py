"""Bags of words of one split, and from them a corpus: vocabulary cap, dropped words, statistics.

Entries lie in files where they are many, and are gone through some documents at a time: memory
grows with the number of documents, not with their words.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from spherical_vae.data.array_file import ArrayWriter
from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.data.store import array_path
from spherical_vae.system.errors import UserError

# Entries that are worked on at once.
_BLOCK_ENTRIES = 2**20


class Block(NamedTuple):
    """Some documents end to end; what the columns mean is said by `Bags`."""

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"]
    lengths: Int64[np.ndarray, " documents"]
    labels: Int32[np.ndarray, " documents"] | None

    def with_words(self, new_ids: Int32[np.ndarray, " words"]) -> "Block":
        """Renames ids by the table `new_ids`, taking out the words whose new id is negative."""
        ids = new_ids[self.ids]
        kept = ids >= 0
        # Sums over documents that have entries; the others have none to lose.
        filled = self.lengths > 0
        begins = (np.cumsum(self.lengths) - self.lengths)[filled]
        lengths = np.zeros(len(self.lengths), np.int64)
        if len(begins):
            lengths[filled] = np.add.reduceat(kept, begins, dtype=np.int64)
        return Block(ids[kept], self.counts[kept], lengths, self.labels)

    def where(self, documents: Bool[np.ndarray, " documents"]) -> "Block":
        """Returns the documents chosen by a mask."""
        entries = np.repeat(documents, self.lengths)
        labels = None if self.labels is None else self.labels[documents]
        return Block(self.ids[entries], self.counts[entries], self.lengths[documents], labels)


@dataclass(frozen=True)
class Bags:
    """Documents end to end, of which some are chosen.

    Attributes:
      ids: `[entries]` int32 position of each distinct word in the vocabulary file; may be mapped.
      counts: `[entries]` int32 occurrences, at least 1; may be mapped.
      offsets: `[all + 1]` int64; document i is `ids[offsets[i]:offsets[i + 1]]`, or empty.
      labels: `[all]` int32 from 0, or None.
      chosen: `[all]` the documents that count; the others are passed over.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"]
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " all"] | None
    chosen: Bool[np.ndarray, " all"]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.chosen))

    @property
    def lengths(self) -> Int64[np.ndarray, " documents"]:
        """`[documents]` distinct words of each chosen document."""
        return np.diff(self.offsets)[self.chosen]

    def where(self, documents: Bool[np.ndarray, " documents"]) -> "Bags":
        """Returns those of the chosen documents that a mask chooses, nothing being copied."""
        chosen = self.chosen.copy()
        chosen[chosen] = documents
        return replace(self, chosen=chosen)

    def take(self, positions: Int[np.ndarray, " positions"]) -> "Bags":
        """Returns the chosen documents at sorted positions, nothing being copied."""
        documents = np.zeros(len(self), bool)
        documents[positions] = True
        return self.where(documents)

    def without_labels(self) -> "Bags":
        """Returns the same without labels."""
        return replace(self, labels=None)

    def blocks(self) -> Iterator[Block]:
        """Yields the chosen documents, some at a time."""
        begin = 0
        while begin < len(self.chosen):
            limit = self.offsets[begin] + _BLOCK_ENTRIES
            end = max(begin + 1, int(np.searchsorted(self.offsets, limit, "right")) - 1)
            some = slice(self.offsets[begin], self.offsets[end])
            labels = None if self.labels is None else self.labels[begin:end]
            lengths = np.diff(self.offsets[begin : end + 1])
            block = Block(self.ids[some], self.counts[some], lengths, labels)
            yield block.where(self.chosen[begin:end])
            begin = end

    def occurrences(self, words: int) -> Int64[np.ndarray, " words"]:
        """Returns how often each of `words` words is there."""
        total = np.zeros(words, np.int64)
        for block in self.blocks():
            # As float64, which holds the sum of a block.
            total += np.bincount(block.ids, block.counts, minlength=words).astype(np.int64)
        return total


class BagsWriter:
    """A context that appends documents, in files of a folder or in memory.

    Args:
      folder: None keeps them in memory.
      name: first part of the names of the files.
    """

    def __init__(self, folder: Path | None, name: str):
        self._paths = [folder and array_path(folder, name, part) for part in ("ids", "counts")]
        self._ids, self._counts = (ArrayWriter(path, np.int32) for path in self._paths)
        self._lengths = [np.zeros(1, np.int64)]
        self._labels: list[np.ndarray] = []
        self._stack = ExitStack()

    def append(self, block: Block) -> None:
        """Adds documents; all have labels or none has."""
        self._ids.append(block.ids)
        self._counts.append(block.counts)
        self._lengths.append(block.lengths)
        if block.labels is not None:
            self._labels.append(block.labels)

    def finish(self, scratch: bool = False) -> Bags:
        """Returns all documents, each chosen; `scratch` files are gone when the result is."""
        ids, counts = self._ids.finish(), self._counts.finish()
        for path in self._paths:
            if scratch and path is not None:
                path.unlink()
        offsets = np.cumsum(np.concatenate(self._lengths))
        labels = np.concatenate(self._labels) if self._labels else None
        return Bags(ids, counts, offsets, labels, np.ones(len(offsets) - 1, bool))

    def __enter__(self) -> "BagsWriter":
        self._stack.enter_context(self._ids)
        self._stack.enter_context(self._counts)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()


def rename_words(
    bags: Bags, new_ids: Int32[np.ndarray, " words"], folder: Path | None, name: str
) -> Bags:
    """Returns the chosen documents with other ids, in scratch files of `folder` or in memory.

    Args:
      bags: the documents.
      new_ids: by old id; words with a negative one are taken out.
      folder: None keeps them in memory.
      name: first part of the names of the files.
    """
    with BagsWriter(folder, name) as writer:
        for block in bags.blocks():
            writer.append(block.with_words(new_ids))
        return writer.finish(scratch=True)


def build_bags(
    name: str,
    splits: Mapping[str, Bags],
    words: Sequence[str],
    vocabulary_size: int,
    label_classes: int,
    history: Sequence[str],
    folder: Path | None = None,
) -> Corpus:
    """Caps the vocabulary by frequency in `train` and takes the other words out of all documents.

    Args:
      name: of the corpus.
      splits: `train`, `valid` and `test`, labels from 0.
      words: of the vocabulary file, in its order.
      vocabulary_size: words that stay; ties go to the earlier line of the vocabulary file.
      label_classes: 0 where documents have no labels.
      history: lines that say what was read, dropped and carved; the report begins with them.
      folder: where entries are written, to their places in a prepared corpus; None keeps them in
        memory.

    Returns:
      The corpus; every document has a word at least.

    Raises:
      UserError: a split without a document.
    """
    frequency = splits["train"].occurrences(len(words))
    order = np.argsort(-frequency, kind="stable")[:vocabulary_size]
    new_ids = np.full(len(words), -1, np.int32)
    new_ids[order] = np.arange(len(order))
    vocabulary = Vocabulary(tuple(words[i] for i in order), frequency[order])

    encoded, statistics = {}, []
    for key, bags in splits.items():
        before = 0
        with BagsWriter(folder, key) as writer:
            for block in bags.blocks():
                before += int(block.counts.sum(dtype=np.int64))
                capped = block.with_words(new_ids)
                writer.append(capped.where(capped.lengths > 0))
            kept = writer.finish()
        if not len(kept):
            raise UserError(f"{name}: no document is left in {key} ({'; '.join(history)})")
        encoded[key] = split = Split(kept.ids, kept.counts, kept.offsets, kept.labels)
        statistics.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens, mean length "
            f"{split.tokens / len(split):.2f} words ({len(split.ids) / len(split):.2f} distinct), "
            f"beyond the vocabulary and taken out: {1 - split.tokens / before:.2%} "
            f"({before - split.tokens:,} of {before:,} tokens) and with them "
            f"{len(bags) - len(kept):,} of {len(bags):,} documents"
        )
    unseen = int(np.count_nonzero(vocabulary.train_counts == 0))
    head = (
        f"corpus {name}: bags of words, vocabulary {len(vocabulary):,} of {len(words):,} "
        f"words listed, {unseen:,} of them never in train"
    )
    return Corpus(name, "bags", vocabulary, encoded, label_classes, (head, *history, *statistics))
