"""Table 2: the corpora, counted in the splits that training sees."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from paper.experiment import Computed
from paper.runner import Runner, Unavailable
from paper.specs import Spec
from paper.tables import NOTHING, Table, number
from spherical_vae.data.corpus import Corpus, Split

# Examples by split, mean length in words, vocabulary; None where the paper gives none.
_PRINTED: dict[str, tuple[int, int | None, int, float | None, int]] = {
    "PTB": (42_068, 3_370, 3_761, 21.1, 10_000),
    "Yelp 2013": (62_522, 7_773, 8_671, 49.5, 15_000),
    "20NG": (11_268, None, 7_505, 96.1, 2_000),
    "RCV1-v2": (794_414, None, 10_000, None, 10_000),
}
# Name, configuration, and whether validation is carved from train.
_CORPORA = (
    ("PTB", "ptb", False),
    ("Yelp 2013", "yelp", False),
    ("20NG", "news20", True),
    ("RCV1-v2", "rcv1", True),
    ("Yelp, 10,000 reviews (stand-in)", "yelp:yelp10k", False),
    ("Reuters-21578 (stand-in)", "reuters", True),
)
_NOTHING = (None,) * 5


@dataclass(frozen=True)
class Counts:
    """Of one corpus; `missing` says why there are none."""

    name: str
    corpus: str
    missing: str | None = None
    train: int = 0
    valid: int = 0
    test: int = 0
    carved: int = 0
    mean_words: float = 0.0
    mean_words_train: float = 0.0
    mean_words_test: float = 0.0
    vocabulary: int = 0
    test_tokens: int = 0


@dataclass(frozen=True)
class Corpora:
    """Table 2."""

    corpora: tuple[Counts, ...] = field(default=())


def compute(runner: Runner) -> Corpora:
    """Opens every corpus that is here and counts."""
    found = []
    for name, selected, is_carved in _CORPORA:
        config = runner.place.config(Spec(selected))
        try:
            corpus = runner.corpus(config)
            carved = is_carved and runner.place.scale != "smoke"
            found.append(_count(name, config.data.name, corpus, carved))
        except Unavailable as reason:
            print(f"{name}: {reason}", file=sys.stderr)
            found.append(Counts(name, config.data.name, str(reason)))
    return Corpora(tuple(found))


def _count(name: str, loaded: str, corpus: Corpus, carved: bool) -> Counts:
    sizes = {split: len(part) for split, part in corpus.splits.items()}
    marks = corpus.kind == "sequences"
    words = {s: _tokens(part) - marks * len(part) for s, part in corpus.splits.items()}
    return Counts(
        name,
        loaded,
        None,
        sizes["train"],
        sizes["valid"],
        sizes["test"],
        sizes["valid"] if carved else 0,
        sum(words.values()) / sum(sizes.values()),
        words["train"] / sizes["train"],
        words["test"] / sizes["test"],
        len(corpus.vocabulary),
        _tokens(corpus.splits["test"]),
    )


def _tokens(split: Split) -> int:
    return int(split.offsets[-1] if split.counts is None else np.sum(split.counts))


def tables(values: Corpora, scale: str) -> Sequence[Table]:
    """Returns our counts, each with the paper's behind it."""
    rows = []
    for one in values.corpora:
        printed = _PRINTED.get(one.name) if scale == "full" else None
        train, valid, test, length, vocabulary = printed or _NOTHING
        if one.missing:
            rows.append([one.name, one.missing, *[NOTHING] * 9])
            continue
        rows.append(
            [
                one.name,
                _beside(one.train + one.carved, train),
                str(one.carved) if one.carved else NOTHING,
                _beside(None if one.carved else one.valid, valid),
                _beside(one.test, test),
                NOTHING if length is None else number(length),
                number(one.mean_words),
                number(one.mean_words_train),
                number(one.mean_words_test),
                _beside(one.vocabulary, vocabulary),
                str(one.test_tokens),
            ]
        )
    head = ["corpus", "train", "of it carved for validation", "validation", "test",
            "mean words in the paper", "all splits", "train", "test", "vocabulary",
            "test tokens"]  # fmt: skip
    caption = (
        "In brackets what the paper prints. Words without end marks; test tokens are those that "
        "are scored, one end mark a sentence among them."
    )
    return [Table(head, rows, caption)]


def _beside(ours: int | None, printed: int | None) -> str:
    text = NOTHING if ours is None else str(ours)
    return text if printed is None else f"{text} ({printed})"


EXPERIMENTS = (
    Computed(
        "table2",
        "The corpora",
        Corpora,
        compute,
        tables,
        notes=("The paper's mean length of 20NG is that of test, and that of PTB that of train.",),
    ),
)
