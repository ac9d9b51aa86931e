"""Examples as they were read, and the corpus that `config.data` makes of them.

Examples are arrays of word numbers, end to end. They lie in temporary files if a folder is given,
and are visited some at a time: memory grows with the number of examples and of different words, not
with the text.
"""

import io
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.data.corpus import Corpus, Kind, Split, Vocabulary
from spherical_vae.system.errors import UserError

UNKNOWN_WORD = "<unk>"
END_MARK = "</s>"
# A share of unknown words above it is told: those of a language without spaces, say.
_MANY_UNKNOWN = 0.3
# Longer runs of characters are not words: they never enter the vocabulary and count as unknown.
_MAX_WORD_CHARACTERS = 200
# Entries that are worked on at once.
_BLOCK_ENTRIES = 2**20
# First part of the key of an order, so that carving and epochs never share a stream.
CARVING = 0
EPOCH = 1
# What files may be divided into; the rest is carved.
_SPLITS = ({"train", "valid", "test"}, {"train", "test"}, {"all"})


class Block(NamedTuple):
    """Some examples end to end; `Examples` says what the columns mean."""

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    lengths: Int64[np.ndarray, " examples"]
    labels: Int32[np.ndarray, " examples"] | None = None


def _pick(array: np.ndarray | None, places: Any) -> np.ndarray | None:
    return None if array is None else array[places]


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
      limit: entries of each example that count, from its first on.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " all"] | None
    chosen: Bool[np.ndarray, " all"]
    limit: int = sys.maxsize

    def __len__(self) -> int:
        return int(np.count_nonzero(self.chosen))

    @property
    def lengths(self) -> Int64[np.ndarray, " examples"]:
        """`[examples]` entries of each chosen example."""
        return np.minimum(np.diff(self.offsets)[self.chosen], self.limit)

    def where(self, examples: np.ndarray) -> "Examples":
        """Returns those of the chosen ones that a mask or positions choose; copies no entries."""
        chosen = np.zeros_like(self.chosen)
        chosen[np.flatnonzero(self.chosen)[examples]] = True
        return replace(self, chosen=chosen)

    def as_split(self) -> Split:
        """Returns the chosen examples as a split; the others must be empty, and no entry cut."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        return Split(self.ids, self.counts, offsets, _pick(self.labels, self.chosen))

    def blocks(self) -> Iterator[Block]:
        """Yields the chosen examples, some at a time."""
        begin = 0
        while begin < len(self.chosen):
            end_entry = self.offsets[begin] + _BLOCK_ENTRIES
            end = max(begin + 1, int(np.searchsorted(self.offsets, end_entry, "right")) - 1)
            some = begin + np.flatnonzero(self.chosen[begin:end])
            begins = self.offsets[some]
            lengths = np.minimum(self.offsets[some + 1] - begins, self.limit)
            moved = begins - (np.cumsum(lengths) - lengths)
            entries = np.arange(lengths.sum()) + np.repeat(moved, lengths)
            counts, labels = _pick(self.counts, entries), _pick(self.labels, some)
            yield Block(self.ids[entries], counts, lengths, labels)
            begin = end

    def occurrences(self, words: int) -> Int64[np.ndarray, " words"]:
        """Returns how often each of `words` words occurs."""
        total = np.zeros(words, np.int64)
        for block in self.blocks():
            # As float64, which holds the sum of a block.
            total += np.bincount(block.ids, block.counts, minlength=words).astype(np.int64)
        return total


def collect(blocks: Iterable[Block], folder: Path | None = None) -> Examples:
    """Returns the examples of all blocks, each chosen; either all blocks have labels or none has.

    Args:
      blocks: at least one.
      folder: of temporary files, which are mapped and end with the result; None: in memory.
    """
    lengths, labels, bags = [np.zeros(1, np.int64)], [], False
    with ExitStack() as stack:
        make: Any = partial(tempfile.TemporaryFile, dir=folder) if folder else io.BytesIO
        files = [stack.enter_context(make()) for _ in range(2)]
        for block in blocks:
            bags = block.counts is not None
            for file, values in zip(files, (block.ids, block.counts), strict=True):
                if values is not None:
                    file.write(np.ascontiguousarray(values, np.int32).data)
            lengths.append(block.lengths)
            if block.labels is not None:
                labels.append(block.labels)
        ids, counts = (_content(file) for file in files)
    offsets = np.cumsum(np.concatenate(lengths))
    chosen = np.ones(len(offsets) - 1, bool)
    joined = np.concatenate(labels) if labels else None
    return Examples(ids, counts if bags else None, offsets, joined, chosen)


def _content(file: Any) -> np.ndarray:
    if isinstance(file, io.BytesIO):
        return np.frombuffer(file.getvalue(), np.int32)
    # An empty file cannot be mapped.
    return np.memmap(file, np.int32, "r").view(np.ndarray) if file.tell() else np.zeros(0, np.int32)


@dataclass(frozen=True)
class RawCorpus:
    """A corpus as its files have it: nothing is cut, carved or taken out of the vocabulary yet.

    Attributes:
      splits: `train` and `test`, with `valid` or without; or `all`, from which the three are
        carved.
      words: by the ids of the splits.
      unit: plural noun for examples; if empty, only splits that lose something are reported.
      history: lines of the report: what was read.
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

    def sentences(self, sentences: Sequence[Sequence[str]]) -> Block:
        """Returns sentences as one block without labels."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        words = map(self.__getitem__, chain.from_iterable(sentences))
        return Block(np.fromiter(words, np.int32, int(lengths.sum())), None, lengths)

    def bag(self, document: Sequence[str]) -> Block:
        """Returns one document as a bag of words, distinct words by number."""
        ids, counts = np.unique(self.sentences([document]).ids, return_counts=True)
        return Block(ids, counts, np.array([len(ids)]))


def raw_corpus(
    kind: Kind,
    texts: Mapping[str, Sequence[Sequence[str]]],
    unit: str,
    labels: Mapping[str, Sequence[int]] | None = None,
    history: Sequence[str] = (),
) -> RawCorpus:
    """Returns a corpus that fits into memory: words, and labels from 0, of each text by split."""
    words, splits = Numbering(), {}
    for key, some in texts.items():
        blocks = [words.sentences(some)] if kind == "sequences" else map(words.bag, some)
        of_split = None if labels is None else np.array(labels[key], np.int32)
        splits[key] = replace(collect(blocks), labels=of_split)
    return RawCorpus(splits, list(words), unit, history)


def shuffled(count: int, seed: int, *key: int) -> Int[np.ndarray, " count"]:
    """Returns the positions 0 .. count - 1 in a random order, a pure function of seed and key.

    NumPy fixes the raw output of Philox and SeedSequence for ever, but not how
    `Generator.permutation` uses it; so raw output is sorted. Seed and key are non-negative;
    different keys give independent orders.
    """
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))
    return np.argsort(bits.random_raw(count), kind="stable")


def encode(
    name: str, kind: Kind, raw: RawCorpus, config_data: Any, folder: Path | None = None
) -> Corpus:
    """Returns the corpus that `config.data` asks for.

    Empty examples are dropped; sentences longer than `max_length` are cut or dropped; splits that
    the files do not have are carved by the data seed; words are encoded by the vocabulary of train.
    `folder` is that of `collect`.

    Raises:
      UserError: the splits are not those of a corpus, labels are not those of its classes, a split
        has no example left, or train no word.
    """
    if set(raw.splits) not in _SPLITS:
        allowed = "; ".join(", ".join(sorted(some)) for some in _SPLITS)
        raise UserError(f"{name}: splits {', '.join(raw.splits)} were read, allowed: {allowed}")
    history, splits = list(raw.history), dict[str, Examples]()
    for key, examples in raw.splits.items():
        if config_data.label_classes:
            _check_labels(f"{name}: {key}", examples, config_data.label_classes)
        else:
            examples = replace(examples, labels=None)
        splits[key], lost = _within_limit(examples, kind, config_data)
        if raw.unit or lost:
            history.append(
                f"{'' if key == 'all' else f'{key}: '}{len(examples):,} {raw.unit or 'examples'} "
                f"read = {len(splits[key]):,} kept{lost or ' + 0 empty, dropped'}"
            )
    seed = config_data.seed
    fractions = {key: config_data[f"{key}_fraction"] for key in ("test", "valid")}
    if "all" in splits:
        splits = _carve(splits["all"], fractions, seed)
        history.append(f"valid and test carved by data seed {seed}")
    elif "valid" not in splits:
        read = len(splits["train"])
        splits |= _carve(splits["train"], {"valid": fractions["valid"]}, seed)
        history.append(
            f"valid: {len(splits['valid']):,} of {read:,} examples carved from train by data seed "
            f"{seed}"
        )
    splits = {key: splits[key] for key in ("train", "valid", "test")}
    for key, examples in splits.items():
        if not len(examples):
            raise UserError(f"{name}: no example is left in {key} ({'; '.join(history)})")
    build = _sequences if kind == "sequences" else _bags
    vocabulary, encoded, report = build(splits, raw.words, config_data.vocabulary_size, folder)
    report = [f"corpus {name}: {report[0]}", *history, *report[1:]]
    return Corpus(name, kind, vocabulary, encoded, config_data.label_classes, tuple(report))


def _check_labels(where: str, examples: Examples, classes: int) -> None:
    """Raises a `UserError` if examples do not have one label each, from 0, below `classes`."""
    labels, count = examples.labels, len(examples.chosen)
    if labels is None or len(labels) != count:
        found = 0 if labels is None else len(labels)
        raise UserError(
            f"{where}: {found} labels of {count} examples, allowed: one each with "
            f"config.data.label_classes={classes}"
        )
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise UserError(
            f"{where}: labels {labels.min()} to {labels.max()}, allowed: 0 to {classes - 1} with "
            f"config.data.label_classes={classes}"
        )


def _within_limit(examples: Examples, kind: Kind, config_data: Any) -> tuple[Examples, str]:
    """Drops empty examples, cuts or drops long sentences, and says what was lost."""
    lengths, limit = examples.lengths, config_data.max_length
    long = (lengths > limit) & (kind == "sequences")
    kept, empty, lost = lengths > 0, np.count_nonzero(lengths == 0), ""
    if empty or long.any():
        lost = f" + {empty:,} empty, dropped"
    if long.any() and config_data.long_lines == "drop":
        kept &= ~long
        lost += f" + {np.count_nonzero(long):,} too long, dropped"
    elif long.any():
        examples = replace(examples, limit=limit)
        words_cut = int((lengths[long] - limit).sum())
        lost += f"; {np.count_nonzero(long):,} of those kept were cut, losing {words_cut:,} words"
    return examples.where(kept), lost


def _carve(whole: Examples, fractions: Mapping[str, float], seed: int) -> dict[str, Examples]:
    """Divides examples into held-out splits of the given fractions, at least one each, and train.

    Splits are taken one after the other from one shuffled order, so a split does not change with
    the fraction of a later one.
    """
    if sum(fractions.values()) >= 1:
        given = " and ".join(f"data.{name}_fraction={share!r}" for name, share in fractions.items())
        raise UserError(f"config.{given}: nothing is left to train on, allowed: less than 1 in all")
    parts, rest = {}, shuffled(len(whole), seed, CARVING)
    for name, fraction in fractions.items():
        size = max(1, round(len(whole) * fraction))
        parts[name], rest = rest[:size], rest[size:]
    if not len(rest):
        wanted = " and ".join(f"{name} ({share:g} of them)" for name, share in fractions.items())
        raise UserError(
            f"train has {len(whole)} examples, too few to carve {wanted} from it, allowed: at "
            f"least {len(fractions) + 1}, and smaller fractions in config.data"
        )
    parts["train"] = rest
    return {name: whole.where(part) for name, part in parts.items()}


def _sequences(
    splits: Mapping[str, Examples], words: Sequence[str], size: int, folder: Path | None
) -> tuple[Vocabulary, dict[str, Split], list[str]]:
    """Returns vocabulary, splits with end marks, and lines of the report."""
    vocabulary, ids, types = _vocabulary(splits["train"], words, size)
    report = [
        f"sentences, vocabulary {len(vocabulary):,} ({UNKNOWN_WORD} and {END_MARK} included) of "
        f"{types:,} words in train"
    ]
    encoded, seen = {}, np.zeros(0, np.int64)
    for key, examples in splits.items():
        found = collect((_with_end_marks(block, ids) for block in examples.blocks()), folder)
        encoded[key] = split = found.as_split()
        count = split.tokens - len(split)
        unknown = int(found.occurrences(len(vocabulary))[UNKNOWN_ID])
        report.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens with end marks, "
            f"mean length {count / len(split):.2f} words, "
            f"unk rate {unknown / count:.2%} ({unknown:,} of {count:,} words)"
        )
        hashes = _hashes(split)
        if key == "train":
            seen = np.unique(hashes)
        else:
            repeated = np.count_nonzero(np.isin(hashes, seen))
            report[-1] += f", {repeated:,} examples that train has too"
        if unknown > _MANY_UNKNOWN * count:
            report.append(
                f"note: many words of {key} are unknown: the vocabulary is small, or words are not "
                "separated by white space"
            )
    return vocabulary, encoded, report


def _with_end_marks(block: Block, ids: np.ndarray) -> Block:
    tokens = np.insert(ids[block.ids], np.cumsum(block.lengths), END_ID)
    return Block(tokens, None, block.lengths + 1, block.labels)


def _hashes(split: Split) -> Int64[np.ndarray, " examples"]:
    """Returns 64 bits of each example: equal for different ones once in billions of corpora."""
    each = (split.ids[begin:end].tobytes() for begin, end in pairwise(split.offsets))
    return np.fromiter(map(hash, each), np.int64, len(split))


def _vocabulary(
    train: Examples, words: Sequence[str], size: int
) -> tuple[Vocabulary, Int32[np.ndarray, " words"], int]:
    """Returns the vocabulary, the id of each word, and how many train has to choose from."""
    counts = train.occurrences(len(words))
    known = [
        i
        for i in np.flatnonzero(counts).tolist()
        if words[i] != UNKNOWN_WORD and len(words[i]) <= _MAX_WORD_CHARACTERS
    ]
    if not known:
        raise UserError(f"train has no word but {UNKNOWN_WORD}: the vocabulary would be empty")
    # Ties by code point, so that the ids do not depend on the order of the lines.
    order = (-counts).tolist()
    known.sort(key=lambda i: (order[i], words[i]))
    known = known[: size - 2]
    ids = np.full(len(words), UNKNOWN_ID, np.int32)
    ids[known] = np.arange(2, 2 + len(known))
    vocabulary = Vocabulary(
        (UNKNOWN_WORD, END_MARK, *(words[i] for i in known)),
        np.concatenate([[counts.sum() - counts[known].sum(), len(train)], counts[known]]),
    )
    return vocabulary, ids, int(np.count_nonzero(counts))


def _bags(
    splits: Mapping[str, Examples], words: Sequence[str], size: int, folder: Path | None
) -> tuple[Vocabulary, dict[str, Split], list[str]]:
    """Returns vocabulary, splits without the words beyond it, and lines of the report.

    The most frequent words of train stay; ties go to the earlier one of `words`.
    """
    frequency = splits["train"].occurrences(len(words))
    order = np.argsort(-frequency, kind="stable")[:size]
    new_ids = np.full(len(words), -1, np.int32)
    new_ids[order] = np.arange(len(order))
    vocabulary = Vocabulary(tuple(words[i] for i in order), frequency[order])
    unseen = int(np.count_nonzero(vocabulary.train_counts == 0))
    report = [
        f"bags of words, vocabulary {len(vocabulary):,} of {len(words):,} words listed, "
        f"{unseen:,} of them never in train"
    ]
    encoded = {}
    for key, examples in splits.items():
        kept = rename_words(examples, new_ids, folder)
        if not len(kept):
            raise UserError(f"no example of {key} has a word of the vocabulary ({report[0]})")
        encoded[key] = split = kept.as_split()
        before = int(examples.occurrences(len(words)).sum())
        report.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens, mean length "
            f"{split.tokens / len(split):.2f} words ({len(split.ids) / len(split):.2f} distinct), "
            f"beyond the vocabulary and taken out: {1 - split.tokens / before:.2%} "
            f"({before - split.tokens:,} of {before:,} tokens) and with them "
            f"{len(examples) - len(kept):,} of {len(examples):,} documents"
        )
    return vocabulary, encoded, report


def rename_words(
    bags: Examples, new_ids: Int32[np.ndarray, " words"], folder: Path | None
) -> Examples:
    """Returns documents with the ids `new_ids[old]`, without those that have no word left.

    Words with a negative new id are taken out; `folder` is that of `collect`.
    """

    def renamed() -> Iterator[Block]:
        for block in bags.blocks():
            ids = new_ids[block.ids]
            known = ids >= 0
            example = np.repeat(np.arange(len(block.lengths)), block.lengths)
            lengths = np.bincount(example[known], minlength=len(block.lengths))
            yield Block(ids[known], _pick(block.counts, known), lengths, block.labels)

    kept = collect(renamed(), folder)
    return kept.where(kept.lengths > 0)
