"""Folders named by a person: expands `~`, and raises for those that cannot hold a run.

Orbax takes `[`, `*` and `?` for a pattern, a backslash for a slash and a name that ends in a colon
for the scheme of a URL: what it writes under such a path it does not find again, or finds more.
"""

import os
import re
from pathlib import Path

from spherical_vae.system.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_UNREADABLE = "[]*?\\\0"
_ALLOWED = "allowed: a path in UTF-8 without [ ] * ? \\ and without a name that ends in ':'"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` or `~NAME` at its beginning replaced by that home folder.

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
      UserError: a URL, or something in its absolute path with which checkpoints cannot be read.
    """
    text = os.fspath(path)
    if _URL.match(text):
        raise UserError(f"{text}: a URL, allowed: a folder; mount the store and give its path")
    folder = expanded(path)
    whole = folder.absolute()
    name = whole.as_posix()
    colon = any(part.endswith(":") for part in whole.relative_to(whole.anchor).parts)
    if colon or not _is_utf8(name) or set(name) & set(_UNREADABLE):
        printable = name if name.isprintable() else ascii(name)
        raise UserError(f"{printable}: checkpoints cannot be read back from there; {_ALLOWED}")
    return folder


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
