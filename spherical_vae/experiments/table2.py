"""Table 2: the corpora, counted in the splits that training sees."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from spherical_vae.data.corpus import Corpus, Split
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, Unavailable
from spherical_vae.experiments.rendering.tables import NOTHING, Table, number

# Examples by split, mean length in words, vocabulary; None where the paper gives none.
PAPER: dict[str, tuple[int, int | None, int, float | None, int]] = {
    "PTB": (42_068, 3_370, 3_761, 21.1, 10_000),
    "Yelp 2013": (62_522, 7_773, 8_671, 49.5, 15_000),
    "20NG": (11_268, None, 7_505, 96.1, 2_000),
    "RCV1-v2": (794_414, None, 10_000, None, 10_000),
}
CORPORA = {
    "PTB": "ptb",
    "Yelp 2013": "yelp",
    "20NG": "news20",
    "RCV1-v2": "rcv1",
    "Yelp, 10,000 reviews (stand-in)": "yelp:yelp10k",
    "Reuters-21578 (stand-in)": "reuters",
}
# Their published files have no dev split.
CARVED = ("20NG", "RCV1-v2", "Reuters-21578 (stand-in)")


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Opens every corpus that is here and counts."""
    found = []
    for name, selected in CORPORA.items():
        row: dict[str, Any] = {"name": name, "missing": None}
        try:
            corpus = laboratory.corpus(laboratory.config(Run(selected)))
            row |= _counts(corpus, carved=name in CARVED and laboratory.scale != "smoke")
        except Unavailable as reason:
            print(f"{name}: {reason}", file=sys.stderr)
            row["missing"] = str(reason)
        found.append(row)
    return {"corpora": found}


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns our counts, each with the paper's behind it."""
    rows = []
    for corpus in record["corpora"]:
        printed = PAPER.get(corpus["name"]) if record["scale"] == "full" else None
        train, valid, test, length, vocabulary = printed or [None] * 5
        if corpus["missing"]:
            rows.append([corpus["name"], corpus["missing"], *[NOTHING] * 9])
            continue
        rows.append(
            [
                corpus["name"],
                _beside(corpus["train"] + corpus["carved"], train),
                str(corpus["carved"]) if corpus["carved"] else NOTHING,
                _beside(None if corpus["carved"] else corpus["valid"], valid),
                _beside(corpus["test"], test),
                NOTHING if length is None else number(length),
                number(corpus["mean_words"]),
                number(corpus["mean_words_train"]),
                number(corpus["mean_words_test"]),
                _beside(corpus["vocabulary"], vocabulary),
                str(corpus["test_tokens"]),
            ]
        )
    head = [
        "corpus",
        "train",
        "of it carved for dev",
        "dev",
        "test",
        "mean words in the paper",
        "all splits",
        "train",
        "test",
        "vocabulary",
        "test tokens",
    ]
    return [
        Table(
            head,
            rows,
            "In brackets what the paper prints. Words without end marks; test tokens are those "
            "that are scored, one end mark a sentence among them.",
        )
    ]


def _counts(corpus: Corpus, carved: bool) -> dict[str, Any]:
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    marks = corpus.kind == "sequences"
    words = {name: _tokens(split) - marks * len(split) for name, split in corpus.splits.items()}
    return {
        **sizes,
        "carved": sizes["valid"] if carved else 0,
        "mean_words": sum(words.values()) / sum(sizes.values()),
        "mean_words_train": words["train"] / sizes["train"],
        "mean_words_test": words["test"] / sizes["test"],
        "vocabulary": len(corpus.vocabulary),
        "test_tokens": _tokens(corpus.splits["test"]),
    }


def _tokens(split: Split) -> int:
    return int(split.offsets[-1] if split.counts is None else np.sum(split.counts))


def _beside(ours: int | None, printed: int | None) -> str:
    ours_text = NOTHING if ours is None else str(ours)
    return ours_text if printed is None else f"{ours_text} ({printed})"


EXPERIMENT = Experiment(
    "The corpora",
    collect,
    tables,
    notes=("The paper's mean length of 20NG is that of test, and that of PTB that of train.",),
)
