"""One process at a time makes a folder; the others wait for it."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which need not exist; the one that it is to lie in must.

    The system drops the lock with the process, however it ends. Where the file system has no locks
    work may be done twice, and the rename decides which result stays.

    Args:
      folder: a name that ends in two characters with a lock of their own, as digests do.
    """
    locks = folder.parent / "locks"
    locks.mkdir(exist_ok=True)
    # A few locks for all folders there will ever be: a lock file cannot be removed safely.
    # As for runs: a file that merely exists would outlive a process that is killed.
    lock = filelock.FileLock(locks / folder.name[-2:], fallback_to_soft=False)
    with contextlib.ExitStack() as stack:
        try:
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except filelock.Timeout:
                print("waiting: another process is preparing a corpus", file=sys.stderr)
                stack.enter_context(lock.acquire())
        # No locks there: depending on the system it is the one or the other.
        except (OSError, NotImplementedError):
            pass
        yield


@contextlib.contextmanager
def temporary_beside(folder: Path) -> Iterator[Path]:
    """Makes an empty folder beside `folder`, to be renamed when it is complete, and removes it.

    What processes that were killed have left there is removed before; so `folder_lock` must be
    held.
    """
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
