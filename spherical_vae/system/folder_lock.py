"""Locks of folders that one process at a time may work in; Linux, macOS and Windows."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from spherical_vae.system.atomic_file import cannot_write
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell


def lock_folder(folder: Path, name: str) -> contextlib.AbstractContextManager[object]:
    """Locks a folder, which is made with its parents if it does not exist, by a file in it.

    Returns:
      The lock: a context manager that releases it, from any thread. The operating system releases
      it too when the process ends, however it ends.

    Raises:
      BlockingIOError: another process or thread holds the lock.
      UserError: the folder cannot be written, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).open("a", encoding="utf-8").close()
    except FileExistsError:
        raise UserError(f"{folder}: is a file; --workdir must be a directory") from None
    except OSError as error:
        raise UserError(cannot_write(folder, error)) from error
    try:
        return _lock(folder / name).acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(f"{folder / name} is held") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder}: this file system has no locks ({reason}); use another --workdir"
        ) from error


def _lock(path: Path) -> FileLock:
    # Never a file whose existence is the lock: it would outlive a process that is killed.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


@contextlib.contextmanager
def one_at_a_time(path: Path, waiting: str) -> Iterator[bool]:
    """Holds a lock while something is made, after any other process that makes it.

    Yields whether it is held. If the file system has no locks, several processes may do the work,
    and a rename must decide.

    Args:
      path: of the lock's file; the parent of its folder must exist.
      waiting: message on standard error if another process holds the lock.

    Raises:
      OSError: the folder of the lock cannot be made.
    """
    path.parent.mkdir(exist_ok=True)
    lock = _lock(path)
    held = False
    with contextlib.ExitStack() as stack:
        # Which of the two says that there are no locks depends on the system.
        with contextlib.suppress(OSError, NotImplementedError):
            try:
                stack.enter_context(lock.acquire(timeout=0))
            except Timeout:
                tell(waiting)
                stack.enter_context(lock.acquire())
            held = True
        yield held


@contextlib.contextmanager
def temporary_beside(folder: Path, alone: bool) -> Iterator[Path]:
    """Makes an empty folder, to be put in the place of `folder` when it is complete.

    It has the permissions of any other, and lies in a private one beside `folder`, which is removed
    with all that is left in it. What killed processes left is removed first if the caller is
    `alone`, by a lock.
    """
    prefix, suffix, parent = f".{folder.name}.", ".tmp", folder.parent
    for left in parent.glob(f"{prefix}*{suffix}") if alone else ():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(suffix, prefix, parent, ignore_cleanup_errors=True) as private:
        made = Path(private) / "made"
        made.mkdir()
        yield made


def put_in_place(made: Path, folder: Path) -> None:
    """Renames `made` to `folder`, unless another process was first, as it may be without locks."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
