"""Sentences to a corpus of sequences: vocabulary from train, ids, end marks, statistics."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, Int64

from spherical_vae.data.array_file import ArrayWriter
from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.data.numbering import NumberedSentences, Numbering
from spherical_vae.data.sentences import Sentences
from spherical_vae.data.store import array_path
from spherical_vae.system.errors import UserError

UNKNOWN_WORD = "<unk>"
END_MARK = "</s>"
# Longer runs of characters are no words: they never enter the vocabulary and count as unknown.
MAX_WORD_CHARACTERS = 200


def build_sequences(
    name: str,
    splits: Mapping[str, Sentences],
    vocabulary_size: int,
    label_classes: int,
    history: Sequence[str],
) -> Corpus:
    """Encodes sentences with the vocabulary of `train`.

    Args:
      name: of the corpus.
      splits: `train`, `valid` and `test`, each with a sentence at least.
      vocabulary_size: most frequent types of train, unknown word and end mark included.
      label_classes: 0 where sentences have no labels.
      history: lines that say what was read, dropped, cut and carved; the report begins with them.

    Returns:
      The corpus.

    Raises:
      UserError: no room for a word, or a split without a sentence.
    """
    numbering = Numbering()
    numbered = {key: numbering.number([sentences]) for key, sentences in splits.items()}
    return encode_sequences(name, numbered, numbering, vocabulary_size, label_classes, history)


def encode_sequences(
    name: str,
    splits: Mapping[str, NumberedSentences],
    numbering: Numbering,
    vocabulary_size: int,
    label_classes: int,
    history: Sequence[str],
    folder: Path | None = None,
) -> Corpus:
    """Does the same for sentences that are numbered already, a block of them at a time.

    Args:
      numbering: of all splits.
      folder: where tokens are written, to their places in a prepared corpus; None keeps them in
        memory.
    """
    for key, sentences in splits.items():
        if not len(sentences):
            raise UserError(f"{name}: no sentence is left in {key} ({'; '.join(history)})")
    words = list(numbering)
    vocabulary, ids, types = _vocabulary(splits["train"], words, vocabulary_size)
    report = [
        f"corpus {name}: sentences, vocabulary {len(vocabulary):,} "
        f"({UNKNOWN_WORD} and {END_MARK} included) of {types:,} words in train",
        *history,
    ]
    encoded, seen = {}, np.zeros(0, np.int64)
    for key, sentences in splits.items():
        path = None if folder is None else array_path(folder, key, "ids")
        encoded[key], unknown, hashes = _encode(sentences, ids, path)
        split = encoded[key]
        count = split.tokens - len(split)
        report.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens with end marks, "
            f"mean length {count / len(split):.2f} words, "
            f"unk rate {unknown / count:.2%} ({unknown:,} of {count:,} words)"
        )
        if key == "train":
            seen = np.unique(hashes)
        else:
            repeated = np.count_nonzero(np.isin(hashes, seen))
            report[-1] += f", {repeated:,} examples that train has too"
    return Corpus(name, "sequences", vocabulary, encoded, label_classes, tuple(report))


def _vocabulary(
    train: NumberedSentences, words: Sequence[str], size: int
) -> tuple[Vocabulary, Int32[np.ndarray, " words"], int]:
    """Returns the vocabulary, the id of each word, and how many train has to choose from."""
    if size < 3:
        raise UserError(
            f"config.data.vocabulary_size is {size}: it must be 3 or more, "
            f"{UNKNOWN_WORD} and {END_MARK} included"
        )
    counts = np.zeros(len(words), np.int64)
    for numbers, _ in train.blocks():
        counts += np.bincount(numbers, minlength=len(words))
    known = [
        i
        for i in np.flatnonzero(counts).tolist()
        if words[i] != UNKNOWN_WORD and len(words[i]) <= MAX_WORD_CHARACTERS
    ]
    if not known:
        raise UserError(f"train has no word but {UNKNOWN_WORD}: the vocabulary would be empty")
    # Ties by code point, so that the ids do not hang on the order of the lines.
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


def _encode(
    sentences: NumberedSentences, ids: Int32[np.ndarray, " words"], path: Path | None
) -> tuple[Split, int, Int64[np.ndarray, " examples"]]:
    """Returns the split, how many words are unknown, and a hash of each example."""
    lengths, hashes, unknown = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)], 0
    with ArrayWriter(path, np.int32) as writer:
        for numbers, sizes in sentences.blocks():
            words = ids[numbers]
            unknown += int(np.count_nonzero(words == UNKNOWN_ID))
            ends = np.cumsum(sizes + 1)
            tokens = np.full(len(words) + len(sizes), END_ID, np.int32)
            is_word = np.ones(len(tokens), bool)
            is_word[ends - 1] = False
            tokens[is_word] = words
            writer.append(tokens)
            lengths.append(sizes + 1)
            # 64 bits: equal for different examples once in billions of corpora.
            hashes.append(np.fromiter(map(hash, _examples(tokens, ends)), np.int64, len(ends)))
        written = writer.finish()
    offsets = np.cumsum(np.concatenate(lengths))
    labels = None if sentences.labels is None else sentences.labels[sentences.chosen]
    return Split(written, None, offsets, labels), unknown, np.concatenate(hashes)


def _examples(
    tokens: Int32[np.ndarray, " tokens"], ends: Int[np.ndarray, " examples"]
) -> Iterator[bytes]:
    """Yields the ids of each example as something to compare by."""
    for begin, end in pairwise([0, *ends.tolist()]):
        yield tokens[begin:end].tobytes()
