"""Archives from a machine that may be gone at any second: they are whole at all times."""

import contextlib
import io
import shutil
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

PART_BYTES = 15 * 2**20
# Of compiled programs: little more than twice as much travels at a time, and the clone, corpora,
# wheels and parameters have to go with them.
MOST_COMPILED_BYTES = 35 * 2**20
# A program that was begun to be written less than so many seconds ago may not be whole.
SETTLED = 2.0


def say(text: str) -> None:
    """Prints on standard error at once."""
    print(text, file=sys.stderr, flush=True)


def archive_bytes(files: Iterable[Path], root: Path) -> bytes:
    """Returns a .tar.gz of files that others may replace or remove meanwhile.

    Args:
      files: those that are gone when their turn comes are left out.
      root: their names are relative to it.
    """
    buffer = io.BytesIO()
    # Programs are compressed as they are, and the time is that of a card.
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                # At once: a log that grows must not be longer than its entry says.
                data = path.read_bytes()
                entry = tarfile.TarInfo(path.relative_to(root).as_posix())
                entry.size, entry.mtime = len(data), int(time.time())
                archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def write_archive(archive: Path, files: Iterable[Path], root: Path) -> None:
    """Writes a .tar.gz as `archive_bytes` makes it; what was there stays until it is whole."""
    temporary = archive.with_name(f".{archive.name}.tmp")
    temporary.write_bytes(archive_bytes(files, root))
    temporary.replace(archive)


class CompiledPrograms:
    """The cache of compiled programs, on its way home: OUT/compiled, an archive in parts."""

    def __init__(self, cache: str, out: Path) -> None:
        """Writes nothing yet.

        Args:
          cache: folder of JAX's cache; empty where nothing of it is to be kept.
          out: gets the folder `compiled`, which is always replaced as a whole.
        """
        self._cache, self._out = cache, out
        self._written: list[Path] = []

    def write(self) -> None:
        """Writes as many programs as may travel, the largest first, where there are other ones."""
        sizes: dict[Path, int] = {}
        for path in Path(self._cache).rglob("*") if self._cache else ():
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if path.is_file() and found.st_mtime < time.time() - SETTLED:
                    sizes[path] = found.st_size
        left, chosen = MOST_COMPILED_BYTES, []
        # What took longest to compile is what is largest.
        for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
            if sizes[path] <= left:
                left -= sizes[path]
                chosen.append(path)
        if chosen == self._written:
            return
        if len(chosen) < len(sizes):
            say(
                f"{len(sizes) - len(chosen)} of {len(sizes)} compiled programs stay: together they "
                f"are more than {MOST_COMPILED_BYTES // 2**20} MiB"
            )
        data = archive_bytes(chosen, Path(self._cache))
        temporary, folder = self._out / ".compiled.tmp", self._out / "compiled"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for begin in range(0, len(data), PART_BYTES):
            part = temporary / f"{begin // PART_BYTES:02d}"
            part.write_bytes(data[begin : begin + PART_BYTES])
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        self._written = chosen
