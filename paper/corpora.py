"""Table 2: the corpora, counted in the splits that training sees."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from paper.experiment import Computed
from paper.runner import Runner, Unavailable
from paper.specs import Spec
from paper.tables import NOTHING, Table, number
from spherical_vae.system.standard_error import tell

# Configuration, and whether validation is carved from train. Then what the paper gives: examples by
# split, mean length in words, vocabulary.
_NOT_GIVEN = (None,) * 5
_CORPORA: dict[str, tuple[str, bool, tuple[Any, ...]]] = {
    "PTB": ("ptb", False, (42_068, 3_370, 3_761, 21.1, 10_000)),
    "Yelp 2013": ("yelp", False, (62_522, 7_773, 8_671, 49.5, 15_000)),
    "20NG": ("news20", True, (11_268, None, 7_505, 96.1, 2_000)),
    "RCV1-v2": ("rcv1", True, (794_414, None, 10_000, None, 10_000)),
    "Yelp 2013, official test, reduced train": ("yelp:reduced", False, _NOT_GIVEN),
    "20NG, ProdLDA's preprocessing": ("best_news20:vmf_prodlda", True, _NOT_GIVEN),
    "Yelp, 10,000 reviews (stand-in)": ("yelp:yelp10k", False, _NOT_GIVEN),
    "Reuters-21578 (stand-in)": ("reuters", True, _NOT_GIVEN),
}


def compute(runner: Runner) -> SimpleNamespace:
    """Opens every corpus that is here and counts."""
    return SimpleNamespace(corpora=[_count(runner, name) for name in _CORPORA])


def _count(runner: Runner, name: str) -> SimpleNamespace:
    selected, is_carved, _ = _CORPORA[name]
    config = runner.place.config(Spec(selected))
    try:
        corpus = runner.corpus(config)
    except Unavailable as reason:
        tell(f"{name}: {reason}")
        return SimpleNamespace(name=name, corpus=config.data.name, missing=str(reason))
    sizes = {split: len(corpus.splits[split]) for split in ("train", "valid", "test")}
    marks = corpus.kind == "sequences"
    words = {split: corpus.splits[split].tokens - marks * sizes[split] for split in sizes}
    return SimpleNamespace(
        name=name,
        corpus=config.data.name,
        **sizes,
        carved=sizes["valid"] if is_carved and runner.place.scale != "smoke" else 0,
        mean_words=sum(words.values()) / sum(sizes.values()),
        mean_words_train=words["train"] / sizes["train"],
        mean_words_test=words["test"] / sizes["test"],
        vocabulary=len(corpus.vocabulary),
        test_tokens=corpus.splits["test"].tokens,
    )


def tables(values: Any, scale: str) -> Sequence[Table]:
    """Returns our counts, each with the paper's behind it."""
    rows = []
    for one in values.corpora:
        if hasattr(one, "missing"):
            rows.append([one.name, one.missing, *[NOTHING] * 9])
            continue
        _, _, printed = _CORPORA.get(one.name, (None, None, _NOT_GIVEN))
        train, valid, test, length, vocabulary = printed if scale == "full" else _NOT_GIVEN
        rows.append(
            [
                one.name,
                _beside(one.train + one.carved, train),
                str(one.carved) if one.carved else NOTHING,
                _beside(None if one.carved else one.valid, valid),
                _beside(one.test, test),
                number(length),
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


def _lacking(values: Any) -> set[str]:
    return {one.name for one in values.corpora if hasattr(one, "missing")}


EXPERIMENTS = (Computed("table2", compute, tables, lacking=_lacking),)
