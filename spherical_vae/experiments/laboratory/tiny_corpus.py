"""Tiny generated corpora, so that every experiment can be walked through in seconds."""

import random
from pathlib import Path

SIZES = {"train": 64, "valid": 16, "test": 16}
LABELS = 5
_WORDS = 40


def write_sentences(folder: Path, labelled: bool) -> Path:
    """Writes sentences whose words come from one of two halves of the vocabulary.

    Args:
      folder: made where it is not there; the same text is written every time.
      labelled: whether each line begins with a label in 1..5.

    Returns:
      The folder.
    """
    generator = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            label = generator.randint(1, LABELS)
            first = _WORDS // 2 * (label % 2)
            ids = generator.choices(range(first, first + _WORDS // 2), k=generator.randint(2, 6))
            words = [f"word{i}" for i in ids]
            lines.append(" ".join([str(label), *words] if labelled else words))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_documents(folder: Path) -> Path:
    """Writes bags of words of two topics in the layout of the 20 Newsgroups archive."""
    generator = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [f"word{i} {2 * _WORDS - i}" for i in range(1, _WORDS + 1)]
    (folder / "vocab.new").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            topic = generator.randint(0, 1)
            half = range(1 + topic * _WORDS // 2, 1 + (topic + 1) * _WORDS // 2)
            ids = sorted(generator.sample(half, generator.randint(3, 8)))
            bag = " ".join(f"{i}:{generator.randint(1, 3)}" for i in ids)
            lines.append(f"{topic + 1} {bag}")
        (folder / f"{split}.feat").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
