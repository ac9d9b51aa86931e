"""Where a corpus's files come from: a folder or a zip archive, both read without unpacking."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from spherical_vae.errors import UserError

# What unpacks to more belongs in a folder, and so does what shrinks more than text ever does.
MAX_UNPACKED_BYTES = 2**31
MAX_RATIO = 200
HARMLESS_BYTES = 2**26
# Large enough to be quick, small enough to hold what is made of it.
_BLOCK_BYTES = 2**20


def printable(text: str, limit: int = 200) -> str:
    """Returns `text` on one line: unprintable characters escaped, the rest of a long one cut."""
    head = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit])
    return head + ("…" if len(text) > limit else "")


class Source:
    """The files of one corpus, by their bare names.

    Attributes:
      shown: the path, as messages give it.
      name: last part of the path without its suffix, `ptb` for `data/ptb.zip`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.shown = printable(str(path))
        self.name = printable(path.stem if path.is_file() else path.resolve().name)

    def find(self, names: Sequence[str]) -> str | None:
        """Returns the first of `names` that is there, or None."""
        raise NotImplementedError

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yields the content of a file that `find` has found, a block at a time."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """Returns the whole content of a file that `find` has found."""
        return b"".join(self.blocks(name))

    def describe(self, name: str) -> str:
        """Returns how messages call a file of this source."""
        return f"{self.shown}/{printable(name)}"


class _Folder(Source):
    def find(self, names: Sequence[str]) -> str | None:
        for name in names:
            # Anything but a regular file (a pipe, say) could block the reader for ever.
            if (self.path / name).exists():
                if not (self.path / name).is_file():
                    raise UserError(f"{self.describe(name)} is not a regular file")
                return name
        return None

    def blocks(self, name: str) -> Iterator[bytes]:
        try:
            with (self.path / name).open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except OSError as error:
            raise UserError(f"{self.describe(name)} cannot be read: {error.strerror}") from None


class _Archive(Source):
    def __init__(self, path: Path, anchor: str):
        super().__init__(path)
        try:
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if not _is_clutter(m)]
        # A corrupt archive makes zipfile raise almost anything, struct.error for one.
        except Exception as error:
            message = printable(str(error))
            raise UserError(f"{self.shown} is no readable zip archive: {message}") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        folders = {PurePosixPath(m.filename).parent for m in members if _base(m) == anchor}
        if len(folders) > 1:
            raise UserError(
                f"{self.shown} holds {anchor} in {len(folders)} folders "
                f"({printable(', '.join(sorted(map(str, folders))))}): it must hold one corpus"
            )
        for member in members:
            if PurePosixPath(member.filename).parent in folders:
                if _base(member) in self._members:
                    raise UserError(f"{self.describe(_base(member))} is in the archive twice")
                self._members[_base(member)] = member

    def find(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if name in self._members), None)

    def blocks(self, name: str) -> Iterator[bytes]:
        member = self._members[name]
        # What the archive declares need not be true, but no more than itself can be unpacked.
        packed = min(member.compress_size, self.path.stat().st_size)
        limit = min(MAX_UNPACKED_BYTES, max(HARMLESS_BYTES, MAX_RATIO * packed))
        if member.file_size > limit:
            raise UserError(
                f"{self.describe(name)} would unpack from {packed:,} to "
                f"{member.file_size:,} bytes, over the limit of {limit:,}: use a folder"
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        # As above; a password is a RuntimeError, an unknown compression a NotImplementedError.
        except Exception as error:
            message = printable(str(error))
            raise UserError(f"{self.describe(name)} cannot be unpacked: {message}") from None


def _base(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).name


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return member.is_dir() or "__MACOSX" in parts or _base(member).startswith("._")


def open_source(path: str, anchor: str) -> Source:
    """Opens the folder or zip archive at `path`.

    Args:
      path: a folder, or a zip archive whose files may lie in one folder inside it.
      anchor: the file that must be there and that marks the folder inside an archive, `train.txt`.

    Returns:
      The source; archives are read in place, never unpacked to disk.

    Raises:
      UserError: nothing is there, it is neither folder nor zip archive, or `anchor` is missing.
    """
    if not path:
        raise UserError(
            f"--config.data.path is empty: it must name a folder or zip archive with {anchor}"
        )
    shown = printable(path)
    try:
        place = Path(path).expanduser()
        if place.is_dir():
            source: Source = _Folder(place)
        elif place.is_file():
            if not zipfile.is_zipfile(place):
                raise UserError(f"{shown} is neither a folder nor a zip archive")
            source = _Archive(place, anchor)
        elif place.exists():
            raise UserError(f"{shown} is neither a folder nor a zip archive")
        else:
            raise UserError(
                f"{shown} does not exist: set config.data.path to a folder or zip archive that has "
                f"{anchor}; the docstring of the config file says where the corpus is to be had"
            )
        if source.find([anchor]) is None:
            raise UserError(f"{shown} has no {anchor}; config.data.path must name a place that has")
    except OSError as error:
        raise UserError(f"{shown} cannot be opened: {error.strerror}") from None
    # An embedded null byte; a home folder that is not known.
    except (ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shown} is no usable path: {printable(str(error))}") from None
    return source
