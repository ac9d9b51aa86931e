"""The user's own text: `train.txt`, `valid.txt` and `test.txt`, or one file; words as they are.

Files are read in blocks, once, and encoded from a file of numbers: memory grows with the number of
sentences and of different words, never with the text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spherical_vae.data.examples import END_MARK, Block, Examples, Numbering, RawCorpus, collect
from spherical_vae.data.files import CorpusFiles, printable
from spherical_vae.data.sources import CorpusSpec, OwnFiles
from spherical_vae.system.errors import UserError

FILES = ("train.txt", "valid.txt", "test.txt")


def read_text(
    place: Path,
    config_data: Any,
    scratch: Path | None,
    label_classes: int = 0,
    first_label: int = 0,
) -> RawCorpus:
    """Reads a folder, a zip archive or one file; `NAME.gz` is read as `NAME`.

    Words are separated by white space; `<unk>` is the unknown word. If there are label classes,
    each sentence begins with a label.
    """
    files, words = CorpusFiles(place, "train.txt", whole=True), Numbering()

    def read(file: str) -> Examples:
        return collect(_blocks(files, file, words, label_classes, first_label), scratch)

    if files.whole:
        splits = {"all": read(files.whole)}
    elif files.find(["test.txt"]):
        splits = {file.removesuffix(".txt"): read(file) for file in FILES if files.find([file])}
    else:
        raise UserError(f"{files.shown} has no test.txt: only valid.txt may be missing")
    return RawCorpus(splits, list(words), "lines", name=f"text:{files.name}")


def _read_own(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    # Labels of the user's own files count from 1.
    return read_text(place, config_data, scratch, config_data.label_classes, first_label=1)


def _blocks(
    files: CorpusFiles, file: str, words: Numbering, label_classes: int, first_label: int
) -> Iterator[Block]:
    """Yields the sentences of one file, empty ones included; `words` grows by its words."""
    where, before = files.describe(file), 0
    for lines in files.lines(file):
        sentences, labels = [line.split() for line in lines], None
        if label_classes:
            last = first_label + label_classes - 1
            labels = [
                _label(sentence, first_label, last, f"{where}, line {i}") if sentence else 0
                for i, sentence in enumerate(sentences, start=before + 1)
            ]
            sentences = [sentence[1:] for sentence in sentences]
        yield words.sentences(sentences, labels)
        if END_MARK in words:
            i = next(i for i, sentence in enumerate(sentences, 1) if END_MARK in sentence)
            raise UserError(
                f"{where}, line {before + i}: {END_MARK} is the end mark, added by itself"
            )
        before += len(lines)


def _label(sentence: Sequence[str], first: int, last: int, where: str) -> int:
    text = sentence[0]
    # The length keeps int() from ever seeing more digits than it accepts.
    if text.isascii() and text.isdigit() and len(text) <= 9 and first <= int(text) <= last:
        return int(text) - first
    raise UserError(
        f"{where}: begins with {printable(text, 20)!r}, not with a label in {first}..{last}"
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
