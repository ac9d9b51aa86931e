"""A corpus: a vocabulary and splits as flat arrays, in memory or mapped from a prepared folder.

`loading.py` decides where prepared folders lie, and when one is made. Arrays are one-dimensional
`.npy` files, never pickles; the manifest is written last.
"""

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Int32, Int64

from spherical_vae.system.atomic_file import sync_directory, write_atomically
from spherical_vae.system.errors import UserError

Kind = Literal["sequences", "bags"]

# Raised when the layout of the folder changes, or what the same files and settings give: nothing
# that was prepared under another format is opened.
FORMAT = 2
MANIFEST = "manifest.json"
_VOCABULARY = "vocabulary.json"
_TRAIN_COUNTS = "train_counts.npy"
_TYPES = {"ids": np.int32, "counts": np.int32, "offsets": np.int64, "labels": np.int32}


@dataclass(frozen=True)
class Vocabulary:
    """Words by id, most frequent first.

    For sequences, id 0 is the unknown word and id 1 the end mark; bags of words have neither.

    Attributes:
      words: the word of each id.
      train_counts: `[V]` occurrences in the training split, the end mark counted once a sentence.
    """

    words: tuple[str, ...]
    train_counts: Int[np.ndarray, " V"]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Split:
    """One split, all examples end to end; arrays may be memory-mapped.

    Attributes:
      ids: `[N]` int32 word ids: a sentence's words and its end mark; a document's distinct words.
      counts: `[N]` int32 occurrences of each id for bags of words; None for sequences.
      offsets: `[examples + 1]` int64; example i is `ids[offsets[i]:offsets[i + 1]]`.
      labels: `[examples]` int32 from 0, or None.
    """

    ids: Int32[np.ndarray, " entries"]
    counts: Int32[np.ndarray, " entries"] | None
    offsets: Int64[np.ndarray, " edges"]
    labels: Int32[np.ndarray, " examples"] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " examples"]:
        """`[examples]` slots of each example: tokens with the end mark, or distinct words."""
        return np.diff(self.offsets)

    @cached_property
    def tokens(self) -> int:
        """Scored tokens: words and end marks of sequences, the sum of counts of bags."""
        return int(self.offsets[-1] if self.counts is None else self.counts.sum())


@dataclass(frozen=True)
class Corpus:
    """A vocabulary and the splits `train`, `valid` and `test`.

    Attributes:
      name: as it must appear in every output.
      kind: whether the order of words is known.
      vocabulary: from train only.
      splits: by name.
      label_classes: number of labels, 0 if there are none.
      report: lines to print: what was read, dropped, cut and carved, and the statistics.
    """

    name: str
    kind: Kind
    vocabulary: Vocabulary
    splits: Mapping[str, Split]
    label_classes: int
    report: tuple[str, ...]

    @property
    def mean_words(self) -> float:
        """Words of a sentence of train, without the end mark."""
        train = self.splits["train"]
        return train.tokens / len(train) - 1

    @cached_property
    def fingerprint(self) -> int:
        """A checksum of the vocabulary and of every split; that of a prepared corpus is stored.

        Runs compare it: resuming or evaluating on other text would mean nothing.
        """
        total = zlib.crc32("\n".join(self.vocabulary.words).encode())
        for name in sorted(self.splits):
            for part in _TYPES:
                array = getattr(self.splits[name], part)
                if array is not None:
                    total = zlib.crc32(np.ascontiguousarray(array).data, total)
        return total


class DamagedStoreError(Exception):
    """A folder is not a whole prepared corpus; the message says what is wrong, in one line."""


class UnreadableStoreError(UserError):
    """A prepared corpus cannot be read now, which says nothing of its content."""


def write_corpus(corpus: Corpus, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes a corpus into an empty folder; what a crash leaves there is never opened as one.

    `facts` are JSON values that say how it came about; `read_manifest` returns them.

    Raises:
      OSError: the folder cannot be written.
    """
    arrays = {_TRAIN_COUNTS: corpus.vocabulary.train_counts.astype(np.int64)}
    for key, split in corpus.splits.items():
        arrays |= {f"{key}.{part}.npy": getattr(split, part) for part in _TYPES}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    for name, array in arrays.items():
        with (folder / name).open("wb") as file:
            try:
                np.save(file, array, allow_pickle=False)
            except OSError as error:
                # NumPy tells how much it wrote, and not why it wrote no more.
                code = error.errno or errno.ENOSPC
                raise OSError(code, os.strerror(code), str(folder / name)) from error
            file.flush()
            os.fsync(file.fileno())
    words = json.dumps(list(corpus.vocabulary.words), ensure_ascii=True, indent=0)
    write_atomically(folder / _VOCABULARY, words + "\n")
    content = {
        "format": FORMAT,
        "name": corpus.name,
        "kind": corpus.kind,
        "label_classes": corpus.label_classes,
        "fingerprint": corpus.fingerprint,
        "splits": {key: {"tokens": split.tokens} for key, split in corpus.splits.items()},
        "report": list(corpus.report),
        "facts": dict(facts),
        "files": {
            name: {"size": (folder / name).stat().st_size, "sha256": digest_of_file(folder / name)}
            for name in sorted([*arrays, _VOCABULARY])
        },
    }
    manifest = {"sha256": digest_of_json(content), "content": content}
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    sync_directory(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the content of a folder's manifest, after checking its own digest.

    Raises:
      DamagedStoreError: it is missing, or not as it was written.
      UnreadableStoreError: it cannot be read.
    """
    with _reading(folder / MANIFEST):
        whole = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        content: dict[str, Any] = whole["content"]
        if whole["sha256"] != digest_of_json(content):
            raise DamagedStoreError(f"{MANIFEST} is not as it was written")
        if content["format"] != FORMAT:
            raise DamagedStoreError(f"{MANIFEST} has format {content['format']!r}, not {FORMAT}")
    return content


def open_corpus(folder: Path) -> Corpus:
    """Opens a prepared corpus in milliseconds, its arrays mapped and not read.

    The manifest is checked against its digest, every array by its size and header, and the
    vocabulary by its content; `verify` checks the content of all.

    Raises:
      DamagedStoreError: the folder is not as `write_corpus` wrote it.
      UnreadableStoreError: a file cannot be read.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    splits = {}
    for key, facts in manifest["splits"].items():
        arrays: Any = {
            part: _open_array(folder / f"{key}.{part}.npy", files, dtype)
            for part, dtype in _TYPES.items()
        }
        splits[key] = Split(**arrays)
        # Stored, as the sum of a bag's counts would read every one of them.
        vars(splits[key])["tokens"] = facts["tokens"]
    _check_content(folder / _VOCABULARY, files)
    words = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
    counts = _open_array(folder / _TRAIN_COUNTS, files, np.int64)
    corpus = Corpus(
        manifest["name"],
        manifest["kind"],
        Vocabulary(tuple(words), counts),
        splits,
        manifest["label_classes"],
        tuple(manifest["report"]),
    )
    # Stored as well: a resumed run compares it before its first step.
    vars(corpus)["fingerprint"] = manifest["fingerprint"]
    return corpus


def verify(folder: Path) -> dict[str, Any]:
    """Reads every byte of a prepared corpus, compares it with the manifest, and returns that.

    Raises:
      DamagedStoreError: a file is missing, too many or not as it was written.
      UnreadableStoreError: a file cannot be read.
    """
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        _check_content(folder / name, manifest["files"])
    strangers = {path.name for path in folder.iterdir()} - set(manifest["files"]) - {MANIFEST}
    if strangers:
        raise DamagedStoreError(f"{min(strangers)} does not belong there")
    return manifest


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises what goes wrong while a file is read as an error that names it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedStoreError(f"{path.name}: {error.strerror}") from None
    except OSError as error:
        # Too many open files, no permission, a disk that does not answer: it may be good.
        raise UnreadableStoreError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise DamagedStoreError(f"{path.name}: {type(error).__name__}: {reason}") from None


def _open_array(path: Path, files: Mapping[str, Any], dtype: type) -> Any:
    """Returns a mapped array, or None if the manifest does not list it."""
    if path.name not in files:
        return None
    with _reading(path):
        found, size = path.stat().st_size, files[path.name]["size"]
        if found != size:
            raise DamagedStoreError(f"{path.name} has {found:,} bytes, not {size:,}")
        # A plain read-only array: a `memmap` is slow.
        array = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    if array.dtype != dtype or array.ndim != 1:
        raise DamagedStoreError(f"{path.name} holds {array.dtype} of shape {array.shape}")
    return array


def _check_content(path: Path, files: Mapping[str, Any]) -> None:
    with _reading(path):
        if digest_of_file(path) != files[path.name]["sha256"]:
            raise DamagedStoreError(f"{path.name} is not as it was written")


def digest_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, which does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
