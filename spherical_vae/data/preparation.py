"""Preparing a corpus once and opening it from then on: the cache, its key and its lock.

A prepared corpus is a folder below the cache folder, named by the corpus and a digest of all that
it follows from: settings, content of the source files, and the code that reads them. It appears by
a rename, complete, and is never written again.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spherical_vae.data.archives import cache_root
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.file_digests import code_digest, file_digest, stamp
from spherical_vae.data.locks import folder_lock, temporary_beside
from spherical_vae.data.store import (
    FORMAT,
    DamagedStoreError,
    open_corpus,
    read_manifest,
    write_corpus,
)
from spherical_vae.errors import UserError

# Where the cache lies and how batches are padded does not change what is prepared.
_NO_MATTER = frozenset({"cache_dir", "buckets"})
_PATHS = ("path", "manual_dir")


def prepared(config_data: Any, sources: Sequence[Path], load: Callable[[Path], Corpus]) -> Corpus:
    """Opens the prepared corpus, and prepares it first where there is none that is good.

    Args:
      config_data: `config.data`.
      sources: files that the loader reads, or would read if they were there.
      load: reads the corpus; it may write arrays of the result to their places in the given folder.

    Returns:
      The corpus, its arrays mapped.

    Raises:
      UserError: the cache cannot be written, or what `load` raises.
    """
    root = _root(config_data)
    before = [stamp(path) for path in sources]
    try:
        facts = _facts(config_data, sources, root / "digests")
        folder = root / f"{config_data.name}-{_digest_of(facts)}"
        with contextlib.suppress(DamagedStoreError):
            return open_corpus(folder)
        root.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            return _open_or_prepare(folder, facts, sources, before, load)
    except OSError as error:
        where = error.filename or root
        if not Path(where).is_relative_to(root):
            raise
        raise UserError(
            f"{where}: {error.strerror or error}; prepared corpora are kept in {root}: choose "
            f"another place by --config.data.cache_dir=FOLDER, or none to keep nothing"
        ) from error


def prepared_folders(root: Path, name: str | None = None) -> Iterator[Path]:
    """Yields the folders of prepared corpora, those of one corpus if `name` is given."""
    if root.is_dir():
        for folder in sorted(root.iterdir()):
            corpus, dash, _ = folder.name.rpartition("-")
            if dash and folder.is_dir() and not corpus.startswith(".") and name in (None, corpus):
                yield folder


def _root(config_data: Any) -> Path:
    try:
        root = cache_root(config_data)
    except RuntimeError:
        raise UserError("there is no home folder: set --config.data.cache_dir=FOLDER") from None
    assert root is not None
    return root.absolute()


def _open_or_prepare(
    folder: Path,
    facts: dict[str, Any],
    sources: Sequence[Path],
    before: list[Any],
    load: Callable[[Path], Corpus],
) -> Corpus:
    """Does it while the lock is held."""
    if folder.exists():
        try:
            return open_corpus(folder)
        except DamagedStoreError as damage:
            print(f"{folder} is damaged ({damage}): preparing it again", file=sys.stderr)
            _remove(folder)
    with temporary_beside(folder) as temporary:
        corpus = load(temporary)
        for path, was in zip(sources, before, strict=True):
            if stamp(path) != was:
                raise UserError(f"{path} changed while it was read: start again")
        write_corpus(corpus, temporary, facts)
        try:
            temporary.rename(folder)
        except OSError:
            # Without locks another process may have been first.
            read_manifest(folder)
    return open_corpus(folder)


def _remove(folder: Path) -> None:
    """Takes a folder away at once; who has mapped its files keeps them."""
    with temporary_beside(folder) as grave:
        folder.rename(grave / "damaged")


def _facts(config_data: Any, sources: Sequence[Path], memory: Path) -> dict[str, Any]:
    """Returns all that a prepared corpus follows from."""
    settings = {key: value for key, value in config_data.items() if key not in _NO_MATTER}
    for key in _PATHS:
        if settings.get(key):
            settings[key] = str(Path(settings[key]).expanduser().absolute())
    return {
        "format": FORMAT,
        "settings": settings,
        "sources": [[str(path), _digest_if_readable(path, memory)] for path in sources],
        "code": code_digest(),
        # What is white space and a lower-case letter is a table of Python's.
        "python": list(sys.version_info[:2]),
    }


def _digest_if_readable(path: Path, memory: Path) -> str | None:
    try:
        return file_digest(path, memory)
    except OSError as error:
        return error.strerror  # the loader will meet it, and say so


def _digest_of(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
