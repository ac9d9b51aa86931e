"""Statistics of a corpus: examples, tokens, lengths, unknown words, labels."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from spherical_vae.data.batch import UNKNOWN_ID
from spherical_vae.data.corpus import Corpus, Split

_BARS = 12
_BAR_WIDTH = 40


@dataclass(frozen=True)
class Bar:
    """How many examples have `low` to `high` words, both included."""

    low: int
    high: int
    examples: int


@dataclass(frozen=True)
class SplitStatistics:
    """The figures of one split.

    Attributes:
      examples: sentences or documents.
      tokens: scored ones, the end marks of sentences included.
      words: tokens without end marks.
      mean_length: words an example.
      longest: words of the longest example.
      unknown: words that are the unknown one; None for bags, out of which such words are taken.
      labels: examples of each label, from 0; None without labels.
      histogram: of words an example.
    """

    examples: int
    tokens: int
    words: int
    mean_length: float
    longest: int
    unknown: int | None
    labels: list[int] | None
    histogram: list[Bar]

    @property
    def unknown_rate(self) -> float | None:
        """Unknown words over words."""
        return None if self.unknown is None else self.unknown / self.words


def split_statistics(split: Split, label_classes: int) -> SplitStatistics:
    """Counts a split.

    Args:
      split: at least one example.
      label_classes: 0 if there are no labels.
    """
    words, unknown, labels = words_of_examples(split), None, None
    if split.counts is None:
        unknown = int(np.count_nonzero(split.ids == UNKNOWN_ID))
    if split.labels is not None:
        labels = np.bincount(split.labels, minlength=label_classes).tolist()
    total = int(words.sum())
    return SplitStatistics(
        examples=len(split),
        tokens=split.tokens,
        words=total,
        mean_length=total / len(split),
        longest=int(words.max()),
        unknown=unknown,
        labels=labels,
        histogram=histogram(words),
    )


def words_of_examples(split: Split) -> Int64[np.ndarray, " examples"]:
    """Returns how many words each example has, end marks not counted."""
    if split.counts is None:
        return split.lengths - 1
    return np.add.reduceat(split.counts, split.offsets[:-1], dtype=np.int64)


def histogram(words: Int64[np.ndarray, " examples"]) -> list[Bar]:
    """Returns bars of a round width that tell 99% of the examples apart; the last takes the rest.

    Args:
      words: of each example, at least 1.
    """
    longest = int(words.max())
    width = _round_up(float(np.quantile(words, 0.99)) / _BARS)
    bars = min(_BARS, -(-longest // width))
    counts = np.bincount(np.minimum((words - 1) // width, bars - 1), minlength=bars)
    highs = [*((i + 1) * width for i in range(bars - 1)), longest]
    return [Bar(i * width + 1, highs[i], int(counts[i])) for i in range(bars)]


def _round_up(width: float) -> int:
    """Returns the smallest of 1, 2, 5, 10, 20, 50 ... that is not below `width`."""
    power = 10 ** max(0, math.floor(math.log10(max(width, 1))))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width)


def as_json(corpus: Corpus) -> dict[str, Any]:
    """Returns the statistics of a corpus as JSON values; `report` says what was dropped."""
    splits = {}
    for name, split in corpus.splits.items():
        statistics = split_statistics(split, corpus.label_classes)
        splits[name] = asdict(statistics) | {"unknown_rate": statistics.unknown_rate}
    return {
        "corpus": corpus.name,
        "kind": corpus.kind,
        "vocabulary": len(corpus.vocabulary),
        "label_classes": corpus.label_classes,
        "splits": splits,
        "report": list(corpus.report),
    }


def as_text(corpus: Corpus, label_names: Sequence[str] | None = None) -> str:
    """Returns the same for a person: the report, and a histogram of the lengths of each split."""
    lines = list(corpus.report)
    for name, split in corpus.splits.items():
        statistics = split_statistics(split, corpus.label_classes)
        lines += ["", f"{name}: words an example, {statistics.longest:,} at most"]
        most = max(bar.examples for bar in statistics.histogram)
        for bar in statistics.histogram:
            drawn = "#" * math.ceil(_BAR_WIDTH * bar.examples / most)
            share = bar.examples / statistics.examples
            span = f"{bar.low:,}-{bar.high:,}"
            lines.append(f"{span:>15} {bar.examples:>9,} {share:>6.1%} {drawn}".rstrip())
        if statistics.labels is not None:
            names = label_names or range(1, len(statistics.labels) + 1)
            pairs = zip(names, statistics.labels, strict=True)
            counts = ", ".join(f"{name}: {n:,}" for name, n in pairs)
            lines.append(f"{name}: examples of each label: {counts}")
    return "\n".join(lines)
