"""The user's own text: `train.txt`, `valid.txt` and `test.txt`, or one file; words as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spherical_vae.data.examples import END_MARK, Block, Numbering, RawCorpus, collect
from spherical_vae.data.files import CorpusFiles, printable
from spherical_vae.data.sources import CorpusSpec, OwnFiles
from spherical_vae.system.errors import UserError

FILES = ("train.txt", "valid.txt", "test.txt")


def read_text(
    place: Path, config_data: Any, scratch: Path | None, labels: range = range(0)
) -> RawCorpus:
    """Reads a folder, a zip archive or one file; `NAME.gz` is read as `NAME`.

    Words are separated by white space; `<unk>` is the unknown word. If there are labels, each
    sentence begins with one.
    """
    files, words = CorpusFiles(place, "train.txt", whole=True), Numbering()
    names = {"all": files.whole} if files.whole else files.splits(".txt")
    splits = {
        key: collect(_blocks(files, file, words, labels), scratch) for key, file in names.items()
    }
    return RawCorpus(splits, list(words), "lines", name=f"text:{files.name}")


def _read_own(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    # Labels of the user's own files count from 1.
    return read_text(place, config_data, scratch, range(1, 1 + config_data.label_classes))


def _blocks(files: CorpusFiles, file: str, words: Numbering, labels: range) -> Iterator[Block]:
    """Yields the sentences of one file, empty ones included; `words` grows by its words."""
    where = files.describe(file)
    for first, lines in files.lines(file):
        sentences, found = [line.split() for line in lines], None
        if labels:
            of_lines = (
                _label(sentence[0], labels, f"{where}, line {i}") if sentence else 0
                for i, sentence in enumerate(sentences, first)
            )
            found = np.fromiter(of_lines, np.int32, len(lines))
            sentences = [sentence[1:] for sentence in sentences]
        yield words.sentences(sentences)._replace(labels=found)
        if END_MARK in words:
            i = next(i for i, sentence in enumerate(sentences, first) if END_MARK in sentence)
            raise UserError(f"{where}, line {i}: {END_MARK} is the end mark, added by itself")


def _label(word: str, labels: range, where: str) -> int:
    # The length keeps int() from ever seeing more digits than it accepts.
    if word.isascii() and word.isdigit() and len(word) <= 9 and int(word) in labels:
        return labels.index(int(word))
    raise UserError(
        f"{where}: begins with {printable(word, 20)!r}, not with a label in "
        f"{labels[0]}..{labels[-1]}"
    )


SPEC = CorpusSpec(
    name="text",
    description="your own text, one sentence a line",
    kind="sequences",
    source=OwnFiles(FILES, "a folder or zip archive with train.txt and test.txt, or one text file"),
    read=_read_own,
    label_names=None,
    settings={"vocabulary_size": 10_000},
)
