"""Bags of words of one split, and from them a corpus: vocabulary cap, dropped words, statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64

from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.errors import UserError


@dataclass(frozen=True)
class Bags:
    """Documents end to end.

    Attributes:
      ids: `[entries]` int64 position of each distinct word in the vocabulary file.
      counts: `[entries]` int64 occurrences, at least 1.
      lengths: `[documents]` int64 entries of each document; 0 allowed.
      labels: `[documents]` int64 as written in the file, or None.
    """

    ids: Int64[np.ndarray, " entries"]
    counts: Int64[np.ndarray, " entries"]
    lengths: Int64[np.ndarray, " documents"]
    labels: Int64[np.ndarray, " documents"] | None

    def __len__(self) -> int:
        return len(self.lengths)

    def where(self, documents: Bool[np.ndarray, " documents"]) -> "Bags":
        """Returns the documents chosen by a boolean mask `[documents]`."""
        entries = np.repeat(documents, self.lengths)
        labels = None if self.labels is None else self.labels[documents]
        return Bags(self.ids[entries], self.counts[entries], self.lengths[documents], labels)

    def take(self, positions: Int[np.ndarray, " positions"]) -> "Bags":
        """Returns the documents at sorted positions."""
        chosen = np.zeros(len(self), bool)
        chosen[positions] = True
        return self.where(chosen)

    def with_words(self, new_ids: Int[np.ndarray, " words"]) -> "Bags":
        """Renames ids by the table `new_ids`, taking out the words whose new id is negative."""
        ids = new_ids[self.ids]
        kept = ids >= 0
        document = np.repeat(np.arange(len(self)), self.lengths)
        lengths = np.bincount(document[kept], minlength=len(self))
        return Bags(ids[kept], self.counts[kept], lengths, self.labels)


def build_bags(
    name: str,
    splits: Mapping[str, Bags],
    words: Sequence[str],
    vocabulary_size: int,
    label_classes: int,
    history: Sequence[str],
) -> Corpus:
    """Caps the vocabulary by frequency in `train` and takes the other words out of all documents.

    Args:
      name: of the corpus.
      splits: `train`, `valid` and `test`, labels from 0.
      words: of the vocabulary file, in its order.
      vocabulary_size: words that stay; ties go to the earlier line of the vocabulary file.
      label_classes: 0 where documents have no labels.
      history: lines that say what was read, dropped and carved; the report begins with them.

    Returns:
      The corpus; every document has a word at least.

    Raises:
      UserError: a split without a document.
    """
    train = splits["train"]
    frequency = np.bincount(train.ids, train.counts, minlength=len(words)).astype(np.int64)
    order = np.argsort(-frequency, kind="stable")[:vocabulary_size]
    new_ids = np.full(len(words), -1, np.int64)
    new_ids[order] = np.arange(len(order))
    vocabulary = Vocabulary(tuple(words[i] for i in order), frequency[order])

    encoded, statistics = {}, []
    for key, bags in splits.items():
        capped = bags.with_words(new_ids)
        kept = capped.where(capped.lengths > 0)
        if not len(kept):
            raise UserError(f"{name}: no document is left in {key} ({'; '.join(history)})")
        encoded[key] = split = _encode(kept)
        before = int(bags.counts.sum())
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


def _encode(bags: Bags) -> Split:
    offsets = np.zeros(len(bags) + 1, np.int64)
    np.cumsum(bags.lengths, out=offsets[1:])
    labels = None if bags.labels is None else bags.labels.astype(np.int32)
    return Split(bags.ids.astype(np.int32), bags.counts.astype(np.int32), offsets, labels)
