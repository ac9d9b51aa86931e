"""Processes that run the same command share its runs: one at a time is at a run."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


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

        The kernel lets go of it with the process, however it ends. Where the file system has no
        locks work may be done twice, with the same result.

        Raises:
          Taken: another process holds it.
        """
        if folder in self._held:
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".turn").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Taken(f"{folder}: another process is at it") from None
            except OSError:
                pass
            self._held.add(folder)
            try:
                yield
            finally:
                self._held.remove(folder)
