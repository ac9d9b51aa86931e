"""The lock of a folder that one process at a time may work in."""

import fcntl
from pathlib import Path
from typing import IO

from spherical_vae.errors import UserError


def lock_folder(folder: Path, name: str, wait: bool = False) -> IO[str]:
    """Locks a folder, which is made with its parents where it is not there.

    Args:
      folder: a working directory, or one in it.
      name: of the lock's file in it.
      wait: for a process that holds it.

    Returns:
      A file: closing it gives the lock back. The kernel does so for a process that dies, however
      it ends: there are no stale locks.

    Raises:
      BlockingIOError: another process holds it, unless this one waits.
      UserError: it cannot be written, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / name).open("a", encoding="utf-8")
    except FileExistsError:
        raise UserError(f"{folder}: is a file; --workdir must be a directory") from None
    except OSError as error:
        raise UserError(cannot_write(folder, error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    except OSError as error:
        lock.close()
        raise UserError(
            f"{folder}: this file system has no locks ({error.strerror}); use another --workdir"
        ) from error
    return lock


def cannot_write(path: Path, error: OSError) -> str:
    """Returns what is said of a working directory that cannot be written."""
    return f"{path}: cannot be written ({error.strerror}); choose another --workdir"
