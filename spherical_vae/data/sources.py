"""Where a corpus's files come from: a folder or a zip archive, both read without unpacking."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from spherical_vae.system.errors import UserError

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
    """The files of one corpus, by their bare names; `NAME.gz` is read as `NAME`.

    Attributes:
      shown: the path, as messages give it.
      name: last part of the path without its suffix, `ptb` for `data/ptb.zip`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.shown = printable(str(path))
        stem = path.with_suffix("") if path.suffix == ".gz" else path
        self.name = printable(stem.stem if path.is_file() else path.resolve().name)

    def find(self, names: Sequence[str]) -> str | None:
        """Returns the first of `names` that is there, packed or not, or None.

        Raises:
          UserError: it is there both ways, or is no regular file.
        """
        for name in names:
            found = [file for file in (name, f"{name}.gz") if self._has(file)]
            if len(found) == 2:
                raise UserError(f"{self.shown} has {name} and {name}.gz: it must have one of them")
            if found:
                return name
        return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yields the content of a file that `find` has found, a block at a time."""
        if self._has(name):
            yield from self._packed_blocks(name)
        else:
            packed = f"{name}.gz"
            yield from _gunzipped(self._packed_blocks(packed), self.describe(packed))

    def read(self, name: str) -> bytes:
        """Returns the whole content of a file that `find` has found."""
        return b"".join(self.blocks(name))

    def describe(self, name: str) -> str:
        """Returns how messages call a file of this source."""
        return f"{self.shown}/{printable(name)}"

    def _has(self, file: str) -> bool:
        raise NotImplementedError

    def _packed_blocks(self, file: str) -> Iterator[bytes]:
        """Yields what lies in a file."""
        raise NotImplementedError


def _gunzipped(blocks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Yields what is packed; gzip files may be strung together."""
    packed = unpacked = 0
    unpacker, inside = zlib.decompressobj(wbits=31), False
    try:
        for block in blocks:
            packed += len(block)
            # Zeros may follow a member.
            while block := block if inside else block.lstrip(b"\0"):
                content = unpacker.decompress(block, _BLOCK_BYTES)
                unpacked += len(content)
                if unpacked > max(HARMLESS_BYTES, MAX_RATIO * packed):
                    raise UserError(
                        f"{where} unpacks from {packed:,} to over {unpacked:,} bytes, more than "
                        f"text does: unpack it yourself"
                    )
                if content:
                    yield content
                inside = not unpacker.eof
                block = unpacker.unconsumed_tail
                if unpacker.eof:
                    block = unpacker.unused_data
                    unpacker = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise UserError(f"{where} cannot be unpacked: {printable(str(error))}") from None
    if inside:
        raise UserError(f"{where} cannot be unpacked: it ends too early")


def _file_blocks(path: Path, where: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None


class _Folder(Source):
    def _has(self, file: str) -> bool:
        # Anything but a regular file (a pipe, say) could block the reader for ever.
        if (self.path / file).exists() and not (self.path / file).is_file():
            raise UserError(f"{self.describe(file)} is not a regular file")
        return (self.path / file).is_file()

    def _packed_blocks(self, file: str) -> Iterator[bytes]:
        return _file_blocks(self.path / file, self.describe(file))


class WholeText(Source):
    """One text file, which is all there is of a corpus: it has no splits."""

    def blocks(self, name: str = "") -> Iterator[bytes]:
        """Yields the content of the file."""
        blocks = _file_blocks(self.path, self.shown)
        return _gunzipped(blocks, self.shown) if self.path.suffix == ".gz" else blocks

    def describe(self, name: str = "") -> str:
        """Returns how messages call the file."""
        return self.shown


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
        anchors = (anchor, f"{anchor}.gz")
        folders = {_inner(m).parent for m in members if _inner(m).name in anchors}
        if len(folders) > 1:
            raise UserError(
                f"{self.shown} holds {anchor} in {len(folders)} folders "
                f"({printable(', '.join(sorted(map(str, folders))))}): it must hold one corpus"
            )
        for member in members:
            place = _inner(member)
            if place.parent in folders:
                if place.name in self._members:
                    raise UserError(f"{self.describe(place.name)} is in the archive twice")
                self._members[place.name] = member

    def _has(self, file: str) -> bool:
        return file in self._members

    def _packed_blocks(self, file: str) -> Iterator[bytes]:
        member = self._members[file]
        # What the archive declares need not be true, but no more than itself can be unpacked.
        packed = min(member.compress_size, self.path.stat().st_size)
        limit = min(MAX_UNPACKED_BYTES, max(HARMLESS_BYTES, MAX_RATIO * packed))
        if member.file_size > limit:
            raise UserError(
                f"{self.describe(file)} would unpack from {packed:,} to "
                f"{member.file_size:,} bytes, over the limit of {limit:,}: use a folder"
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    yield block
        # As above; a password is a RuntimeError, an unknown compression a NotImplementedError.
        except Exception as error:
            message = printable(str(error))
            raise UserError(f"{self.describe(file)} cannot be unpacked: {message}") from None


def _inner(member: zipfile.ZipInfo) -> PurePosixPath:
    """Returns the place of a member; some programs of Windows write its folders with `\\`."""
    return PurePosixPath(member.filename.replace("\\", "/"))


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    place = _inner(member)
    folder = member.filename.endswith(("/", "\\"))
    return folder or "__MACOSX" in place.parts or place.name.startswith("._")


def is_zip(path: Path) -> bool:
    """Returns whether a file is a zip archive, or shall be one and is damaged."""
    with path.open("rb") as file:
        begins = file.read(4) == b"PK\x03\x04"
    return begins or path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)


def open_source(path: str, anchor: str, whole: bool = False) -> Source:
    """Opens the folder or zip archive at `path`.

    Args:
      path: a folder, or a zip archive whose files may lie in one folder inside it.
      anchor: the file that must be there and that marks the folder inside an archive, `train.txt`.
      whole: whether `path` may also be one text file, packed by gzip or not.

    Returns:
      The source, a `WholeText` for one text file; archives are read in place, never unpacked to
      disk.

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
            if whole and not is_zip(place):
                return WholeText(place)
            if not zipfile.is_zipfile(place):
                raise UserError(f"{shown} is neither a folder nor a zip archive")
            source = _Archive(place, anchor)
        elif place.exists():
            raise UserError(f"{shown} is neither a folder nor a zip archive")
        else:
            places = f"a folder or zip archive that has {anchor}{', or one text file' * whole}"
            raise UserError(
                f"{shown} does not exist: set config.data.path to {places}; the "
                "docstring of the config file says where the corpus is to be had"
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
