"""Raw reviews and articles to words: tokens, the stop list, and compressed files read safely."""

import csv
import io
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from spherical_vae.data.bags import Bags, BagsWriter, Block
from spherical_vae.data.sources import printable
from spherical_vae.system.errors import UserError

# What unpacks to more is refused before it fills the memory.
MAX_UNPACKED_BYTES = 2**28
MAX_FIELD_CHARACTERS = 2**24
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


def count_words(
    documents: Iterable[Sequence[str]], ids: dict[str, int], labels: Sequence[int] | None
) -> Bags:
    """Returns bags of words; `ids` grows by the words it does not know yet."""
    with BagsWriter(None, "") as writer:
        for i, document in enumerate(documents):
            row = np.array([ids.setdefault(word, len(ids)) for word in document], np.int32)
            distinct, occurrences = np.unique(row, return_counts=True)
            label = None if labels is None else np.array([labels[i]], np.int32)
            length = np.array([len(distinct)], np.int64)
            writer.append(Block(distinct, occurrences.astype(np.int32), length, label))
        return writer.finish()


def unpack_xz(path: Path) -> bytes:
    """Returns the content of an .xz file, or of a plain one.

    Raises:
      UserError: truncated, damaged, or larger than any file this package knows.
    """
    where = printable(path.name)
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            content = file.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{where} cannot be unpacked: {printable(str(error))}") from None
    if len(content) > MAX_UNPACKED_BYTES:
        raise UserError(f"{where} unpacks to over {MAX_UNPACKED_BYTES:,} bytes: refused")
    return content


def tar_members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yields base name and content of an archive's regular files, nothing being written to disk.

    Raises:
      UserError: damaged or truncated, a name twice, or too large.
    """
    where, seen = printable(path.name), set[str]()
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack_xz(path))) as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if not member.isfile() or not name.endswith(suffix):
                    continue
                if name in seen:
                    raise UserError(f"{where}: {printable(name)} is in the archive twice")
                seen.add(name)
                file = archive.extractfile(member)
                assert file is not None
                yield name, file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} is no readable archive: {printable(str(error))}") from None


def csv_rows(content: bytes, where: str, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yields the chosen columns of each record of a UTF-8 table with a header.

    Raises:
      UserError: no UTF-8, a NUL byte, a missing column, or a record with other fields.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}, byte {error.start}: not UTF-8") from None
    if "\0" in text:
        raise UserError(f"{where}: NUL byte; it must be UTF-8 text")
    before = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        for column in columns:
            if column not in header:
                raise UserError(f"{where} has no column {column}")
        places = [header.index(column) for column in columns]
        for i, row in enumerate(reader, start=1):
            if len(row) != len(header):
                raise UserError(f"{where}, record {i}: {len(row)} fields, expected {len(header)}")
            yield [row[place] for place in places]
    except csv.Error as error:
        raise UserError(f"{where}: {printable(str(error))}") from None
    finally:
        csv.field_size_limit(before)
