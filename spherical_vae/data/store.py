"""A prepared corpus in a folder: arrays to be mapped, the vocabulary, and a manifest written last.

`cache.py` decides where such folders lie, and when one is made. Arrays are one-dimensional `.npy`
files, never pickles.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np

from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.system.atomic_file import sync_directory, write_atomically

# Raised whenever the layout of the folder changes, or what is made of the same files and settings:
# nothing that was prepared under another one is opened.
FORMAT = 2
MANIFEST = "manifest.json"
_VOCABULARY = "vocabulary.json"
_TRAIN_COUNTS = "train_counts.npy"
_TYPES = {"ids": np.int32, "counts": np.int32, "offsets": np.int64, "labels": np.int32}


class DamagedStoreError(Exception):
    """A folder is not a whole prepared corpus; the message says what is wrong, in one line."""


def array_path(folder: Path, split: str, part: str) -> Path:
    """Returns where an array of a split lies; `part` is ids, counts, offsets or labels."""
    return folder / f"{split}.{part}.npy"


class ArrayWriter(AbstractContextManager["ArrayWriter"]):
    """A context that appends to an array in a file, or in memory if there is no file."""

    def __init__(self, path: Path | None, dtype: Any):
        self._dtype = np.dtype(dtype)
        self._parts: list[np.ndarray] = []
        self._size = 0
        self._path = path
        self._file: IO[bytes] | None = None
        if path is not None:
            self._file = path.open("wb")
            self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Adds values at the end."""
        values = np.ascontiguousarray(values, self._dtype)
        self._size += len(values)
        if self._file is None:
            self._parts.append(values)
        else:
            self._file.write(values.data)

    def finish(self) -> np.ndarray:
        """Returns the whole array: mapped from the file, which is on the disk, or in memory."""
        if self._file is None:
            return np.concatenate([np.empty(0, self._dtype), *self._parts])
        begin = self._file.tell() - self._size * self._dtype.itemsize
        self._file.seek(0)
        self._write_header()
        # NumPy pads the header so that an array may grow.
        assert self._file.tell() == begin
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        assert self._path is not None
        return map_array(self._path)

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def _write_header(self) -> None:
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._size,)}
        np.lib.format.write_array_header_1_0(self._file, description)  # type: ignore[arg-type]


def map_array(path: Path) -> np.ndarray:
    """Opens an array without reading it; the result is read-only and not a `memmap`, which is slow.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is not such a file, or shorter than its header says.
    """
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def write_corpus(corpus: Corpus, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes a corpus into a folder; what a crash leaves there is never taken for a corpus.

    Args:
      corpus: arrays that are mapped from their place in the folder already stay as they are.
      folder: exists, and holds nothing else.
      facts: JSON values that say how it came about; `read_manifest` gives them back.

    Raises:
      OSError: the folder cannot be written.
    """
    names = []
    for key, split in corpus.splits.items():
        for part in _TYPES:
            array = getattr(split, part)
            if array is not None:
                path = array_path(folder, key, part)
                if not path.exists():
                    _write_array(path, array)
                names.append(path.name)
    _write_array(folder / _TRAIN_COUNTS, corpus.vocabulary.train_counts.astype(np.int64))
    words = json.dumps(list(corpus.vocabulary.words), ensure_ascii=True, indent=0)
    write_atomically(folder / _VOCABULARY, words + "\n")
    content = {
        "format": FORMAT,
        "name": corpus.name,
        "kind": corpus.kind,
        "label_classes": corpus.label_classes,
        "fingerprint": corpus.fingerprint(),
        "splits": {key: {"tokens": split.tokens} for key, split in corpus.splits.items()},
        "report": list(corpus.report),
        "facts": dict(facts),
        "files": {
            name: {"size": (folder / name).stat().st_size, "sha256": _digest(folder / name)}
            for name in sorted([*names, _TRAIN_COUNTS, _VOCABULARY])
        },
    }
    write_atomically(
        folder / MANIFEST,
        json.dumps({"sha256": _content_digest(content), "content": content}, indent=1) + "\n",
    )
    sync_directory(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the content of a folder's manifest, after checking its own digest.

    Raises:
      DamagedStoreError: it is missing, or not as it was written.
    """
    try:
        whole = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        content = whole["content"]
        if whole["sha256"] != _content_digest(content):
            raise DamagedStoreError(f"{MANIFEST} is not as it was written")
        if content["format"] != FORMAT:
            raise DamagedStoreError(f"{MANIFEST} has format {content['format']!r}, not {FORMAT}")
    except OSError as error:
        raise DamagedStoreError(f"{MANIFEST}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"{MANIFEST}: {type(error).__name__}: {error}") from None
    return content


def open_corpus(folder: Path) -> Corpus:
    """Opens a prepared corpus in milliseconds, its arrays mapped and not read.

    Checked are the manifest against its digest, the size and the header of every array, and the
    content of the vocabulary; `verify` checks the content of all.

    Args:
      folder: written by `write_corpus`.

    Returns:
      What was written.

    Raises:
      DamagedStoreError: the folder is not as it was written.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    splits = {}
    for key, facts in manifest["splits"].items():
        arrays: dict[str, Any] = dict.fromkeys(_TYPES)
        for part, dtype in _TYPES.items():
            path = array_path(folder, key, part)
            if path.name in files:
                arrays[part] = _open_array(path, files[path.name]["size"], dtype)
        splits[key] = split = Split(**arrays)
        # Stored, as the sum of a bag's counts would read every one of them.
        vars(split)["tokens"] = facts["tokens"]
    if _digest(folder / _VOCABULARY) != files[_VOCABULARY]["sha256"]:
        raise DamagedStoreError(f"{_VOCABULARY} is not as it was written")
    words = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
    counts = _open_array(folder / _TRAIN_COUNTS, files[_TRAIN_COUNTS]["size"], np.int64)
    corpus = Corpus(
        manifest["name"],
        manifest["kind"],
        Vocabulary(tuple(words), counts),
        splits,
        manifest["label_classes"],
        tuple(manifest["report"]),
    )
    # Stored as well: a resumed run compares it before its first step.
    vars(corpus)["checksum"] = manifest["fingerprint"]
    return corpus


def verify(folder: Path) -> dict[str, Any]:
    """Reads every byte of a prepared corpus and compares it with the manifest.

    Returns:
      The manifest.

    Raises:
      DamagedStoreError: a file is missing, too many or not as it was written.
    """
    manifest = read_manifest(folder)
    for name, facts in manifest["files"].items():
        if _digest(folder / name) != facts["sha256"]:
            raise DamagedStoreError(f"{name} is not as it was written")
    strangers = {path.name for path in folder.iterdir()} - set(manifest["files"]) - {MANIFEST}
    if strangers:
        raise DamagedStoreError(f"{min(strangers)} does not belong there")
    return manifest


def _write_array(path: Path, array: np.ndarray) -> None:
    dtype = np.int64 if array.dtype == np.int64 else np.int32
    with ArrayWriter(path, dtype) as writer:
        writer.append(array)
        writer.finish()


def _open_array(path: Path, size: int, dtype: Any) -> np.ndarray:
    try:
        found = path.stat().st_size
        if found != size:
            raise DamagedStoreError(f"{path.name} has {found:,} bytes, not {size:,}")
        array = map_array(path)
    except OSError as error:
        raise DamagedStoreError(f"{path.name}: {error.strerror}") from None
    except (ValueError, TypeError, SyntaxError) as error:
        raise DamagedStoreError(f"{path.name}: {' '.join(str(error).split())}") from None
    if array.dtype != dtype or array.ndim != 1:
        raise DamagedStoreError(f"{path.name} holds {array.dtype} of shape {array.shape}")
    return array


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedStoreError(f"{path.name}: {error.strerror}") from None


def _content_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
