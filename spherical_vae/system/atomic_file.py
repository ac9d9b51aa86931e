"""Replacing a small text file so that a crash leaves the old content or the new, never a part."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` to `path` by a temporary neighbour, fsync and rename.

    Args:
      path: the file to create or replace; its folder must exist.
      text: the whole new content, encoded as UTF-8.

    Raises:
      OSError: where the folder cannot be written; the old file is then still whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes renames and new names in `directory` survive a power failure; not on Windows."""
    if os.name == "nt":
        return  # there a folder cannot be opened
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
