"""Where corpora come from: files of one's own, published archives, installed packages."""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError

# Below the cache folder.
DOWNLOADS = "downloads"
_TIMEOUT_SECONDS = 20


class MissingFilesError(UserError):
    """Files or packages of a corpus are not here; the message says how to get them."""


@runtime_checkable
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

    def find(self, config_data: Any) -> Path | None:
        """Returns the file or folder to read, fetched if it has to be; None for a package.

        Raises:
          MissingFilesError: it is not here; the message says what to bring and where to put it.
        """
        ...

    def missing(self, config_data: Any) -> str | None:
        """Returns in one line what to bring, or None if everything is here; fetches nothing."""
        ...


@dataclass(frozen=True)
class OwnFiles:
    """Files of one's own in the folder or archive `config.data.path`.

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
        """As `Source.find`."""
        return _given_path(config_data)

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
        try:
            place = self._look_up(config_data)
        except MissingFilesError:
            return []
        if place is None:
            return []
        return sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]

    def find(self, config_data: Any) -> Path:
        """As `Source.find`.

        Raises:
          UserError: as there; or the file has another blob id than the registered one.
        """
        place, root = self._look_up(config_data), cache_root(config_data)
        if place is None and self.url and root is not None:
            try:
                place = fetch(self.url, self.blob_id, root / DOWNLOADS)
            except OSError as error:
                print(f"not fetched from {self.url}: {printable(str(error))}", file=sys.stderr)
        if place is None:
            where = printable(config_data.manual_dir or "FOLDER")
            raise MissingFilesError(
                f"{self.name} is not here: {self.hint}, put it into a folder and set "
                f"--config.data.manual_dir={where}"
            )
        if self.blob_id and place.is_file():
            try:
                content = place.read_bytes()
            except OSError as error:
                shown = printable(str(place))
                raise UserError(f"{shown} cannot be read: {error.strerror}") from None
            _verify(content, self.blob_id, str(place))
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
          MissingFilesError: there is no such place.
        """
        if config_data.path.strip():
            return _given_path(config_data)
        folders = []
        if config_data.manual_dir.strip():
            folders.append(usable_path("manual_dir", config_data.manual_dir))
            if not folders[0].is_dir():
                raise MissingFilesError(
                    f"config.data.manual_dir: {printable(config_data.manual_dir)} is no folder"
                )
        root = cache_root(config_data)
        if self.url and root is not None:
            folders.append(root / DOWNLOADS)
        return next((f / self.name for f in folders if (f / self.name).is_file()), None)


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
        found = filter(None, map(importlib.util.find_spec, self.modules))
        folders = [folder for spec in found for folder in spec.submodule_search_locations or []]
        return sorted(
            path
            for folder in folders
            for path in Path(folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )

    def find(self, config_data: Any) -> None:
        """As `Source.find`."""
        if lacking := self.missing(config_data):
            raise MissingFilesError(f"the corpus {config_data.name} needs {lacking}")

    def missing(self, config_data: Any) -> str | None:
        """As `Source.missing`."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f'the package {module}: pip install -e ".[{self.extra}]"'
        return None


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
    """Returns the path that `config.data` gives, `~` being a home folder.

    Raises:
      UserError: there can be no such path.
    """
    try:
        path = Path(given).expanduser()
        path.stat()
    except FileNotFoundError:
        return path
    # An embedded null byte; no such user; too long a name.
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, PermissionError | NotADirectoryError):
            return path
        raise UserError(f"config.data.{key}: {printable(given)} is no usable path") from None
    return path


def blob_id(content: bytes) -> str:
    """Returns the id that git gives to a file: SHA-1 of `blob <size>`, a zero byte, the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def digest_of_files(files: Sequence[Path]) -> dict[str, str | None]:
    """Returns the SHA-256 of each file, by its path from the folder that holds all of them.

    A file that cannot be read has None, or the reason; if none is there nothing is returned.
    """
    if not files:
        return {}
    folder = os.path.commonpath([path.absolute().parent for path in files])
    digests = {path.absolute().relative_to(folder).as_posix(): _digest(path) for path in files}
    return digests if any(digests.values()) else {}


def _digest(path: Path) -> str | None:
    # Anything but a regular file (a pipe, say) could block for ever.
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror  # the loader will meet it, and say so


def fetch(url: str, expected: str, folder: Path) -> Path:
    """Downloads a file into `folder` and verifies its git blob id, or finds it there.

    Raises:
      OSError: no network, no such file, a transfer that broke off, or a folder that cannot be
        written.
      UserError: another file came; it is not kept.
    """
    # Not needed by who reads what is here.
    import http.client
    import urllib.request

    target = folder / url.rsplit("/", 1)[1]
    if target.is_file():
        return target
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: the transfer broke off ({type(error).__name__})") from None
    _verify(content, expected, url)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target


def _given_path(config_data: Any) -> Path:
    place = usable_path("path", config_data.path)
    if not place.exists():
        raise MissingFilesError(
            f"config.data.path: {printable(config_data.path)} does not exist; the docstring of "
            "the config file says where the corpus is to be had"
        )
    return place


def _verify(content: bytes, expected: str, where: str) -> None:
    found = blob_id(content)
    if found != expected:
        raise UserError(
            f"{printable(where)} is not the published file: its git blob id is {found}, "
            f"expected {expected}"
        )
