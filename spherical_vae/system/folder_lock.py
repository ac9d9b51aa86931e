"""Locks of folders that one process at a time may work in or make; Linux, macOS and Windows."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from spherical_vae.system.errors import UserError


class FolderLock:
    """A lock that is held until `close`; a context manager.

    The system releases it when the process ends in any way: locks are never stale.
    """

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def close(self) -> None:
        """Gives the lock back, from any thread; the file stays, as others may wait for it."""
        self._lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def lock_folder(folder: Path, name: str, wait: bool = False) -> FolderLock:
    """Locks a folder, which is made with its parents where it is not there.

    Args:
      folder: a working directory, or one in it.
      name: of the lock's file in it.
      wait: for whoever holds it.

    Raises:
      BlockingIOError: another process or thread holds it, unless this one waits.
      UserError: it cannot be written, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).open("a", encoding="utf-8").close()
    except FileExistsError:
        raise UserError(f"{folder}: is a file; --workdir must be a directory") from None
    except OSError as error:
        raise UserError(cannot_write(folder, error)) from error
    lock = _lock(folder / name)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(f"{folder / name} is held") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder}: this file system has no locks ({reason}); use another --workdir"
        ) from error
    return FolderLock(lock)


def _lock(path: Path) -> FileLock:
    # Never a file that merely exists instead of a lock: it would outlive a process that is killed.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


@contextlib.contextmanager
def one_at_a_time(path: Path, waiting: str) -> Iterator[None]:
    """Holds a lock while something is made, after any other process that makes it.

    If the file system has no locks, work may be done twice, and a rename must decide.

    Args:
      path: of the lock's file; the folder above its folder must exist.
      waiting: printed to standard error if another process holds it.

    Raises:
      OSError: the folder of the lock cannot be made.
    """
    path.parent.mkdir(exist_ok=True)
    lock = _lock(path)
    with contextlib.ExitStack() as stack:
        # No locks there: depending on the system it is the one or the other.
        with contextlib.suppress(OSError, NotImplementedError):
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except Timeout:
                print(waiting, file=sys.stderr)
                stack.enter_context(lock.acquire())
        yield


@contextlib.contextmanager
def temporary_beside(folder: Path) -> Iterator[Path]:
    """Makes an empty folder beside `folder`, to be renamed when it is complete, and removes it.

    What processes that were killed left there is removed first; so a lock must be held.
    """
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> str:
    """Returns what is said of a working directory that cannot be written."""
    return f"{path}: cannot be written ({error.strerror}); choose another --workdir"
