"""The user's own bags of words: files of `label id:count ...` lines, and the words of the ids.

The lines are those of svmlight and libsvm: what follows `#` is a comment, labels may have a sign,
and whole numbers may be written `2.0`. Line n of vocab.new or vocab.txt (`word` or `word count`) is
the word of id n.
"""

import re
from collections.abc import Iterator, Sequence
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
    if files.find(["test.feat"]) is None:
        raise UserError(f"{files.shown} has no test.feat: only valid.feat may be missing")
    words = read_words(files)
    found = [key for key in SPLITS if files.find([f"{key}.feat"])]
    splits = {
        key: collect(_blocks(files, f"{key}.feat", len(words), classes), scratch) for key in found
    }
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
    for number, line in enumerate((line for some in files.lines(name) for line in some), start=1):
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


def _blocks(files: CorpusFiles, file: str, vocabulary: int, label_classes: int) -> Iterator[Block]:
    """Yields the documents of one file, empty ones included."""
    before = 0
    for lines in files.lines(file):
        yield _parse(lines, files.describe(file), before, vocabulary, label_classes)
        before += len(lines)


def _parse(
    lines: Sequence[str], where: str, before: int, vocabulary: int, label_classes: int
) -> Block:
    """Returns the documents of some lines, `before` lines into the file."""
    lines = [line.partition("#")[0] for line in lines]
    numbers_of_line = []  # 1-based line of each document, blank lines being empty documents
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            if not _LINE.fullmatch(line):
                _explain(line, f"{where}, line {before + number}")
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

    def check(bad: np.ndarray, values: np.ndarray, line: np.ndarray, message: str) -> None:
        if bad.any():
            first = int(np.argmax(bad))
            raise UserError(f"{where}, line {line[first]}: {message.format(values[first])}")

    message = f"word id {{}} is not in 1..{vocabulary}, the lines of the vocabulary file"
    check((ids < 1) | (ids > vocabulary), ids, line_of_entry, message)
    check(counts < 1, counts, line_of_entry, "count {} is not a positive integer")
    if label_classes:
        bad = (labels < 1) | (labels > label_classes)
        message = f"label {{}} is not in 1..{label_classes} (config.data.label_classes)"
        check(bad, labels, line_of_document, message)
    order = np.lexsort((ids, line_of_entry))
    again = np.zeros(len(ids), bool)
    again[order[1:]] = (np.diff(ids[order]) == 0) & (np.diff(line_of_entry[order]) == 0)
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
