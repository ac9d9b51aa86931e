"""Specifications of corpora, and the sources of their files: own files, archives, packages."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from spherical_vae.data.corpus import Kind, digest_of_file
from spherical_vae.data.examples import RawCorpus
from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell

# Below the cache folder.
_DOWNLOADS = "downloads"
_TIMEOUT_SECONDS = 20


class MissingFilesError(UserError):
    """Files or packages of a corpus are not here; the message says how to get them."""


@runtime_checkable  # beartype, under which the tests run, asks for it
class Source(Protocol):
    """The place that a corpus is read from.

    Attributes:
      path: whether `config.data.path` is `required`, `allowed` or `no` setting of it. If required,
        it also says which corpus of that name is meant.
    """

    path: ClassVar[str]

    def files(self, config_data: Any) -> list[Path]:
        """Returns the files that are read, or would be if they were there; none of them is opened.

        A prepared corpus is opened as long as none of these files changes.
        """
        ...

    def find(self, config_data: Any) -> Path:
        """Returns the file or folder to read, fetched if it has to be.

        Raises:
          MissingFilesError: it is not here; the message says what to bring and where to put it.
        """
        ...

    def missing(self, config_data: Any) -> str | None:
        """Returns in one line what to bring, or None if everything is here; fetches nothing."""
        ...


@dataclass(frozen=True)
class OwnFiles:
    """Files of the user in the folder or archive `config.data.path`.

    Attributes:
      names: those that are read if they are there.
      hint: which of them must be there, for messages.
    """

    path: ClassVar[str] = "required"
    names: tuple[str, ...]
    hint: str

    def files(self, config_data: Any) -> list[Path]:
        """As `Source.files`."""
        place = usable_path("path", config_data.path)
        if not place.is_dir():
            return [place]
        return [place / file for name in self.names for file in (name, f"{name}.gz")]

    def find(self, config_data: Any) -> Path:
        """As `Source.find`; a `UserError` if it does not exist, as nobody else could have it."""
        place = usable_path("path", config_data.path)
        if not place.exists():
            raise UserError(
                f"config.data.path: {printable(config_data.path)} does not exist, allowed: "
                f"{self.hint}"
            )
        return place

    def missing(self, config_data: Any) -> str | None:
        """As `Source.missing`."""
        return None if config_data.path.strip() else f"--path=PLACE: {self.hint}"


@dataclass(frozen=True)
class Archive:
    """A published file, at `config.data.path`, in `config.data.manual_dir`, or fetched.

    Attributes:
      name: of the file as it is published.
      hint: what to bring, for messages.
      blob_id: the registered git blob id, which is verified; empty if none is registered.
      url: where it is fetched from; empty if it must be brought by hand.
    """

    path: ClassVar[str] = "allowed"
    name: str
    hint: str
    blob_id: str = ""
    url: str = ""

    def files(self, config_data: Any) -> list[Path]:
        """As `Source.files`; nothing if the archive is not here."""
        with contextlib.suppress(MissingFilesError):
            if place := self._look_up(config_data):
                return sorted(filter(Path.is_file, place.iterdir() if place.is_dir() else [place]))
        return []

    def find(self, config_data: Any) -> Path:
        """As `Source.find`; a `UserError` if the blob id is not the registered one."""
        place, root = self._look_up(config_data), cache_root(config_data)
        if place is None and self.url and root:
            try:
                place = fetch(self.url, self.blob_id, self._download(root))
            except OSError as error:
                tell(f"not fetched from {self.url}: {printable(str(error))}")
        if place is None:
            where = printable(config_data.manual_dir or "FOLDER")
            raise MissingFilesError(
                f"{self.name} is not here: {self.hint}, put it into a folder and set "
                f"--config.data.manual_dir={where}"
            )
        if self.blob_id and place.is_file():
            try:
                verify_blob(place.read_bytes(), self.blob_id, str(place))
            except OSError as error:
                shown = printable(str(place))
                raise UserError(f"{shown} cannot be read: {error.strerror}") from None
        return place

    def missing(self, config_data: Any) -> str | None:
        """As `Source.missing`."""
        if self._look_up(config_data) is not None:
            return None
        fetched = "prepare fetches it; without a network " if self.url else ""
        return f"{self.name}: {fetched}{self.hint} and put it into --manual_dir=FOLDER"

    def _look_up(self, config_data: Any) -> Path | None:
        """Returns the file or folder that is given, or was fetched before, or None.

        Raises:
          MissingFilesError: the path or folder that is given does not exist.
        """
        if config_data.path.strip():
            return _given_path(config_data)
        places, manual, root = [], config_data.manual_dir, cache_root(config_data)
        if manual.strip():
            folder = usable_path("manual_dir", manual)
            if not folder.is_dir():
                message = f"config.data.manual_dir: {printable(manual)} is not a folder"
                raise MissingFilesError(message)
            places.append(folder / self.name)
        if self.url and root:
            places.append(self._download(root))
        return next(filter(Path.is_file, places), None)

    def _download(self, root: Path) -> Path:
        """Returns where it is kept: names of published files are not unique."""
        folder = self.blob_id or hashlib.sha1(self.url.encode()).hexdigest()
        return root / _DOWNLOADS / folder / self.name


@dataclass(frozen=True)
class Package:
    """Files of installed packages.

    Attributes:
      modules: names to import them by.
      extra: of ours that installs them.
    """

    path: ClassVar[str] = "no"
    modules: tuple[str, ...]
    extra: str

    def files(self, config_data: Any) -> list[Path]:
        """As `Source.files`."""
        found = [file for folder in self._folders() for file in folder.rglob("*")]
        return sorted(file for file in found if file.is_file() and file.suffix != ".pyc")

    def find(self, config_data: Any) -> Path:
        """As `Source.find`; the folder of the first package."""
        if lacking := self.missing(config_data):
            raise MissingFilesError(f"the corpus {config_data.name} needs {lacking}")
        return self._folders()[0]

    def missing(self, config_data: Any) -> str | None:
        """As `Source.missing`."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f'the package {module}: pip install -e ".[{self.extra}]"'
        return None

    def _folders(self) -> list[Path]:
        found = filter(None, map(importlib.util.find_spec, self.modules))
        return [Path(f) for spec in found for f in spec.submodule_search_locations or []]


# What reads published corpora.
TFDS = Package(("tensorflow_datasets", "array_record", "importlib_resources"), extra="corpora")


@dataclass(frozen=True)
class Publication:
    """Facts of a published corpus, checked when its files are read; it is kept as a TFDS builder.

    Attributes:
      title: one sentence.
      examples: expected by split, before anything is carved.
      vocabulary: number of words expected; of sentences those of train, unknown word and end mark
        included.
      license: terms of the text.
      citation: BibTeX.
      vocabulary_slack: None if there are exactly so many words, else how many more there may be.
      mean_length: words an example as the paper prints it; for the report.
      by_seed: whether the test split is sampled from the files by the data seed.
      counted_in: where the counts are printed.
    """

    title: str
    examples: Mapping[str, int]
    vocabulary: int
    license: str
    citation: str
    vocabulary_slack: int | None = None
    mean_length: str = ""
    by_seed: bool = False
    counted_in: str = "table 2 of the paper"


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus: where it comes from, how it is read, and what it may be asked for.

    Attributes:
      name: value of `config.data.name`.
      description: a few words, for `python -m spherical_vae.data list`.
      kind: whether the order of words is known.
      source: where its files come from.
      read: reads the files. Its arguments are the place that `Source.find` returns, `config.data`
        (of which it gets nothing but the seed if there is a `publication`), and a folder for
        temporary files or None.
      label_names: of the labels, from 0; `label_classes` is 0 or their number. None for the
        user's own files, which may have any number.
      undivided: whether it comes as a whole, from which valid and test are carved.
      settings: keys of `config.data` whose usual values differ from the base configuration's.
      tokenize: splits a text as the corpus was split; by default at white space.
      publication: facts to check, for published archives.
    """

    name: str
    description: str
    kind: Kind
    source: Source
    read: Callable[[Path, Any, Path | None], RawCorpus]
    label_names: tuple[str, ...] | None = ()
    undivided: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokenize: Callable[[str], list[str]] = str.split
    publication: Publication | None = None

    def __post_init__(self) -> None:
        # Folders of prepared corpora are NAME-SETTINGS-SOURCES.
        if not self.name.isidentifier():
            raise ValueError(f"{self.name!r} given, allowed: a name of letters, digits and _")

    def missing(self, config_data: Any) -> str | None:
        """Returns in one line what to bring or install, or None if everything is here."""
        builder = TFDS.missing(config_data) if self.publication else None
        return builder or self.source.missing(config_data)


def cache_root(config_data: Any) -> Path | None:
    """Returns the folder for what is fetched and prepared, or None if nothing can be kept.

    Args:
      config_data: `config.data`; its `cache_dir` is a folder, `none`, or empty for the user's
        cache: `spherical_vae` in $XDG_CACHE_HOME, or else in ~/.cache.
    """
    if config_data.cache_dir == "none":
        return None
    if config_data.cache_dir:
        return usable_path("cache_dir", config_data.cache_dir)
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path("~/.cache").expanduser()) / "spherical_vae"
    except RuntimeError:
        return None  # the user has no home folder


def usable_path(key: str, given: str) -> Path:
    """Returns the path that `config.data` gives, `~` being a home folder."""
    try:
        path = Path(given).expanduser()
        path.stat()
        # A folder has to be listed too.
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError:
        raise UserError(
            f"config.data.{key}: {printable(given)} cannot be read: permission denied"
        ) from None
    # An embedded null byte; no such user; too long a name.
    except (ValueError, RuntimeError, OSError):
        raise UserError(f"config.data.{key}: {printable(given)} is not a usable path") from None
    return path


def _given_path(config_data: Any) -> Path:
    place = usable_path("path", config_data.path)
    if not place.exists():
        raise MissingFilesError(
            f"config.data.path: {printable(config_data.path)} does not exist; the docstring of "
            "the config file says where the corpus is to be had"
        )
    return place


def digest_of_files(files: Iterable[Path]) -> dict[str, str | None]:
    """Returns the SHA-256 of each file, by its path from the folder that holds all of them.

    A file that cannot be read has None, or the reason; if none is there nothing is returned.
    """
    paths = [path.absolute() for path in files]
    folder = os.path.commonpath([path.parent for path in paths]) if paths else ""
    digests = {path.relative_to(folder).as_posix(): _digest(path) for path in paths}
    return digests if any(digests.values()) else {}


def _digest(path: Path) -> str | None:
    # Anything but a regular file (a pipe, say) could block for ever.
    if not path.is_file():
        return None
    try:
        return digest_of_file(path)
    except OSError as error:
        return error.strerror  # the loader will meet it, and say so


def blob_id(content: bytes) -> str:
    """Returns the id that git gives to a file: SHA-1 of `blob <size>`, a zero byte, the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def verify_blob(content: bytes, expected: str, where: str) -> None:
    """Raises a `UserError` that names the place `where` if the blob id is not the expected one."""
    found = blob_id(content)
    if found != expected:
        raise UserError(
            f"{printable(where)} is not the published file: its git blob id is {found}, "
            f"expected {expected}"
        )


def fetch(url: str, expected: str, target: Path) -> Path:
    """Downloads a file to `target`, or finds it there, and returns that.

    A download must have the git blob id `expected`, unless that is empty.

    Raises:
      OSError: no network, no such file, a transfer that broke off, or a folder that cannot be
        written.
      UserError: another file came; it is not kept.
    """
    # Not needed by who reads what is here.
    import http.client
    import urllib.request

    if target.is_file():
        return target
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: the transfer broke off ({type(error).__name__})") from None
    if expected:
        verify_blob(content, expected, url)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target
