"""Digests of source files, read again only where a file may have changed.

The rule is git's: a file whose size, times and inode are as they were when it was read is taken to
be the same, unless it had been written so shortly before that a later change need not show.
"""

import contextlib
import hashlib
import json
import time
from pathlib import Path

from spherical_vae.system.atomic_file import write_atomically

# Coarser than the clock of any file system.
_SETTLED_NANOSECONDS = 2_000_000_000


def stamp(path: Path) -> list[int] | None:
    """Returns what changes when a file is written, or None where there is no file to be had."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def file_digest(path: Path, memory: Path) -> str | None:
    """Returns the SHA-256 of a file, or None where there is no regular file.

    Args:
      path: of the file.
      memory: folder in which digests are kept from one call to the next; need not exist.

    Raises:
      OSError: the file cannot be read.
    """
    now = stamp(path)
    # Opening anything else (a pipe, say) could block for ever.
    if now is None or not path.is_file():
        return None
    where = str(path.resolve())
    note = memory / f"{hashlib.sha256(where.encode(errors='surrogateescape')).hexdigest()}.json"
    # Whatever is wrong with a note, the file itself can be read.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["path"] == where and known["stamp"] == now:
            return str(known["sha256"])
    begun = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if begun - max(now[1:3]) > _SETTLED_NANOSECONDS and stamp(path) == now:
        # A cache that cannot be written is still good for reading.
        with contextlib.suppress(OSError):
            memory.mkdir(parents=True, exist_ok=True)
            write_atomically(note, json.dumps({"path": where, "stamp": now, "sha256": digest}))
    return digest
