"""The `text` corpus: train.txt, valid.txt and test.txt, or one file that is carved into them.

A sentence a line, words as they stand.

Files are read in blocks, once, and encoded from a file of numbers: memory grows with the number of
sentences and of different words, never with the text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.lines import line_blocks
from spherical_vae.data.numbering import NumberedSentences, Numbering
from spherical_vae.data.sentences import LineCounts, Sentences, limit_length
from spherical_vae.data.sequences import END_MARK, encode_sequences
from spherical_vae.data.sources import Source, WholeText, open_source, printable
from spherical_vae.system.errors import UserError


def load_text(config: Any, folder: Path | None = None) -> Corpus:
    """Reads a plain-text corpus from a folder, a zip archive or one file; `.gz` is unpacked.

    Words are separated by white space and taken as they are; `<unk>` is the unknown word. Lines
    without a word are dropped and counted. Without valid.txt, valid is carved from train; test and
    valid are carved from one file.

    Args:
      config: `config.data`.
      folder: where the tokens are written as they will be stored; None keeps them in memory.

    Returns:
      A corpus named `text:` and the name of the folder, archive or file.

    Raises:
      UserError: files are missing or a line breaks a rule; the message names it.
    """
    source = open_source(config.path, "train.txt", whole=True)
    numbering = Numbering()
    splits, history = {}, []

    def carve_from(whole: NumberedSentences, fractions: Mapping[str, float]) -> None:
        for name, positions in carve(len(whole), fractions, config.seed).items():
            splits[name] = whole.take(positions)

    def read(file: str) -> NumberedSentences:
        scratch = None if folder is None else folder / ".numbers.npy"
        sentences, counts = _number(source, file, config, numbering, scratch)
        history.append(f"{file}: {counts.describe('lines')}")
        return sentences

    if isinstance(source, WholeText):
        fractions = {"test": config.test_fraction, "valid": config.valid_fraction}
        carve_from(read(printable(source.path.name)), fractions)
        history.append(f"valid and test carved by data seed {config.seed}")
    else:
        if source.find(["test.txt"]) is None:
            raise UserError(f"{source.shown} has no test.txt: only valid.txt may be missing")
        for name in ("train", "valid", "test"):
            if source.find([f"{name}.txt"]) is not None:
                splits[name] = read(f"{name}.txt")
        if "valid" not in splits:
            whole = splits["train"]
            carve_from(whole, {"valid": config.valid_fraction})
            history.append(
                f"no valid.txt: {len(splits['valid']):,} of {len(whole):,} examples carved "
                f"from train by data seed {config.seed}"
            )
    ordered = {name: splits[name] for name in ("train", "valid", "test")}
    return encode_sequences(
        f"text:{source.name}",
        ordered,
        numbering,
        config.vocabulary_size,
        config.label_classes,
        history,
        folder,
    )


def _number(
    source: Source, name: str, config: Any, numbering: Numbering, scratch: Path | None
) -> tuple[NumberedSentences, LineCounts]:
    """Reads a file; the numbers of its words go to `scratch`, which is gone when they are."""
    total = LineCounts(0, 0, 0)

    def kept() -> Iterator[Sentences]:
        nonlocal total
        for sentences in _read(source, name, config.label_classes):
            short, counts = limit_length(sentences, config.max_length, config.long_lines)
            total += counts
            yield short

    numbered = numbering.number(kept(), scratch)
    if scratch is not None:
        scratch.unlink()
    return numbered, total


def _read(source: Source, name: str, label_classes: int) -> Iterator[Sentences]:
    where = source.describe(name)
    before = 0
    for lines in line_blocks(source.blocks(name), where):
        words = [line.split() for line in lines]
        labels = None
        if label_classes:
            labels = [
                _label(sentence, label_classes, where, i) if sentence else 0
                for i, sentence in enumerate(words, start=before + 1)
            ]
            words = [sentence[1:] for sentence in words]
        for i, sentence in enumerate(words, start=before + 1):
            if END_MARK in sentence:
                raise UserError(f"{where}, line {i}: {END_MARK} is the end mark, added by itself")
        before += len(lines)
        yield Sentences(words, labels)


def _label(sentence: list[str], classes: int, where: str, line: int) -> int:
    text = sentence[0]
    # The length keeps int() from ever seeing more digits than it accepts.
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= classes:
        return int(text) - 1
    raise UserError(
        f"{where}, line {line}: begins with {printable(text, 20)!r}, "
        f"not with a label in 1..{classes} (config.data.label_classes)"
    )
