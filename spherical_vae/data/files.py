"""Files of a corpus in a folder, a zip archive or a single file, and their bytes as lines."""

import codecs
import gzip
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from spherical_vae.system.errors import UserError

# Large enough to be quick, small enough to hold what is made of it.
_BLOCK_BYTES = 2**20


def printable(text: str, limit: int = 200) -> str:
    """Returns `text` on one line: unprintable characters escaped, the rest of a long one cut."""
    head = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit])
    return head + ("…" if len(text) > limit else "")


class CorpusFiles:
    """The files of one corpus, by their bare names; `NAME.gz` is read as `NAME`.

    Archives are read in place, never unpacked to disk; their files may lie in one folder inside.

    Args:
      path: a folder or a zip archive.
      anchor: a file that must be there, `train.txt`.
      whole: whether `path` may also be one text file, which is then the only one.

    Attributes:
      shown: the path, as messages give it.
      name: last part of the path without its suffix, `ptb` for `data/ptb.zip`.
      whole: name of the only file, or None.

    Raises:
      UserError: nothing that can be read is there, or `anchor` is missing.
    """

    def __init__(self, path: Path, anchor: str, whole: bool = False):
        self.shown = printable(str(path))
        stem = path.with_suffix("") if path.suffix == ".gz" else path
        self.name = printable(stem.stem if path.is_file() else path.resolve().name)
        self.whole: str | None = None
        self._open: dict[str, Callable[[], Any]]
        if path.is_dir():
            self._open = {f.name: partial(f.open, "rb") for f in path.iterdir() if f.is_file()}
        elif path.is_file() and zipfile.is_zipfile(path):
            self._open = self._members(path, anchor)
        elif whole and path.is_file() and path.suffix.lower() != ".zip" and not _is_half_zip(path):
            anchor = self.whole = path.name.removesuffix(".gz")
            self._open = {path.name: partial(path.open, "rb")}
        else:
            allowed = f"a folder or zip archive with {anchor}{' or one text file' * whole}"
            raise UserError(f"{self.shown} is not {allowed}")
        if self.find([anchor]) is None:
            raise UserError(f"{self.shown} has no {anchor}")

    def find(self, names: Sequence[str]) -> str | None:
        """Returns the first of `names` that is there, packed or not, or None.

        Raises:
          UserError: it is there both ways.
        """
        for name in names:
            found = {name, f"{name}.gz"} & self._open.keys()
            if len(found) == 2:
                raise UserError(f"{self.shown} has {name} and {name}.gz: it must have one of them")
            if found:
                return name
        return None

    def splits(self, suffix: str) -> dict[str, str]:
        """Returns the file of each split that is there, `train.txt` of train.

        Raises:
          UserError: that of test is missing.
        """
        files = {key: f"{key}{suffix}" for key in ("train", "valid", "test")}
        found = {key: file for key, file in files.items() if self.find([file])}
        if "test" not in found:
            raise UserError(f"{self.shown} has no test{suffix}: only valid{suffix} may be missing")
        return found

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yields the content of a file that `find` has found, a block at a time.

        Raises:
          UserError: the file is damaged or cannot be read.
        """
        file = name if name in self._open else f"{name}.gz"
        try:
            with self._open[file]() as stream:
                content = gzip.GzipFile(fileobj=stream) if file.endswith(".gz") else stream
                while block := content.read(_BLOCK_BYTES):
                    yield block
        # A damaged archive makes zipfile raise almost anything, struct.error for one.
        except Exception as error:
            message = printable(str(error))
            raise UserError(f"{self.describe(file)} cannot be unpacked: {message}") from None

    def lines(self, name: str) -> Iterator[tuple[int, list[str]]]:
        """Yields some lines at a time, with the number of the first, from 1; see `line_blocks`."""
        first = 1
        for lines in line_blocks(self.blocks(name), self.describe(name)):
            yield first, lines
            first += len(lines)

    def describe(self, name: str) -> str:
        """Returns how messages call a file."""
        return self.shown if self.whole else f"{self.shown}/{printable(name)}"

    def _members(self, path: Path, anchor: str) -> dict[str, Callable[[], Any]]:
        """Returns the members of an archive in the folder of `anchor`, by their bare names."""
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception as error:  # as in `blocks`
            message = printable(str(error))
            raise UserError(f"{self.shown} is not a readable zip archive: {message}") from None
        # Some programs on Windows write backslashes.
        inner = {name: PurePosixPath(name.replace("\\", "/")) for name in names}
        folders = {p.parent for p in inner.values() if p.name in (anchor, f"{anchor}.gz")}
        if len(folders) > 1:
            raise UserError(
                f"{self.shown} holds {anchor} in {len(folders)} folders "
                f"({printable(', '.join(sorted(map(str, folders))))}): it must hold one corpus"
            )
        chosen = {p.name: name for name, p in inner.items() if p.parent in folders}
        return {key: partial(_open_member, path, name) for key, name in chosen.items()}


def _open_member(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        return archive.open(name)  # keeps the file open


def _is_half_zip(path: Path) -> bool:
    """Returns whether a file begins as a zip archive; the directory at its end may be missing."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def decode_lines(content: bytes, where: str) -> list[str]:
    """Splits a whole file into lines; see `line_blocks`."""
    return [line for lines in line_blocks([content], where) for line in lines]


def line_blocks(blocks: Iterable[bytes], where: str) -> Iterator[list[str]]:
    """Splits a UTF-8 file that comes in blocks into lines without their ends.

    A byte order mark is skipped. LF and CRLF end a line; other separators of Unicode (U+2028, form
    feed ...) stay inside, so that a line means what it means to every other tool.

    Args:
      blocks: the content, cut anywhere.
      where: how to name the file in messages.

    Yields:
      Whole lines; a newline at the very end starts no further line. Memory is that of a block, or
      of the longest line.

    Raises:
      UserError: no content, bytes that are not UTF-8, or a NUL byte, with its line; or lines that
        end by CR alone, as on the first Macintoshes.
    """
    feeds, lone, started = 0, 0, False
    for whole in _whole_lines(blocks):
        content = whole if started else whole.removeprefix(codecs.BOM_UTF8)
        if not content:
            continue
        started = True
        nul = content.find(b"\0")
        if nul >= 0:
            line = feeds + content.count(b"\n", 0, nul) + 1
            raise UserError(f"{where}, line {line}: NUL byte; it must be UTF-8 text")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = feeds + content.count(b"\n", 0, error.start) + 1
            byte = content[error.start]
            raise UserError(f"{where}, line {line}: byte 0x{byte:02x} is not UTF-8") from None
        lines = text.split("\n")
        feeds += len(lines) - 1
        if not lines[-1]:
            lines.pop()
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
            lone += sum(line.count("\r") for line in lines)
        yield lines
    if not started:
        raise UserError(f"{where} is empty")
    if lone > feeds:
        raise UserError(
            f"{where}: lines end by CR alone ({lone:,} CR, {feeds:,} LF or CRLF); only LF and CRLF "
            "end a line, CR alone is white space: convert the file"
        )


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the same content cut after line feeds only."""
    unfinished: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*unfinished, block[:end]])
            unfinished = []
        if end < len(block):
            unfinished.append(block[end:])
    if unfinished:
        yield b"".join(unfinished)
