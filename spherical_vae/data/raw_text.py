"""Raw reviews and articles to words: tokens, the stop list, tables and archives of texts."""

import csv
import io
import lzma
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError

_MAX_FIELD_CHARACTERS = 2**24
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# Clitics are words of their own, n't among them; a run of dots is one sign, any other sign is one.
_TOKEN = re.compile(
    r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\w+(?:-\w+)*|\.{2,}|[^\w\s]", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]{2,}")
# Words that say nothing about the subject of a document.
_STOP_LIST = """
a about above after again against all also am an and any are aren as at be because been before
being below between both but by can cannot could couldn did didn do does doesn doing don down
during each few for from further had hadn has hasn have haven having he her here hers herself
him himself his how if in into is isn it its itself just ll me might more most must mustn my
myself no nor not now of off on once only or other our ours ourselves out over own re same shan
she should shouldn so some such than that the their theirs them themselves then there these they
this those through to too under until up ve very was wasn we were weren what when where which
while who whom why will with won would wouldn you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_LIST.split())


def tokenize_review(text: str) -> list[str]:
    """Splits a raw review into lower-case words and signs; `<br />` is white space."""
    return _TOKEN.findall(_BREAK.sub(" ", text).replace("\u2019", "'").lower())


def content_words(text: str) -> list[str]:
    """Returns the lower-case words of two letters or more that are not in the stop list."""
    words = _WORD.findall(_BREAK.sub(" ", text).lower())
    return [word for word in words if word not in STOP_WORDS]


def unpack_xz(path: Path) -> bytes:
    """Returns the content of an .xz file, or of a plain one.

    Raises:
      UserError: it is truncated or damaged.
    """
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        where, reason = printable(path.name), printable(str(error))
        raise UserError(f"{where} cannot be unpacked: {reason}") from None


def tar_members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yields base name and content of an archive's regular files, nothing being written to disk.

    Raises:
      UserError: it is truncated or damaged.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack_xz(path))) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith(suffix):
                    yield member.name.rsplit("/", 1)[-1], file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        where, reason = printable(path.name), printable(str(error))
        raise UserError(f"{where} is not a readable archive: {reason}") from None


def csv_rows(content: bytes, where: str, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yields the chosen columns of each record of a UTF-8 table with a header.

    Raises:
      UserError: bytes that are not UTF-8, a missing column, or a record with other fields.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}, byte {error.start}: not UTF-8") from None
    before = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(rows, [])
        if missing := [column for column in columns if column not in header]:
            raise UserError(f"{where} has no column {missing[0]}")
        places = [header.index(column) for column in columns]
        for i, row in enumerate(rows, start=1):
            if len(row) != len(header):
                raise UserError(f"{where}, record {i}: {len(row)} fields, expected {len(header)}")
            yield [row[place] for place in places]
    except csv.Error as error:
        raise UserError(f"{where}: {printable(str(error))}") from None
    finally:
        csv.field_size_limit(before)
