"""The `text` corpus: train.txt, valid.txt and test.txt, a sentence a line, words as they stand."""

from typing import Any

from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.lines import decode_lines
from spherical_vae.data.sentences import Sentences, limit_length
from spherical_vae.data.sequences import END_MARK, build_sequences
from spherical_vae.data.sources import Source, open_source, printable
from spherical_vae.errors import UserError


def load_text(config: Any) -> Corpus:
    """Reads a plain-text corpus from a folder or a zip archive.

    Words are separated by white space and taken as they are; `<unk>` is the unknown word. Lines
    without a word are dropped and counted. Without valid.txt, valid is carved from train.

    Args:
      config: `config.data`.

    Returns:
      A corpus named `text:` and the name of the folder or archive.

    Raises:
      UserError: files are missing or a line breaks a rule; the message names it.
    """
    source = open_source(config.path, "train.txt")
    if source.find(["test.txt"]) is None:
        raise UserError(f"{source.shown} has no test.txt: only valid.txt may be missing")
    splits, history = {}, []
    for name in ("train", "valid", "test"):
        if source.find([f"{name}.txt"]) is None:
            continue
        sentences = _read(source, f"{name}.txt", config.label_classes)
        splits[name], counts = limit_length(sentences, config.max_length, config.long_lines)
        history.append(f"{name}.txt: {counts.describe('lines')}")
    if "valid" not in splits:
        whole = splits["train"]
        parts = carve(len(whole.words), {"valid": config.valid_fraction}, config.seed)
        splits["train"] = whole.take(parts["train"].tolist())
        splits["valid"] = whole.take(parts["valid"].tolist())
        history.append(
            f"no valid.txt: {len(parts['valid']):,} of {len(whole.words):,} examples carved "
            f"from train by data seed {config.seed}"
        )
    ordered = {name: splits[name] for name in ("train", "valid", "test")}
    return build_sequences(
        f"text:{source.name}", ordered, config.vocabulary_size, config.label_classes, history
    )


def _read(source: Source, name: str, label_classes: int) -> Sentences:
    where = source.describe(name)
    lines = decode_lines(source.read(name), where)
    words = [line.split() for line in lines]
    labels = None
    if label_classes:
        labels = [
            _label(sentence, label_classes, where, i) if sentence else 0
            for i, sentence in enumerate(words, start=1)
        ]
        words = [sentence[1:] for sentence in words]
    for i, sentence in enumerate(words, start=1):
        if END_MARK in sentence:
            raise UserError(f"{where}, line {i}: {END_MARK} is the end mark, added by itself")
    return Sentences(words, labels)


def _label(sentence: list[str], classes: int, where: str, line: int) -> int:
    text = sentence[0]
    # The length keeps int() from ever seeing more digits than it accepts.
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= classes:
        return int(text) - 1
    raise UserError(
        f"{where}, line {line}: begins with {printable(text, 20)!r}, "
        f"not with a label in 1..{classes} (config.data.label_classes)"
    )
