"""Finding the published archive of a corpus: given, in a folder, or fetched; its digest checked."""

import hashlib
import http.client
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

from spherical_vae.data.sources import printable
from spherical_vae.system.errors import UserError

# The largest archive fetched here has a few megabytes; a server that sends more sends another file.
MAX_DOWNLOAD_BYTES = 2**27
# Of silence, and in all: a server that drips is not waited for.
TIMEOUT_SECONDS = 20
DOWNLOAD_SECONDS = 600
_BLOCK_BYTES = 2**16
# Below the cache folder.
DOWNLOADS = "downloads"


class MissingFilesError(UserError):
    """Files or packages of a corpus are not here; the message says how to get them."""


def cache_root(config: Any) -> Path | None:
    """Returns the folder for what is fetched and prepared, or None where nothing can be kept.

    Args:
      config: `config.data`; its `cache_dir` is a folder, `none`, or empty for the user's cache:
        `spherical_vae` in $XDG_CACHE_HOME, or else in ~/.cache.
    """
    given = getattr(config, "cache_dir", "")
    if given == "none":
        return None
    if given:
        return usable_path("cache_dir", given)
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
        if "\0" not in given:
            return Path(given).expanduser()
    except RuntimeError:
        pass  # there is no such user
    raise UserError(f"config.data.{key}: {printable(given)} is no usable path")


def blob_id(content: bytes) -> str:
    """Returns the id that git gives to a file: SHA-1 of `blob <size>`, a zero byte, the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def find_file(config: Any, name: str, hint: str) -> Path:
    """Returns the file a corpus is read from.

    `path` may name the file itself or a folder of unpacked files, and goes before `manual_dir`,
    the folder in which a file called `name` is looked for.

    Args:
      config: `config.data`.
      name: of the file as published.
      hint: what to fetch, for the message.

    Raises:
      MissingFilesError: nothing is there; the message says what to fetch and where to put it.
    """
    found = look_up(config, name)
    if found is None:
        where = config.manual_dir or "a folder"
        raise MissingFilesError(
            f"{name} is not here: {hint}, put it into {printable(where)} and set "
            f"--config.data.manual_dir={printable(config.manual_dir or 'FOLDER')}"
        )
    return found


def look_up(config: Any, name: str) -> Path | None:
    """Returns the file or folder that `path` or `manual_dir` gives, or None; see `find_file`.

    Raises:
      MissingFilesError: there is no such place.
    """
    if config.path.strip():
        place = usable_path("path", config.path)
        if not place.exists():
            raise MissingFilesError(f"config.data.path: {printable(config.path)} does not exist")
        return place
    if config.manual_dir.strip():
        folder = usable_path("manual_dir", config.manual_dir)
        if not folder.is_dir():
            raise MissingFilesError(
                f"config.data.manual_dir: {printable(config.manual_dir)} is no folder"
            )
        if (folder / name).is_file():
            return folder / name
    return None


def verify(path: Path, expected: str) -> None:
    """Refuses a file whose git blob id is not the registered one.

    Raises:
      UserError: with both ids.
    """
    try:
        found = blob_id(path.read_bytes())
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
    if found != expected:
        raise UserError(
            f"{printable(str(path))} is not the published file: its git blob id is {found}, "
            f"expected {expected}"
        )


def fetch(url: str, expected: str, folder: Path) -> Path:
    """Downloads a file into `folder`, once, and checks its git blob id.

    Raises:
      OSError: no network, no such file, a transfer that broke off, or a folder that cannot be
        written.
      UserError: what came is another file; it is not kept.
    """
    target = folder / url.rsplit("/", 1)[1]
    if target.is_file():
        verify(target, expected)
        return target
    content = _download(url)
    if blob_id(content) != expected:
        raise UserError(
            f"{url} is not the published file: its git blob id is {blob_id(content)}, "
            f"expected {expected}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target


def _download(url: str) -> bytes:
    parts, size, end = [], 0, time.monotonic() + DOWNLOAD_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            promised = answer.headers.get("Content-Length", "")
            while block := answer.read(_BLOCK_BYTES):
                parts.append(block)
                size += len(block)
                if size > MAX_DOWNLOAD_BYTES:
                    raise UserError(f"{url} sends more than {MAX_DOWNLOAD_BYTES:,} bytes: refused")
                if time.monotonic() > end:
                    raise OSError(f"{url} took more than {DOWNLOAD_SECONDS} seconds")
    except http.client.HTTPException as error:
        raise OSError(f"{url} does not speak HTTP: {type(error).__name__}") from None
    if promised.isdecimal() and size < int(promised):
        raise OSError(f"{url} sent {size:,} of {int(promised):,} bytes")
    return b"".join(parts)
