"""Metrics of a run as JSON lines, mirrored to TensorBoard.

Each line is `{"step": int, "split": str, ...}` with finite numbers or null: JSON knows no NaN and
no infinity, so a non-finite figure is written as null. Times and rates live under keys that begin
with `seconds` or end with `_per_second`; they alone may differ between two runs of one
configuration.
"""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError


def is_reproducible(key: str) -> bool:
    """Returns whether the values under `key` must be equal in two runs of one configuration."""
    return not (key.startswith("seconds") or key.endswith("_per_second"))


class MetricsLog:
    """An append-only file of metrics, one flushed line per record.

    What is flushed outlives the process, however it ends; a power failure may cost the last lines.
    Write the records of a step before the checkpoint of that step: on resuming, the lines up to the
    restored step are kept and the later ones are cut, so that nothing is lost or written twice.

    Args:
      path: the JSON-lines file; made, with its folder, at the first record. None for a log that
        keeps nothing.
      tensorboard_directory: where scalars are mirrored, or None for no TensorBoard files.
    """

    def __init__(self, path: Path | None, tensorboard_directory: Path | None = None):
        self._path = path
        self._tensorboard_directory = tensorboard_directory
        self._purge_step: int | None = None
        self._file: Any = None
        self._tensorboard: Any = None

    def write(self, step: int, split: str, **values: Any) -> None:
        """Appends one record and flushes it.

        Args:
          step: how many training steps had been taken.
          split: train, valid, test or what else the figures are of.
          **values: names (units included) to numbers, texts, None, or lists and dicts of them.
        """
        if self._path is None:
            return
        record = {"step": int(step), "split": split}
        record |= {name: _plain(value) for name, value in values.items()}
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        self._mirror(step, split, values)

    def records(self) -> list[dict[str, Any]]:
        """Returns what is in the file, oldest first; a torn last line is left out.

        Raises:
          UserError: a line in the middle is no record.
        """
        return [record for record, _ in self._read()]

    def truncate_after(self, step: int) -> None:
        """Cuts every record past `step`, and a torn last line, by one atomic replacement.

        Args:
          step: the restored step; -1 empties the file.

        Raises:
          UserError: a line in the middle is no record.
        """
        self._close_file()
        self._purge_step = step + 1
        if self._path is not None and self._path.exists():
            remaining = [line for record, line in self._read() if record["step"] <= step]
            write_atomically(self._path, "".join(f"{line}\n" for line in remaining))

    def close(self) -> None:
        """Closes both files; a later record opens them again."""
        self._close_file()
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> list[tuple[dict[str, Any], str]]:
        if self._path is None or not self._path.exists():
            return []
        lines = self._path.read_bytes().split(b"\n")
        # A whole file ends with a newline, so the last piece is empty or was torn by a crash.
        records = []
        for number, raw in enumerate(lines[:-1], start=1):
            try:
                line = raw.decode("utf-8")
                record = json.loads(line)
                int(record["step"])
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{self._path}: line {number} is no metrics record; remove that line, or use "
                    "another --workdir"
                ) from None
            records.append((record, line))
        return records

    def _mirror(self, step: int, split: str, values: dict[str, Any]) -> None:
        if self._tensorboard_directory is None:
            return
        if self._tensorboard is None:
            # Imported late: it takes longer to import than most commands need to run.
            from tensorboardX import SummaryWriter

            # Absolute: of a relative path it takes what is before a colon for a kind of store.
            self._tensorboard = SummaryWriter(
                str(self._tensorboard_directory.absolute()), purge_step=self._purge_step
            )
        for name, value in values.items():
            scalar = _plain(value)
            if isinstance(scalar, int | float):
                self._tensorboard.add_scalar(f"{split}/{name}", float(scalar), step)


def _plain(value: Any) -> Any:
    """Returns `value` as JSON has it: array scalars as numbers, non-finite numbers as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
