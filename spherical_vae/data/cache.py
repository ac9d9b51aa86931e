"""Preparing a corpus once and opening it from then on: the cache, its keys and its lock.

A prepared corpus is a folder `NAME-SETTINGS-SOURCES` below the cache folder: the corpus, a digest
of the settings and of the format's version, and a digest of the files that it was made from. It
appears by a rename, complete, and is never written again. If the files are not given, it is found
by the first two alone.
"""

import contextlib
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spherical_vae.data.corpus import Corpus
from spherical_vae.data.files import printable
from spherical_vae.data.sources import MissingFilesError, Source, cache_root, digest_of_files
from spherical_vae.data.store import (
    FORMAT,
    DamagedStoreError,
    open_corpus,
    read_manifest,
    write_corpus,
)
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import one_at_a_time, temporary_beside

# Keys that do not change what is prepared: where things lie, and how batches are padded.
_NO_MATTER = frozenset({"name", "cache_dir", "manual_dir", "path", "buckets"})
WAITING = "waiting: another process is preparing a corpus"


class UnwritableCacheError(UserError):
    """The folder of prepared corpora cannot be written, or there is none."""


def prepared(config_data: Any, source: Source, load: Callable[[Path], Corpus]) -> Corpus:
    """Opens the prepared corpus, and prepares it first if there is none that is good.

    Args:
      config_data: `config.data`.
      source: says which files the corpus is read from. If none of them is there, what was prepared
        of such files before is opened.
      load: reads the corpus; it may write arrays of the result to their places in the given folder.

    Returns:
      The corpus, its arrays mapped.

    Raises:
      UnwritableCacheError: it has to be prepared, and the cache cannot be written.
      UserError: what `load` raises; or several corpora could be meant, and no file says which.
    """
    root = _root(config_data)
    own = source.path == "required"
    try:
        settings = _settings(config_data, own)
        stem = root / f"{config_data.name}-{_digest_of(settings)}"
        contents = digest_of_files(source.files(config_data))
        with contextlib.suppress(_NotFound):
            return _find(stem, contents, config_data, own)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(root, error) from error
        # A few locks for all folders there will ever be: a lock file cannot be removed safely.
        with one_at_a_time(root / "locks" / stem.name[-2:], WAITING):
            _remove_damaged(stem)
            with contextlib.suppress(_NotFound):
                return _find(stem, contents, config_data, own)
            _report_change(stem, contents)
            with temporary_beside(stem) as temporary:
                try:
                    corpus = load(temporary)
                except MissingFilesError as error:
                    raise MissingFilesError(f"{error}{_other_ways(stem, settings)}") from error
                # Once more: an archive that was fetched has not been there before.
                files = source.files(config_data)
                read = digest_of_files(files)
                for name in sorted(contents):
                    if read.get(name) != contents[name]:
                        raise UserError(f"{name} changed while it was read: start again")
                facts = {
                    "settings": settings,
                    "sources": read,
                    # How a path ends by which these files are given: their names or a folder's.
                    "places": sorted({e for p in files for e in (p.name, p.resolve().parent.name)}),
                    "python": platform.python_version(),
                }
                write_corpus(corpus, temporary, facts)
                folder = _folder(stem, read)
                try:
                    temporary.rename(folder)
                except OSError:
                    # Without locks another process may have been first.
                    read_manifest(folder)
        return open_corpus(folder)
    except OSError as error:
        if not Path(error.filename or root).is_relative_to(root):
            raise
        raise _unwritable(root, error) from error


def _unwritable(root: Path, error: OSError) -> UnwritableCacheError:
    return UnwritableCacheError(
        f"{error.filename or root}: {error.strerror or error}; prepared corpora are kept in "
        f"{root}: choose another place by --config.data.cache_dir=FOLDER, or none to keep nothing"
    )


def prepared_folders(root: Path, name: str | None = None) -> Iterator[Path]:
    """Yields the folders of prepared corpora, those of one corpus if `name` is given."""
    if root.is_dir():
        for folder in sorted(root.iterdir()):
            corpus, *digests = folder.name.split("-")
            if len(digests) == 2 and not corpus.startswith(".") and name in (None, corpus):
                yield folder


def _root(config_data: Any) -> Path:
    root = cache_root(config_data)
    if root is None:
        raise UnwritableCacheError(
            "there is no home folder to keep prepared corpora in: choose a place by "
            "--config.data.cache_dir=FOLDER, or none to keep nothing"
        )
    return root.absolute()


def _settings(config_data: Any, own: bool) -> dict[str, Any]:
    """Returns everything that a prepared corpus depends on, except its files."""
    settings = {key: value for key, value in config_data.items() if key not in _NO_MATTER}
    if own:
        settings["path"] = str(Path(config_data.path).expanduser().absolute())
    return {"format": FORMAT, **settings}


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _folder(stem: Path, contents: dict[str, str | None]) -> Path:
    return stem.with_name(f"{stem.name}-{_digest_of(contents)}")


def _found(stem: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields all that is prepared with these settings and not damaged, with its manifest."""
    for folder in sorted(stem.parent.glob(f"{stem.name}-*")):
        with contextlib.suppress(DamagedStoreError):
            yield folder, read_manifest(folder)


class _NotFound(Exception):
    """Nothing good is prepared."""


def _find(stem: Path, contents: dict[str, str | None], config_data: Any, own: bool) -> Corpus:
    """Opens what is prepared of these files, or of any where none is given.

    Raises:
      _NotFound: there is none.
      UserError: there are several different ones.
    """
    try:
        if contents:
            return open_corpus(_folder(stem, contents))
        # Of one's own corpora the whole path is among the settings.
        end = "" if own else Path(config_data.path).name
        found = {
            manifest["fingerprint"]: (folder, manifest["facts"])
            for folder, manifest in _found(stem)
            if not end or end in manifest["facts"]["places"]
        }
        if not found:
            raise _NotFound
        if len(found) > 1:
            folders = ", ".join(str(folder) for folder, _ in found.values())
            raise UserError(
                f"{config_data.name} is prepared with these settings from different files "
                f"({folders}): say from which by --config.data.manual_dir=FOLDER or "
                "--config.data.path=PLACE, or remove the others"
            )
        ((folder, facts),) = found.values()
        corpus = open_corpus(folder)
    except DamagedStoreError:
        raise _NotFound from None
    place = config_data.path.strip() or config_data.manual_dir.strip()
    if place:
        print(
            f"nothing of {config_data.name} is in {printable(place)}: opened as it was prepared "
            f"from {_listing(facts['sources'])}",
            file=sys.stderr,
        )
    return corpus


def _remove_damaged(stem: Path) -> None:
    """Removes folders that are not as they were written; mapped files stay readable."""
    for folder in sorted(stem.parent.glob(f"{stem.name}-*")):
        try:
            open_corpus(folder)
        except DamagedStoreError as damage:
            print(f"{folder} is damaged ({damage}): preparing it again", file=sys.stderr)
            with temporary_beside(stem) as grave:
                folder.rename(grave / "damaged")


def _report_change(stem: Path, contents: dict[str, str | None]) -> None:
    """Prints which of the given files differ from those prepared with these settings."""
    for folder, manifest in _found(stem) if contents else ():
        before = manifest["facts"]["sources"]
        changed = {
            name: contents.get(name)
            for name in sorted(before.keys() | contents.keys())
            if before.get(name) != contents.get(name)
        }
        print(
            f"{_listing(changed)} differs from what was prepared before, "
            f"{_listing({name: before.get(name) for name in changed})}, which stays in {folder}: "
            "preparing what is given",
            file=sys.stderr,
        )
        return


def _listing(sources: Mapping[str, str | None]) -> str:
    some = [
        f"{printable(name)} (sha256 {digest[:12]})" if digest else f"no {printable(name)}"
        for name, digest in sources.items()
    ]
    return ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _other_ways(stem: Path, settings: dict[str, Any]) -> str:
    """Returns how a corpus can be had without its files."""
    name = stem.name.partition("-")[0]
    ways = (
        f"; or bring the folder {stem.name}-* that `python -m spherical_vae.data prepare {name}` "
        f"makes, with these settings, where the files are, into {stem.parent}"
    )
    for folder in prepared_folders(stem.parent, name):
        with contextlib.suppress(DamagedStoreError):
            there = read_manifest(folder)["facts"]["settings"]
            other = ", ".join(
                f"{key}={there.get(key)!r} (asked for: {value!r})"
                for key, value in settings.items()
                if there.get(key) != value
            )
            return f"{ways}; there now is {name} with {other}" if other else ways
    return ways
