"""Processes that run the same command share its runs: one at a time is at a run."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spherical_vae.errors import UserError


class Taken(Exception):
    """Another process is at a run."""


class Turns:
    """The folders that this process is at."""

    def __init__(self) -> None:
        """At none yet."""
        self._held: set[Path] = set()

    @contextlib.contextmanager
    def at(self, folder: Path) -> Iterator[None]:
        """Holds a folder, which is made where it is not there; within itself as often as wanted.

        The kernel lets go of it with the process, however it ends.

        Raises:
          Taken: another process holds it.
          UserError: it cannot be written, or its file system has no locks.
        """
        if folder in self._held:
            yield
            return
        with _locked(folder):
            self._held.add(folder)
            try:
                yield
            finally:
                self._held.remove(folder)


def _locked(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".turn").open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; use another --workdir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Taken(f"{folder}: another process is at it") from None
    except OSError as error:
        lock.close()
        raise UserError(
            f"{folder}: this file system has no locks ({error.strerror}); use another --workdir"
        ) from error
    return lock
