"""The user's own bags of words: files of `label id:count ...` lines, and the words of the ids.

The lines are those of svmlight and libsvm: what follows `#` is a comment, labels may have a sign,
and whole numbers may be written `2.0`. Line n of vocab.new or vocab.txt (`word` or `word count`) is
the word of id n.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from spherical_vae.data.examples import Block, RawCorpus, collect
from spherical_vae.data.files import CorpusFiles, printable
from spherical_vae.data.sources import CorpusSpec, OwnFiles
from spherical_vae.system.errors import UserError

SPLITS = ("train", "valid", "test")
VOCABULARY_FILES = ("vocab.new", "vocab.txt")
# Nine digits fit int32.
_WHOLE = r"[0-9]{1,9}(?:\.0*)?"
_LINE = re.compile(rf"\s*[+-]?{_WHOLE}(?:\s+[0-9]{{1,9}}:{_WHOLE})*\s*")
_LABEL = re.compile(rf"[+-]?{_WHOLE}")
_PAIR = re.compile(rf"[0-9]{{1,9}}:{_WHOLE}")
_FRACTION = re.compile(r"\.0*")


def read_feat(
    place: Path, config_data: Any, scratch: Path | None, label_classes: int | None = None
) -> RawCorpus:
    """Reads a folder or zip archive with train.feat and test.feat, and maybe valid.feat.

    If there are label classes (by default those of `config_data`), labels must be in
    1..label_classes; else they are not looked at.
    """
    classes = config_data.label_classes if label_classes is None else label_classes
    files = CorpusFiles(place, "train.feat")
    names, words = files.splits(".feat"), read_words(files)
    splits = {}
    for key, file in names.items():
        where, lines = files.describe(file), files.lines(file)
        blocks = (_parse(some, where, first, len(words), classes) for first, some in lines)
        splits[key] = collect(blocks, scratch)
    return RawCorpus(splits, words, "lines", name=f"feat:{files.name}")


def read_words(files: CorpusFiles) -> list[str]:
    """Returns the words of the vocabulary file.

    Raises:
      UserError: the file is missing; a line is not a word, or repeats one.
    """
    name = files.find(VOCABULARY_FILES)
    if name is None:
        raise UserError(f"{files.shown} has no {' or '.join(VOCABULARY_FILES)}")
    where = files.describe(name)
    words: dict[str, int] = {}
    for number, line in enumerate((line for _, some in files.lines(name) for line in some), 1):
        fields = line.split()
        counted = len(fields) == 2 and fields[1].isascii() and fields[1].isdigit()
        if len(fields) != 1 and not counted:
            raise UserError(
                f"{where}, line {number}: {printable(line, 40)!r} is not `word` or `word count`"
            )
        first = words.setdefault(fields[0], number)
        if first != number:
            raise UserError(
                f"{where}, line {number}: {printable(fields[0], 40)!r} is already line {first}"
            )
    return list(words)


def _parse(
    lines: Sequence[str], where: str, first: int, vocabulary: int, label_classes: int
) -> Block:
    """Returns the documents of some lines, blank lines being empty ones; `first` counts from 1."""
    lines = [line.partition("#")[0] for line in lines]
    filled = np.array([i for i, line in enumerate(lines) if line.strip()], np.int64)
    for i in filled:
        if not _LINE.fullmatch(lines[i]):
            _explain(lines[i], f"{where}, line {first + i}")
    pairs = np.fromiter((lines[i].count(":") for i in filled), np.int64, len(filled))
    # All numbers of all lines in one go: label, id, count, id, count, ..., label, ...
    whole = _FRACTION.sub("", " ".join(lines)).replace(":", " ").split()
    numbers = np.fromiter(map(int, whole), np.int32, len(filled) + 2 * int(pairs.sum()))
    starts = np.cumsum(1 + 2 * pairs) - (1 + 2 * pairs)
    labels = numbers[starts]
    ids, counts = np.delete(numbers, starts).reshape(-1, 2).T
    line_of_document = first + filled
    line_of_entry = np.repeat(line_of_document, pairs)

    def check(bad: np.ndarray, values: np.ndarray, line: np.ndarray, message: str) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            raise UserError(f"{where}, line {line[i]}: {message.format(values[i])}")

    message = f"word id {{}} is not in 1..{vocabulary}, the lines of the vocabulary file"
    check((ids < 1) | (ids > vocabulary), ids, line_of_entry, message)
    check(counts < 1, counts, line_of_entry, "count {} is not a positive integer")
    if label_classes:
        bad = (labels < 1) | (labels > label_classes)
        message = f"label {{}} is not in 1..{label_classes} (config.data.label_classes)"
        check(bad, labels, line_of_document, message)
    again = np.ones(len(ids), bool)
    again[np.unique(line_of_entry * vocabulary + ids, return_index=True)[1]] = False
    check(again, ids, line_of_entry, "word id {} is given twice")

    lengths = np.zeros(len(lines), np.int64)
    lengths[filled] = pairs
    all_labels = np.zeros(len(lines), np.int32)
    all_labels[filled] = labels - 1
    return Block(ids - 1, counts, lengths, all_labels if label_classes else None)


def _explain(line: str, where: str) -> NoReturn:
    """Raises what is wrong with a line that is not `label id:count ...`."""
    label, *pairs = line.split()
    if not _LABEL.fullmatch(label):
        raise UserError(f"{where}: begins with {printable(label, 40)!r}, not an integer label")
    bad = next((pair for pair in pairs if not _PAIR.fullmatch(pair)), line)
    raise UserError(f"{where}: {printable(bad, 40)!r} is not `id:count` with positive integers")


SPEC = CorpusSpec(
    name="feat",
    description="your own bags of words",
    kind="bags",
    source=OwnFiles(
        (*(f"{key}.feat" for key in SPLITS), *VOCABULARY_FILES),
        "a folder or zip archive with train.feat, test.feat and vocab.new",
    ),
    read=read_feat,
    label_names=None,
)
