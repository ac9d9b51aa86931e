"""10,000 raw Yelp reviews with stars, a table that stands beside the paper's Yelp corpus."""

from pathlib import Path
from typing import Any

from spherical_vae.data.corpora.yelp import STARS
from spherical_vae.data.examples import RawCorpus, raw_corpus
from spherical_vae.data.raw_text import csv_rows, tokenize_review, unpack_xz
from spherical_vae.data.sources import Archive, CorpusSpec
from spherical_vae.system.errors import UserError

FILE = "yelp10k.csv.xz"


def read_yelp10k(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads all reviews and their stars."""
    reviews, labels = read_reviews(place)
    words = {"all": [tokenize_review(text) for text in reviews]}
    return raw_corpus("sequences", words, "reviews", {"all": labels})


def read_reviews(place: Path) -> tuple[list[str], list[int]]:
    """Returns the raw reviews, and their stars less one.

    Raises:
      UserError: the file is missing or breaks its layout; the message names the record.
    """
    path = place / FILE if place.is_dir() else place
    reviews, labels, ids = [], [], set[str]()
    rows = csv_rows(unpack_xz(path), path.name, ("review_id", "stars", "text"))
    for i, (key, stars, text) in enumerate(rows, start=1):
        if key in ids:
            raise UserError(f"{path.name}, record {i}: review_id {key[:40]!r} is there twice")
        if stars not in ("1", "2", "3", "4", "5"):
            raise UserError(f"{path.name}, record {i}: stars {stars[:20]!r} is not in 1..5")
        ids.add(key)
        labels.append(int(stars) - 1)
        reviews.append(text)
    return reviews, labels


SPEC = CorpusSpec(
    name="yelp10k",
    description="10,000 Yelp reviews with stars",
    kind="sequences",
    source=Archive(FILE, "bring the table of 10,000 Yelp reviews (columns review_id, stars, text)"),
    read=read_yelp10k,
    label_names=STARS,
    undivided=True,
    settings={"vocabulary_size": 15_000, "label_classes": 5},
    tokenize=tokenize_review,
)
