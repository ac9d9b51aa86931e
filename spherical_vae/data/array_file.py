"""One-dimensional arrays as `.npy` files: written by appending, read by mapping; never a pickle."""

import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"


class ArrayWriter:
    """A context that appends to an array in a file, or in memory where there is no file.

    The array in memory never holds more than what one `append` is given, if there is a file.
    """

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
        return map_array(self._path)[0]

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _write_header(self) -> None:
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._size,)}
        np.lib.format.write_array_header_1_0(self._file, description)  # type: ignore[arg-type]


def map_array(path: Path) -> tuple[np.ndarray, mmap.mmap | None]:
    """Opens an array without reading it.

    Args:
      path: written by `ArrayWriter`.

    Returns:
      The array, read-only, and the mapping that it lives in; None for one without elements.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is no such file, or longer or shorter than it says.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("no array file")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        begin, size = file.tell(), os.fstat(file.fileno()).st_size
        if len(shape) != 1 or fortran_order or dtype.kind not in "iu":
            raise ValueError(f"an array of shape {shape} and type {dtype}")
        if begin + shape[0] * dtype.itemsize != size:
            raise ValueError(f"{size} bytes for {shape[0]} elements of {dtype}")
        if not shape[0]:
            return np.empty(0, dtype), None
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, dtype, offset=begin), mapping
