"""Replaces a small text file so that a crash leaves the old content or the new, never a part."""

import os
import threading
from pathlib import Path

from spherical_vae.system.errors import UserError


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` to `path`, in UTF-8, by a temporary file beside it, fsync and rename.

    Raises:
      OSError: the folder does not exist or cannot be written; the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
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


def write_run_file(path: Path, text: str) -> None:
    """Writes a file of a working directory as `write_atomically` does.

    Raises:
      UserError: it cannot be written; the old file is unchanged.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UserError(cannot_write(path, error)) from error


def cannot_write(path: Path, error: OSError) -> str:
    """Returns the message for a part of a working directory that cannot be written."""
    return f"{path}: cannot be written ({error.strerror}); choose another --workdir"


def sync_directory(directory: Path) -> None:
    """Makes renames and new names in a folder survive a power failure; nothing on Windows."""
    if os.name == "nt":
        return  # Windows cannot open a folder.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
