"""Examples as read to a corpus: the length limit, carved splits, and ids by the words of train."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from spherical_vae.data.batch import END_ID, UNKNOWN_ID
from spherical_vae.data.corpus import Corpus, Kind, Split, Vocabulary
from spherical_vae.data.examples import Examples, ExamplesWriter, RawCorpus, carve
from spherical_vae.data.store import ArrayWriter, array_path
from spherical_vae.system.errors import UserError

UNKNOWN_WORD = "<unk>"
END_MARK = "</s>"
# Longer runs of characters are no words: they never enter the vocabulary and count as unknown.
MAX_WORD_CHARACTERS = 200


def encode(
    name: str, kind: Kind, raw: RawCorpus, config_data: Any, folder: Path | None = None
) -> Corpus:
    """Returns the corpus that `config.data` asks for.

    Empty examples are dropped; sentences longer than `max_length` are cut or dropped; splits that
    the files do not have are carved by the data seed; words are encoded by the vocabulary of train.

    Args:
      name: of the corpus.
      kind: of the corpus.
      raw: what was read.
      config_data: `config.data`.
      folder: where tokens are written, to their places in a prepared corpus; None keeps them in
        memory.

    Raises:
      UserError: a split has no example left, or train no word.
    """
    history, splits = list(raw.history), dict[str, Examples]()
    for key, examples in raw.splits.items():
        if not config_data.label_classes:
            examples = replace(examples, labels=None)
        splits[key], lost = _within_limit(examples, kind, config_data)
        if raw.unit or lost:
            history.append(
                f"{'' if key == 'all' else f'{key}: '}{len(examples):,} {raw.unit or 'examples'} "
                f"read = {len(splits[key]):,} kept{lost or ' + 0 empty, dropped'}"
            )
    fractions = {key: config_data[f"{key}_fraction"] for key in ("test", "valid")}
    whole = splits.pop("all", None)
    if whole is not None:
        for key, positions in carve(len(whole), fractions, config_data.seed).items():
            splits[key] = whole.take(positions)
        history.append(f"valid and test carved by data seed {config_data.seed}")
    elif "valid" not in splits:
        whole = splits["train"]
        parts = carve(len(whole), {"valid": fractions["valid"]}, config_data.seed)
        splits |= {key: whole.take(positions) for key, positions in parts.items()}
        history.append(
            f"valid: {len(splits['valid']):,} of {len(whole):,} examples carved from train by "
            f"data seed {config_data.seed}"
        )
    splits = {key: splits[key] for key in ("train", "valid", "test")}
    for key, examples in splits.items():
        if not len(examples):
            raise UserError(f"{name}: no example is left in {key} ({'; '.join(history)})")
    build = _sequences if kind == "sequences" else _bags
    vocabulary, encoded, report = build(splits, raw.words, config_data.vocabulary_size, folder)
    report = [f"corpus {name}: {report[0]}", *history, *report[1:]]
    return Corpus(name, kind, vocabulary, encoded, config_data.label_classes, tuple(report))


def _within_limit(examples: Examples, kind: Kind, config_data: Any) -> tuple[Examples, str]:
    """Drops empty examples, cuts or drops long sentences, and says what was lost."""
    lengths, limit = examples.lengths, config_data.max_length
    long = (lengths > limit) if kind == "sequences" else np.zeros(len(lengths), bool)
    kept, empty, lost = lengths > 0, int(np.count_nonzero(lengths == 0)), ""
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


def _sequences(
    splits: Mapping[str, Examples], words: Sequence[str], size: int, folder: Path | None
) -> tuple[Vocabulary, dict[str, Split], list[str]]:
    """Returns vocabulary, splits with end marks, and lines for a person."""
    vocabulary, ids, types = _vocabulary(splits["train"], words, size)
    report = [
        f"sentences, vocabulary {len(vocabulary):,} ({UNKNOWN_WORD} and {END_MARK} included) of "
        f"{types:,} words in train"
    ]
    encoded, seen = {}, np.zeros(0, np.int64)
    for key, examples in splits.items():
        lengths, hashes, unknown = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)], 0
        with ArrayWriter(None if folder is None else array_path(folder, key, "ids"), np.int32) as w:
            for block in examples.blocks():
                known = ids[block.ids]
                unknown += int(np.count_nonzero(known == UNKNOWN_ID))
                ends = np.cumsum(block.lengths + 1)
                tokens = np.full(len(known) + len(ends), END_ID, np.int32)
                is_word = np.ones(len(tokens), bool)
                is_word[ends - 1] = False
                tokens[is_word] = known
                w.append(tokens)
                lengths.append(block.lengths + 1)
                # 64 bits: equal for different examples once in billions of corpora.
                each = (tokens[a:b].tobytes() for a, b in pairwise([0, *ends.tolist()]))
                hashes.append(np.fromiter(map(hash, each), np.int64, len(ends)))
            written = w.finish()
        labels = None if examples.labels is None else examples.labels[examples.chosen]
        encoded[key] = split = Split(written, None, np.cumsum(np.concatenate(lengths)), labels)
        count = split.tokens - len(split)
        report.append(
            f"{key}: {len(split):,} examples, {split.tokens:,} tokens with end marks, "
            f"mean length {count / len(split):.2f} words, "
            f"unk rate {unknown / count:.2%} ({unknown:,} of {count:,} words)"
        )
        if key == "train":
            seen = np.unique(np.concatenate(hashes))
        else:
            repeated = np.count_nonzero(np.isin(np.concatenate(hashes), seen))
            report[-1] += f", {repeated:,} examples that train has too"
    return vocabulary, encoded, report


def _vocabulary(
    train: Examples, words: Sequence[str], size: int
) -> tuple[Vocabulary, Int32[np.ndarray, " words"], int]:
    """Returns the vocabulary, the id of each word, and how many train has to choose from."""
    counts = train.occurrences(len(words))
    known = [
        i
        for i in np.flatnonzero(counts).tolist()
        if words[i] != UNKNOWN_WORD and len(words[i]) <= MAX_WORD_CHARACTERS
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
    """Returns vocabulary, splits without the words beyond it, and lines for a person.

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
        kept = rename_words(examples, new_ids, folder, key, scratch=False)
        if not len(kept):
            raise UserError(f"no example of {key} has a word of the vocabulary ({report[0]})")
        encoded[key] = split = Split(kept.ids, kept.counts, kept.offsets, kept.labels)
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
    bags: Examples,
    new_ids: Int32[np.ndarray, " words"],
    folder: Path | None,
    name: str,
    scratch: bool = True,
) -> Examples:
    """Returns the documents with other ids, and without those that have no word left.

    Args:
      bags: the documents.
      new_ids: by old id; words with a negative one are taken out.
      folder: of the files that entries are written to; None keeps them in memory.
      name: first part of the names of the files.
      scratch: whether the files are removed when the result is.
    """
    with ExamplesWriter(folder, name, bags=True) as writer:
        for block in bags.blocks():
            ids = new_ids[block.ids]
            capped = block._replace(ids=ids).keep(ids >= 0)
            writer.append(capped.where(capped.lengths > 0))
        return writer.finish(scratch)
