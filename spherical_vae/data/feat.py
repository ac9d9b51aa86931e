"""The `feat` corpus: files of `label id:count ...` lines and the vocabulary they refer to.

The lines are those of svmlight and libsvm: what follows `#` is a comment, labels may have a sign,
and whole numbers may be written `2.0`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from spherical_vae.data.bags import Bags, BagsWriter, Block, build_bags
from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.lines import decode_lines, line_blocks
from spherical_vae.data.sources import Source, open_source, printable
from spherical_vae.system.errors import UserError

VOCABULARY_FILES = ("vocab.new", "vocab.txt")
# Nine digits fit int32. Possessive, so that a long line costs no memory for backtracking.
_WHOLE = r"[0-9]{1,9}+(?:\.0*+)?+"
_LINE = re.compile(rf"\s*+[+-]?+{_WHOLE}(?:\s++[0-9]{{1,9}}+:{_WHOLE})*+\s*+")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LABEL = re.compile(rf"[+-]?{_WHOLE}")
_PAIR = re.compile(rf"[0-9]{{1,9}}:{_WHOLE}")
_FRACTION = re.compile(r"\.0*")


def load_feat(config: Any, folder: Path | None = None) -> Corpus:
    """Reads bags of words from a folder or a zip archive; `NAME.gz` is read as `NAME`.

    train.feat and test.feat are needed; valid.feat is carved from train where it is missing. Each
    line is an integer label and pairs of a word id and its occurrences; what follows `#` is a
    comment. Line n of vocab.new or
    vocab.txt (`word` or `word count`) is the word of id n. Where that file has more words than
    `vocabulary_size`, the most frequent ones of train stay and the others are taken out of every
    document; documents without a word are dropped. All of it is counted in the report.

    Args:
      config: `config.data`; `max_length` and `long_lines` are not used.
      folder: where entries are written as they will be stored; None keeps them in memory.

    Returns:
      A corpus named `feat:` and the name of the folder or archive.

    Raises:
      UserError: files are missing or a line breaks a rule; the message names it.
    """
    if config.vocabulary_size < 1:
        raise UserError(
            f"config.data.vocabulary_size is {config.vocabulary_size}: it must be 1 or more"
        )
    source = open_source(config.path, "train.feat")
    if source.find(["test.feat"]) is None:
        raise UserError(f"{source.shown} has no test.feat: only valid.feat may be missing")
    words = read_words(source)
    splits, history = {}, []
    for name in ("train", "valid", "test"):
        if source.find([f"{name}.feat"]) is None:
            continue
        bags = read_bags(source, f"{name}.feat", len(words), config.label_classes, folder)
        splits[name] = bags.where(bags.lengths > 0)
        empty = len(bags) - len(splits[name])
        history.append(
            f"{name}.feat: {len(bags):,} lines read = {len(splits[name]):,} kept "
            f"+ {empty:,} empty, dropped"
        )
    if "valid" not in splits:
        whole = splits["train"]
        parts = carve(len(whole), {"valid": config.valid_fraction}, config.seed)
        splits["train"], splits["valid"] = whole.take(parts["train"]), whole.take(parts["valid"])
        history.append(
            f"no valid.feat: {len(parts['valid']):,} of {len(whole):,} documents carved "
            f"from train by data seed {config.seed}"
        )
    ordered = {name: splits[name] for name in ("train", "valid", "test")}
    return build_bags(
        f"feat:{source.name}",
        ordered,
        words,
        config.vocabulary_size,
        config.label_classes,
        history,
        folder,
    )


def read_words(source: Source) -> list[str]:
    """Returns the words of the vocabulary file; a `UserError` names the line that is none."""
    name = source.find(VOCABULARY_FILES)
    if name is None:
        raise UserError(f"{source.shown} has no {' or '.join(VOCABULARY_FILES)}")
    where = source.describe(name)
    words: dict[str, int] = {}
    for number, line in enumerate(decode_lines(source.read(name), where), start=1):
        fields = line.split()
        if not 1 <= len(fields) <= 2 or (len(fields) == 2 and not _NUMBER.fullmatch(fields[1])):
            raise UserError(
                f"{where}, line {number}: {printable(line, 40)!r} is not `word` or `word count`"
            )
        first = words.setdefault(fields[0], number)
        if first != number:
            raise UserError(
                f"{where}, line {number}: {printable(fields[0], 40)!r} is already line {first}"
            )
    return list(words)


def read_bags(
    source: Source, name: str, vocabulary: int, label_classes: int, folder: Path | None = None
) -> Bags:
    """Returns the documents of one file, empty ones included.

    Args:
      source: has the file.
      name: of the file.
      vocabulary: lines of the vocabulary file.
      label_classes: 0: labels are not looked at; n: they must be in 1..n.
      folder: where entries are held, in files that are gone when the result is; None: in memory.

    Raises:
      UserError: the first bad line, by its number.
    """
    where, before = source.describe(name), 0
    with BagsWriter(folder, f".{name}") as writer:
        for lines in line_blocks(source.blocks(name), where):
            writer.append(_parse(lines, where, before, vocabulary, label_classes))
            before += len(lines)
        return writer.finish(scratch=True)


def _parse(
    lines: Sequence[str], where: str, before: int, vocabulary: int, label_classes: int
) -> Block:
    """Returns the documents of some lines, `before` lines into the file."""
    lines = [line.partition("#")[0] for line in lines]
    numbers_of_line = []  # 1-based line of each document, blank lines being empty documents
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            if not _LINE.fullmatch(line):
                _explain(line, where, before + number)
            numbers_of_line.append(number)
    filled = np.array(numbers_of_line, np.int64) - 1
    pairs = np.fromiter((lines[i].count(":") for i in filled), np.int64, len(filled))
    # All numbers of all lines in one go: label, id, count, id, count, ..., label, ...
    whole = _FRACTION.sub("", " ".join(lines)).replace(":", " ").split()
    numbers = np.fromiter(map(int, whole), np.int32, len(filled) + 2 * int(pairs.sum()))
    starts = np.cumsum(1 + 2 * pairs) - (1 + 2 * pairs)
    entries = np.ones(len(numbers), bool)
    entries[starts] = False
    labels = numbers[starts]
    ids, counts = numbers[entries].reshape(-1, 2).T
    line_of_document = before + filled + 1
    line_of_entry = np.repeat(line_of_document, pairs)

    _refuse(
        (ids < 1) | (ids > vocabulary),
        ids,
        line_of_entry,
        where,
        f"word id {{}} is not in 1..{vocabulary}, the lines of the vocabulary file",
    )
    _refuse(counts < 1, counts, line_of_entry, where, "count {} is not a positive integer")
    if label_classes:
        _refuse(
            (labels < 1) | (labels > label_classes),
            labels,
            line_of_document,
            where,
            f"label {{}} is not in 1..{label_classes} (config.data.label_classes)",
        )
    order = np.lexsort((ids, line_of_entry))
    again = np.zeros(len(ids), bool)
    again[order[1:]] = (np.diff(ids[order]) == 0) & (np.diff(line_of_entry[order]) == 0)
    _refuse(again, ids, line_of_entry, where, "word id {} is given twice")

    lengths = np.zeros(len(lines), np.int64)
    lengths[filled] = pairs
    all_labels = np.zeros(len(lines), np.int32)
    all_labels[filled] = labels - 1
    return Block(ids - 1, counts, lengths, all_labels if label_classes else None)


def _refuse(
    bad: np.ndarray, values: np.ndarray, line: np.ndarray, where: str, message: str
) -> None:
    """Refuses the first bad value, `{}` in the message standing for it."""
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(f"{where}, line {line[first]}: {message.format(values[first])}")


def _explain(line: str, where: str, number: int) -> NoReturn:
    """Says what is wrong with a line that is no `label id:count ...`."""
    label, *pairs = line.split()
    if not _LABEL.fullmatch(label):
        raise UserError(
            f"{where}, line {number}: begins with {printable(label, 40)!r}, not an integer label"
        )
    bad = next((pair for pair in pairs if not _PAIR.fullmatch(pair)), line)
    raise UserError(
        f"{where}, line {number}: {printable(bad, 40)!r} is not `id:count` with positive integers"
    )
