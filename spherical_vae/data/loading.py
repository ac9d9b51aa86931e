"""From the name of a corpus to its splits: opened as it was prepared, or read from its files.

A prepared corpus is a folder `NAME-SETTINGS-SOURCES` below the cache folder: the corpus, a digest
of the settings and of the format's version, and a digest of the files that it was made from. It
appears by a rename, complete, and is never written again. If the files are not given, it is found
by the first two alone.
"""

import contextlib
import functools
import itertools
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.corpus import (
    FORMAT,
    Corpus,
    DamagedStoreError,
    UnreadableStoreError,
    digest_of_json,
    open_corpus,
    read_manifest,
    write_corpus,
)
from spherical_vae.data.examples import encode
from spherical_vae.data.files import printable
from spherical_vae.data.settings import check_settings
from spherical_vae.data.sources import (
    TFDS,
    MissingFilesError,
    cache_root,
    digest_of_files,
    usable_path,
)
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import one_at_a_time, put_in_place, temporary_beside
from spherical_vae.system.standard_error import tell

# Keys that do not change what is prepared: where things lie, and how batches are padded.
_NO_MATTER = frozenset({"name", "cache_dir", "manual_dir", "path", "buckets"})
_WAITING = "waiting: another process is preparing a corpus"
# Files by name, with their SHA-256.
Digests = Mapping[str, str | None]


class UnwritableCacheError(UserError):
    """The folder of prepared corpora cannot be written, or there is none."""


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
    if config_data.cache_dir != "none":
        try:
            return prepare_corpus(config_data)
        except UnwritableCacheError as error:
            if config_data.cache_dir:
                raise
            _say_once(f"{error}; until then every start reads the text")
        config_data = ConfigDict(dict(config_data.items()) | {"cache_dir": "none"})
    check_settings(config_data)
    return read_corpus(config_data)


@functools.cache
def _say_once(message: str) -> None:
    tell(message)


def read_corpus(config_data: Any, folder: Path | None = None) -> Corpus:
    """Reads a corpus from its files; tokens lie in files in `folder`, or in memory if it is None.

    Raises:
      UserError: as `load_corpus`.
    """
    spec = CORPORA[config_data.name]
    place = spec.source.find(config_data)
    if spec.publication is None:
        raw = spec.read(place, config_data, folder)
    else:
        TFDS.find(config_data)
        from spherical_vae.data.published import read_published

        raw = read_published(spec, place, config_data, folder)
    return encode(raw.name or spec.name, spec.kind, raw, config_data, folder)


class _Key(NamedTuple):
    """The properties that identify a prepared corpus, except its files."""

    stem: Path  # of its folder, without the digest of its files
    settings: dict[str, Any]

    @classmethod
    def of(cls, root: Path, config_data: Any) -> "_Key":
        settings = {k: value for k, value in config_data.items() if k not in _NO_MATTER}
        if CORPORA[config_data.name].source.path == "required":
            settings["path"] = str(usable_path("path", config_data.path).absolute())
        settings = {"format": FORMAT, **settings}
        return cls(root / f"{config_data.name}-{digest_of_json(settings)[:16]}", settings)

    def folder(self, contents: Digests) -> Path:
        return self.stem.with_name(f"{self.stem.name}-{digest_of_json(contents)[:16]}")

    def folders(self) -> list[Path]:
        """Returns all that is prepared with these settings."""
        return sorted(self.stem.parent.glob(f"{self.stem.name}-*"))


def prepare_corpus(config_data: Any) -> Corpus:
    """Opens the prepared corpus, and prepares it first if there is none that is good.

    Raises:
      UnwritableCacheError: it has to be prepared, and the cache cannot be written.
      UserError: as `load_corpus`; a file cannot be read; or several corpora could be meant, and no
        file says which.
    """
    check_settings(config_data)
    root = cache_root(config_data)
    if root is None:
        raise UnwritableCacheError(
            "there is no home folder to keep prepared corpora in: choose a place by "
            "--config.data.cache_dir=FOLDER, or none to keep nothing"
        )
    root = root.absolute()
    try:
        key = _Key.of(root, config_data)
        contents = digest_of_files(CORPORA[config_data.name].source.files(config_data))
        if found := _find(key, contents, config_data):
            return found
        root.mkdir(parents=True, exist_ok=True)
        # A few locks for all folders there will ever be: a lock file cannot be removed safely.
        with one_at_a_time(root / "locks" / key.stem.name[-2:], _WAITING) as alone:
            if found := _find(key, contents, config_data):
                return found
            damaged = _damaged(key)
            _report_change(set(key.folders()).difference(damaged), contents)
            with temporary_beside(key.stem, alone) as made:
                return open_corpus(_prepare(key, contents, config_data, made, damaged))
    except OSError as error:
        place = Path(error.filename or root)
        if not (place.is_relative_to(root) or root.is_relative_to(place)):
            raise UserError(f"{printable(str(place))} cannot be read: {error.strerror}") from error
        if error.errno is None:  # Not of the system: of what read the files.
            read = CORPORA[config_data.name].source.files(config_data)
            files = ", ".join(printable(str(path)) for path in read)
            raise UserError(f"{files}: cannot be read: {printable(str(error))}") from error
        raise UnwritableCacheError(
            f"{place}: {error.strerror or error}; prepared corpora are kept in {root}: choose "
            "another place by --config.data.cache_dir=FOLDER, or none to keep nothing"
        ) from error


def _prepare(
    key: _Key, contents: Digests, config_data: Any, made: Path, damaged: Sequence[Path]
) -> Path:
    """Reads a corpus, writes it to `made` and puts that in its place, which is returned.

    If that is one of the `damaged`, it goes when there is something in its place, and not before.
    """
    try:
        corpus = read_corpus(config_data, made)
    except MissingFilesError as error:
        raise MissingFilesError(f"{error}{_other_ways(key, config_data.name)}") from error
    # Once more: an archive that was fetched has not been there before.
    files = CORPORA[config_data.name].source.files(config_data)
    read = digest_of_files(files)
    for name in sorted(contents):
        if read.get(name) != contents[name]:
            raise UserError(f"{name} changed while it was read: start again")
    facts = {
        "settings": key.settings,
        "sources": read,
        # How a path ends by which these files are given: their names or a folder's.
        "places": sorted({end for p in files for end in (p.name, p.resolve().parent.name)}),
        "python": platform.python_version(),
    }
    write_corpus(corpus, made, facts)
    folder = key.folder(read)
    if folder in damaged:
        # Mapped files stay readable.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(made.with_name("damaged"))
    put_in_place(made, folder)
    return folder


def _find(key: _Key, contents: Digests, config_data: Any) -> Corpus | None:
    """Opens what is prepared of these files, or of any if none is given; None if nothing is good.

    Raises:
      UserError: there are several different ones, or one cannot be read.
    """
    if contents:
        with contextlib.suppress(DamagedStoreError):
            return open_corpus(key.folder(contents))
        return None
    found = _by_fingerprint(key, config_data)
    if len(found) > 1:
        folders = ", ".join(str(same[0][0]) for same in found.values())
        raise UserError(
            f"{config_data.name} is prepared with these settings from different files "
            f"({folders}): say from which by --config.data.manual_dir=FOLDER or "
            "--config.data.path=PLACE, or remove the others"
        )
    # The same text may have been prepared from several archives.
    for folder, facts in itertools.chain(*found.values()):
        with contextlib.suppress(DamagedStoreError):
            corpus = open_corpus(folder)
            if place := config_data.path.strip() or config_data.manual_dir.strip():
                tell(
                    f"nothing of {config_data.name} is in {printable(place)}: opened as it was "
                    f"prepared from {_listing(facts['sources'])}",
                )
            return corpus
    return None


def _by_fingerprint(key: _Key, config_data: Any) -> dict[int, list[tuple[Path, dict[str, Any]]]]:
    """Returns the folders with these settings, and the facts of each, by the text they hold.

    Raises:
      UnreadableStoreError: nothing is found, and one cannot be read.
    """
    # A path that is not a setting and need not be there: its last part must be the same.
    end = "" if "path" in key.settings else Path(config_data.path).name
    found: dict[int, list[tuple[Path, dict[str, Any]]]] = {}
    for folder, manifest in _good(key.folders()):
        if not end or end in manifest["facts"]["places"]:
            found.setdefault(manifest["fingerprint"], []).append((folder, manifest["facts"]))
    if not found:
        # What may be good is not passed over in silence.
        for folder in key.folders():
            with contextlib.suppress(DamagedStoreError):
                read_manifest(folder)
    return found


def _good(folders: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Returns the folders whose manifest can be read and is not damaged, with it."""
    found = []
    for folder in folders:
        with contextlib.suppress(DamagedStoreError, UnreadableStoreError):
            found.append((folder, read_manifest(folder)))
    return found


def _damaged(key: _Key) -> list[Path]:
    """Returns, and names on standard error, the folders that are not as they were written."""
    found = []
    for folder in key.folders():
        try:
            open_corpus(folder)
        except UnreadableStoreError:
            pass
        except DamagedStoreError as damage:
            tell(f"{folder} is damaged ({damage})")
            found.append(folder)
    return found


def _report_change(folders: Iterable[Path], contents: Digests) -> None:
    """Prints which of the given files differ from those prepared with these settings."""
    for folder, manifest in _good(sorted(folders))[:1] if contents else ():
        before = manifest["facts"]["sources"]
        names = sorted(before.keys() | contents.keys())
        changed = [name for name in names if before.get(name) != contents.get(name)]
        given, kept = ({name: some.get(name) for name in changed} for some in (contents, before))
        tell(
            f"{_listing(given)} differs from what was prepared before, {_listing(kept)}, which "
            f"stays in {folder}: preparing what is given",
        )


def _listing(sources: Digests) -> str:
    some = [
        f"{printable(name)} (sha256 {digest[:12]})" if digest else f"no {printable(name)}"
        for name, digest in sources.items()
    ]
    return ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _other_ways(key: _Key, name: str) -> str:
    """Returns how a corpus can be had without its files."""
    root = key.stem.parent
    ways = (
        f"; or bring the folder {key.stem.name}-* that `python -m spherical_vae.data prepare "
        f"{name}` makes, with these settings, where the files are, into {root}"
    )
    for _, manifest in _good(prepared_folders(root, name))[:1]:
        there = manifest["facts"]["settings"]
        other = ", ".join(
            f"{setting}={there.get(setting)!r} (asked for: {value!r})"
            for setting, value in key.settings.items()
            if there.get(setting) != value
        )
        ways += f"; there now is {name} with {other}" if other else ""
    return ways


def prepared_folders(root: Path, name: str | None = None) -> list[Path]:
    """Returns the folders of prepared corpora, those of one corpus if `name` is given."""
    pattern = re.compile((re.escape(name) if name else r"[\w.]+") + 2 * "-[0-9a-f]{16}")
    folders = []
    # A folder that may not be listed has none that could be opened.
    with contextlib.suppress(PermissionError):
        folders = sorted(root.iterdir()) if root.is_dir() else []
    return [folder for folder in folders if pattern.fullmatch(folder.name)]
