"""Processes that run the same command share its runs: one at a time is at a run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from spherical_vae.system.folder_lock import lock_folder


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
        try:
            lock = lock_folder(folder, ".turn")
        except BlockingIOError:
            raise Taken(f"{folder}: another process is at it") from None
        with lock:
            self._held.add(folder)
            try:
                yield
            finally:
                self._held.remove(folder)
