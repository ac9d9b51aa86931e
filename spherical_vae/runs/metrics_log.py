"""Metrics of a run as JSON lines, mirrored to TensorBoard.

Each line is `{"step": int, "split": str, ...}` with finite numbers or null, since JSON has no NaN
and no infinity. Times and rates have keys that begin with `seconds` or end with `_per_second`; only
they may differ between two runs of one configuration.
"""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import cannot_write


class MetricsLog(contextlib.AbstractContextManager["MetricsLog"]):
    """An append-only file of metrics, one line a record.

    A written line survives the end of the process; a power failure may cost the last lines. The
    records of a step are written before its checkpoint: on resuming, the lines up to the restored
    step are kept and the later ones removed, so that nothing is lost or written twice.

    Args:
      path: the JSON-lines file; made, with its folder, at the first record. None for a log that
        keeps nothing.
      tensorboard_directory: where scalars are mirrored, or None for no TensorBoard files.
    """

    def __init__(self, path: Path | None, tensorboard_directory: Path | None = None):
        self._path = path
        self._tensorboard_directory = tensorboard_directory
        self._purge_step: int | None = None
        self._tensorboard: Any = None

    def write(self, step: int, split: str, **values: Any) -> None:
        """Appends one record.

        Args:
          step: number of training steps done.
          split: train, valid, test, or another name for what the figures are of.
          **values: names (units included) to numbers, texts, None, or lists and dicts of them.

        Raises:
          UserError: the file cannot be written, because the disk is full for instance.
        """
        if self._path is None:
            return
        plain = {name: _plain(value) for name, value in values.items()}
        record = {"step": int(step), "split": split, **plain}
        line = json.dumps(record, allow_nan=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise UserError(cannot_write(self._path, error)) from error
        if self._tensorboard_directory is None:
            return
        if self._tensorboard is None:
            # Importing it takes longer than most commands run.
            from tensorboardX import SummaryWriter

            # Absolute: in a relative path it reads what is before a colon as a scheme.
            folder = str(self._tensorboard_directory.absolute())
            self._tensorboard = SummaryWriter(folder, purge_step=self._purge_step)
        for name, value in plain.items():
            if isinstance(value, int | float):
                self._tensorboard.add_scalar(f"{split}/{name}", float(value), step)

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of the file, oldest first, without an incomplete last line.

        Raises:
          UserError: a line in the middle is not a record.
        """
        return [record for record, _ in self._read()]

    def truncate_after(self, step: int) -> None:
        """Removes all records past `step`, and an incomplete last line, by one atomic replacement.

        Raises:
          UserError: a line in the middle is not a record.
        """
        self._purge_step = step + 1
        if self._path is not None and self._path.exists():
            remaining = [line for record, line in self._read() if record["step"] <= step]
            write_atomically(self._path, "".join(f"{line}\n" for line in remaining))

    def close(self) -> None:
        """Closes the file of TensorBoard; a later record opens another."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self) -> list[tuple[dict[str, Any], str]]:
        if self._path is None or not self._path.exists():
            return []
        records = []
        # After the last newline there is nothing, or a line cut by a crash.
        for number, raw in enumerate(self._path.read_bytes().split(b"\n")[:-1], start=1):
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


def _plain(value: Any) -> Any:
    """Returns `value` as JSON has it: array scalars as numbers, non-finite numbers as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
