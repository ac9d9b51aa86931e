"""Sentences to a corpus of sequences: vocabulary from train, ids, end marks, statistics."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat

import numpy as np

from spherical_vae.data.corpus import END_ID, UNKNOWN_ID, Corpus, Split, Vocabulary
from spherical_vae.data.sentences import Sentences
from spherical_vae.errors import UserError

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
    for split_name, sentences in splits.items():
        if not sentences.words:
            raise UserError(f"{name}: no sentence is left in {split_name} ({'; '.join(history)})")
    vocabulary, types = _vocabulary(splits["train"], vocabulary_size)
    ids = {word: i for i, word in enumerate(vocabulary.words)}
    encoded = {key: _encode(sentences, ids) for key, sentences in splits.items()}
    report = [
        f"corpus {name}: sentences, vocabulary {len(vocabulary):,} "
        f"({UNKNOWN_WORD} and {END_MARK} included) of {types:,} words in train",
        *history,
    ]
    seen = set(_examples(encoded["train"]))
    for key, split in encoded.items():
        words = split.tokens - len(split)
        unknown = int(np.count_nonzero(split.ids == UNKNOWN_ID))
        report.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens with end marks, "
            f"mean length {words / len(split):.2f} words, "
            f"unk rate {unknown / words:.2%} ({unknown:,} of {words:,} words)"
        )
        if key != "train":
            repeated = sum(example in seen for example in _examples(split))
            report[-1] += f", {repeated:,} examples that train has too"
    return Corpus(name, "sequences", vocabulary, encoded, label_classes, tuple(report))


def _examples(split: Split) -> Iterator[bytes]:
    """Yields the ids of each example as something to compare by."""
    for begin, end in pairwise(split.offsets.tolist()):
        yield split.ids[begin:end].tobytes()


def _vocabulary(train: Sentences, size: int) -> tuple[Vocabulary, int]:
    """Returns the vocabulary, and the number of distinct words it was chosen from."""
    if size < 3:
        raise UserError(
            f"config.data.vocabulary_size is {size}: it must be 3 or more, "
            f"{UNKNOWN_WORD} and {END_MARK} included"
        )
    counts = Counter(chain.from_iterable(train.words))
    types, tokens = len(counts), counts.total()
    counts.pop(UNKNOWN_WORD, None)
    words = [(word, n) for word, n in counts.items() if len(word) <= MAX_WORD_CHARACTERS]
    if not words:
        raise UserError(f"train has no word but {UNKNOWN_WORD}: the vocabulary would be empty")
    # Ties by code point, so that the ids do not hang on the order of the lines.
    words.sort(key=lambda item: (-item[1], item[0]))
    words = words[: size - 2]
    known = np.array([n for _, n in words], np.int64)
    specials = [tokens - known.sum(), len(train.words)]
    return (
        Vocabulary(
            (UNKNOWN_WORD, END_MARK, *(word for word, _ in words)),
            np.concatenate([specials, known]).astype(np.int64),
        ),
        types,
    )


def _encode(sentences: Sentences, ids: Mapping[str, int]) -> Split:
    lengths = np.fromiter(map(len, sentences.words), np.int64, len(sentences.words))
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths + 1, out=offsets[1:])
    tokens = np.full(offsets[-1], END_ID, np.int32)
    is_word = np.ones(len(tokens), bool)
    is_word[offsets[1:] - 1] = False
    words = chain.from_iterable(sentences.words)
    tokens[is_word] = np.fromiter(map(ids.get, words, repeat(UNKNOWN_ID)), np.int32, lengths.sum())
    labels = None if sentences.labels is None else np.array(sentences.labels, np.int32)
    return Split(tokens, None, offsets, labels)
