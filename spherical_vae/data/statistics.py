"""Statistics of a corpus: examples, tokens, lengths, unknown words, labels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from spherical_vae.data.batch import UNKNOWN_ID
from spherical_vae.data.corpus import Corpus, Split

_BARS = 12
_BAR_WIDTH = 40


def as_json(corpus: Corpus) -> dict[str, Any]:
    """Returns the statistics of a corpus as JSON values; `report` says what was dropped.

    Of each split: `examples`; `tokens`, the scored ones with end marks; `words`, without them;
    `mean_length` and `longest` in words; `unknown` words and their rate, None for bags, which have
    none; `labels`, examples of each from 0 on; and the `histogram` of words an example.
    """
    return {
        "corpus": corpus.name,
        "kind": corpus.kind,
        "vocabulary": len(corpus.vocabulary),
        "label_classes": corpus.label_classes,
        "splits": {key: _count(s, corpus.label_classes) for key, s in corpus.splits.items()},
        "report": list(corpus.report),
    }


def _count(split: Split, label_classes: int) -> dict[str, Any]:
    words, unknown, labels = split.lengths - 1, None, None
    if split.counts is None:
        unknown = int(np.count_nonzero(split.ids == UNKNOWN_ID))
    else:
        words = np.add.reduceat(split.counts, split.offsets[:-1], dtype=np.int64)
    if split.labels is not None:
        labels = np.bincount(split.labels, minlength=label_classes).tolist()
    total = int(words.sum())
    return {
        "examples": len(split),
        "tokens": split.tokens,
        "words": total,
        "mean_length": total / len(split),
        "longest": int(words.max()),
        "unknown": unknown,
        "unknown_rate": None if unknown is None else unknown / total,
        "labels": labels,
        "histogram": histogram(words),
    }


def histogram(words: Int64[np.ndarray, " examples"]) -> list[dict[str, int]]:
    """Returns bars of a round width that tell 99% of the examples apart; the last has the rest.

    Args:
      words: of each example, at least 1.

    Returns:
      The number of `examples` that have `low` to `high` words, both included.
    """
    longest, wanted = int(words.max()), float(np.quantile(words, 0.99)) / _BARS
    # The smallest of 1, 2, 5, 10, 20, 50 ... that is not below what is wanted.
    power = 10 ** math.floor(math.log10(max(wanted, 1)))
    width = next(step * power for step in (1, 2, 5, 10) if step * power >= wanted)
    bars = min(_BARS, -(-longest // width))
    counts = np.bincount(np.minimum((words - 1) // width, bars - 1), minlength=bars).tolist()
    highs = [*((i + 1) * width for i in range(bars - 1)), longest]
    return [{"low": i * width + 1, "high": highs[i], "examples": counts[i]} for i in range(bars)]


def as_text(corpus: Corpus, label_names: Sequence[str] | None = None) -> str:
    """Returns the report, and a histogram of the lengths of each split."""
    lines = list(corpus.report)
    for name, split in as_json(corpus)["splits"].items():
        lines += ["", f"{name}: words an example, {split['longest']:,} at most"]
        most = max(bar["examples"] for bar in split["histogram"])
        for bar in split["histogram"]:
            marks = "#" * math.ceil(_BAR_WIDTH * bar["examples"] / most)
            share, span = bar["examples"] / split["examples"], f"{bar['low']:,}-{bar['high']:,}"
            lines.append(f"{span:>15} {bar['examples']:>9,} {share:>6.1%} {marks}".rstrip())
        if split["labels"] is not None:
            names = label_names or range(1, len(split["labels"]) + 1)
            pairs = zip(names, split["labels"], strict=True)
            counts = ", ".join(f"{label}: {n:,}" for label, n in pairs)
            lines.append(f"{name}: examples of each label: {counts}")
    return "\n".join(lines)
