"""Paths given by a user: expands `~`, and raises for folders that cannot hold a run.

Orbax reads `[`, `*` and `?` as a pattern, a backslash as a slash, and a name that ends in a colon
as the scheme of a URL: what it writes under such a path it does not find again.
"""

import os
import re
from pathlib import Path

from spherical_vae.system.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# Lone surrogates stand for bytes of a path that are not UTF-8.
_UNREADABLE = re.compile(r"[\[\]*?\\\0\ud800-\udfff]|:(/|$)")
_ALLOWED = "allowed: a path in UTF-8 without [ ] * ? \\ and without a name that ends in ':'"


def is_url(text: str) -> bool:
    """Returns whether a text is a URL, as `gs://bucket/folder`, and no path."""
    return _URL.match(text) is not None


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with a leading `~` or `~NAME` replaced by that home folder.

    Raises:
      UserError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{os.fspath(path)}: there is no such home folder; give a path without '~'"
        ) from None


def run_folder(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder that can hold a run, `~` replaced.

    Raises:
      UserError: the path is empty or a URL, or checkpoints could not be read back from it.
    """
    text = os.fspath(path)
    if not text:
        raise UserError("the folder of a run (--workdir, --init_from): '' given, allowed: a path")
    if is_url(text):
        raise UserError(f"{text}: a URL, allowed: a folder; mount the store and give its path")
    folder = expanded(path)
    whole = folder.absolute()
    name = whole.as_posix().removeprefix(whole.drive)
    if _UNREADABLE.search(name):
        printable = name if name.isprintable() else ascii(name)
        raise UserError(f"{printable}: checkpoints cannot be read back from there; {_ALLOWED}")
    return folder
