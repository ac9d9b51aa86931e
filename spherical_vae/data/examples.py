"""Examples as they were read, before there is a vocabulary: arrays end to end, in blocks.

Entries lie in scratch files if a folder is given, and are visited some at a time: memory grows
with the number of examples and of different words, not with the text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from spherical_vae.data.store import ArrayWriter, array_path
from spherical_vae.system.errors import UserError

# Entries that are worked on at once.
_BLOCK_ENTRIES = 2**20
# First part of the key of an order, so that carving and epochs never share a stream.
CARVING = 0
EPOCH = 1


class Block(NamedTuple):
    """Some examples end to end; `Examples` says what the columns mean."""

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    lengths: Int64[np.ndarray, " examples"]
    labels: Int32[np.ndarray, " examples"] | None

    def keep(self, entries: Bool[np.ndarray, " entries"]) -> "Block":
        """Returns the same examples with these entries only."""
        # Sums over examples that have entries; the others have none to lose.
        filled = self.lengths > 0
        begins = (np.cumsum(self.lengths) - self.lengths)[filled]
        lengths = np.zeros(len(self.lengths), np.int64)
        if len(begins):
            lengths[filled] = np.add.reduceat(entries, begins, dtype=np.int64)
        counts = None if self.counts is None else self.counts[entries]
        return Block(self.ids[entries], counts, lengths, self.labels)

    def where(self, chosen: Bool[np.ndarray, " examples"]) -> "Block":
        """Returns the examples chosen by a mask."""
        entries = np.repeat(chosen, self.lengths)
        counts = None if self.counts is None else self.counts[entries]
        labels = None if self.labels is None else self.labels[chosen]
        return Block(self.ids[entries], counts, self.lengths[chosen], labels)

    def cut(self, limit: int) -> "Block":
        """Returns the first `limit` entries of each example."""
        begins = np.cumsum(self.lengths) - self.lengths
        return self.keep(np.arange(len(self.ids)) - np.repeat(begins, self.lengths) < limit)


@dataclass(frozen=True)
class Examples:
    """Examples of one file or split, end to end, of which some are chosen.

    Attributes:
      ids: `[entries]` int32 position of each word in the list of words; may be mapped.
      counts: `[entries]` int32 occurrences of a document's distinct words, at least 1; None for
        sequences. May be mapped.
      offsets: `[all + 1]` int64; example i is `ids[offsets[i]:offsets[i + 1]]`, or empty.
      labels: `[all]` int32 from 0, or None.
      chosen: `[all]` the examples that count; the others are passed over.
      limit: entries of each example that count, from its first on; None for all.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " all"] | None
    chosen: Bool[np.ndarray, " all"]
    limit: int | None = None

    def __len__(self) -> int:
        return int(np.count_nonzero(self.chosen))

    @property
    def lengths(self) -> Int64[np.ndarray, " examples"]:
        """`[examples]` entries of each chosen example, before any limit."""
        return np.diff(self.offsets)[self.chosen]

    def where(self, examples: Bool[np.ndarray, " examples"]) -> "Examples":
        """Returns those of the chosen examples that a mask chooses; copies no entries."""
        chosen = self.chosen.copy()
        chosen[chosen] = examples
        return replace(self, chosen=chosen)

    def take(self, positions: Int[np.ndarray, " positions"]) -> "Examples":
        """Returns the chosen examples at sorted positions; copies no entries."""
        examples = np.zeros(len(self), bool)
        examples[positions] = True
        return self.where(examples)

    def blocks(self) -> Iterator[Block]:
        """Yields the chosen examples, some at a time."""
        begin = 0
        while begin < len(self.chosen):
            end_entry = self.offsets[begin] + _BLOCK_ENTRIES
            end = max(begin + 1, int(np.searchsorted(self.offsets, end_entry, "right")) - 1)
            some = slice(self.offsets[begin], self.offsets[end])
            counts = None if self.counts is None else self.counts[some]
            labels = None if self.labels is None else self.labels[begin:end]
            lengths = np.diff(self.offsets[begin : end + 1])
            block = Block(self.ids[some], counts, lengths, labels).where(self.chosen[begin:end])
            yield block if self.limit is None else block.cut(self.limit)
            begin = end

    def occurrences(self, words: int) -> Int64[np.ndarray, " words"]:
        """Returns how often each of `words` words occurs."""
        total = np.zeros(words, np.int64)
        for block in self.blocks():
            # As float64, which holds the sum of a block.
            total += np.bincount(block.ids, block.counts, minlength=words).astype(np.int64)
        return total


class ExamplesWriter(AbstractContextManager["ExamplesWriter"]):
    """A context that appends examples, in files of a folder or in memory.

    Args:
      folder: None keeps them in memory.
      name: first part of the names of the files.
      bags: whether examples have counts.
    """

    def __init__(self, folder: Path | None, name: str, bags: bool):
        parts = ("ids", "counts") if bags else ("ids",)
        self._paths = [folder and array_path(folder, name, part) for part in parts]
        self._writers = [ArrayWriter(path, np.int32) for path in self._paths]
        self._lengths = [np.zeros(1, np.int64)]
        self._labels: list[np.ndarray] = []

    def append(self, block: Block) -> None:
        """Adds examples; all have labels or none has."""
        for writer, values in zip(self._writers, block, strict=False):
            assert values is not None
            writer.append(values)
        self._lengths.append(block.lengths)
        if block.labels is not None:
            self._labels.append(block.labels)

    def finish(self, scratch: bool = True) -> Examples:
        """Returns all examples, each chosen; `scratch` files are removed when the result is."""
        ids, *counts = [writer.finish() for writer in self._writers]
        for path in self._paths:
            if scratch and path is not None:
                path.unlink()
        offsets = np.cumsum(np.concatenate(self._lengths))
        labels = np.concatenate(self._labels) if self._labels else None
        chosen = np.ones(len(offsets) - 1, bool)
        return Examples(ids, counts[0] if counts else None, offsets, labels, chosen)

    def __exit__(self, *error: object) -> None:
        for writer in self._writers:
            writer.__exit__(*error)


@dataclass(frozen=True)
class RawCorpus:
    """A corpus as its files have it: nothing is cut, carved or taken out of the vocabulary yet.

    Attributes:
      splits: `train` and `test`, with `valid` or without; or `all`, from which the three are
        carved.
      words: by the ids of the splits.
      unit: plural noun for examples; if empty, only splits that lose something are reported.
      history: lines for a person: what was read.
      name: of the corpus in every output; empty for the name of its spec.
    """

    splits: Mapping[str, Examples]
    words: Sequence[str]
    unit: str = ""
    history: Sequence[str] = ()
    name: str = ""


class Numbering(dict[str, int]):
    """The number of each word; a word that is looked up for the first time gets the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number

    def sentences(self, sentences: Sequence[Sequence[str]], labels: Sequence[int] | None) -> Block:
        """Returns sentences as one block."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        words = map(self.__getitem__, chain.from_iterable(sentences))
        ids = np.fromiter(words, np.int32, int(lengths.sum()))
        return Block(ids, None, lengths, None if labels is None else np.array(labels, np.int32))

    def bags(self, documents: Sequence[Sequence[str]], labels: Sequence[int] | None) -> Block:
        """Returns documents as one block of bags of words, distinct words by number."""
        rows = [np.unique(self.sentences([d], None).ids, return_counts=True) for d in documents]
        empty = np.zeros(0, np.int32)
        return Block(
            np.concatenate([empty, *(ids for ids, _ in rows)]),
            np.concatenate([empty, *(counts.astype(np.int32) for _, counts in rows)]),
            np.fromiter((len(ids) for ids, _ in rows), np.int64, len(rows)),
            None if labels is None else np.array(labels, np.int32),
        )


def in_memory(block: Block) -> Examples:
    """Returns the examples of one block."""
    with ExamplesWriter(None, "", block.counts is not None) as writer:
        writer.append(block)
        return writer.finish()


def carve(
    examples: int, fractions: Mapping[str, float], seed: int
) -> dict[str, Int[np.ndarray, " positions"]]:
    """Divides examples into held-out splits and the rest.

    Splits are taken one after the other from one shuffled order, so a split does not change with
    the fraction of a later one. Each gets its rounded share, and one example at least.

    Args:
      examples: how many there are.
      fractions: of `examples`, in (0, 1), by the name of the split.
      seed: non-negative.

    Returns:
      Sorted positions by name, `train` being what is left.

    Raises:
      UserError: no example is left for train.
    """
    order = shuffled(examples, seed, CARVING)
    parts, taken = {}, 0
    for name, fraction in fractions.items():
        size = max(1, round(examples * fraction))
        parts[name] = np.sort(order[taken : taken + size])
        taken += size
    if taken >= examples:
        wanted = " and ".join(fractions)
        raise UserError(f"train has {examples} examples, too few to carve {wanted} from it")
    parts["train"] = np.sort(order[taken:])
    return parts


def shuffled(count: int, seed: int, *key: int) -> Int[np.ndarray, " count"]:
    """Returns the positions 0 .. count - 1 in a random order, a pure function of seed and key.

    NumPy fixes the raw output of Philox and SeedSequence for ever, but not how
    `Generator.permutation` uses it; so raw output is sorted.

    Args:
      count: how many positions.
      seed: non-negative.
      key: what the order is for, non-negative; different keys give independent orders.
    """
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))
    return np.argsort(bits.random_raw(count), kind="stable")
