"""Metrics of a run as JSON lines, mirrored to TensorBoard.

Each line is `{"step": int, "split": str, ...}` with finite numbers or null, since JSON has no NaN
and no infinity. Times and rates have keys that begin with `seconds` or end with `_per_second`; only
they may differ between two runs of one configuration.
"""

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spherical_vae.system.atomic_file import cannot_write, write_run_file
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell


class MetricsLog(contextlib.AbstractContextManager["MetricsLog"]):
    """An append-only file of metrics, one line a record.

    A written line survives the end of the process; a power failure may cost the last lines. The
    records of a step are written before its checkpoint: on resuming, the lines up to the restored
    step are kept and the later ones removed, so that nothing is lost or written twice. TensorBoard
    files are a copy: if they cannot be written, a line on standard error says so, once.

    Args:
      path: the JSON-lines file; made, with its folder, at the first record. None for a log that
        keeps nothing.
      tensorboard_directory: where scalars are mirrored, or None for no TensorBoard files.
    """

    def __init__(self, path: Path | None, tensorboard_directory: Path | None = None):
        self._path = path
        self._tensorboard_directory = tensorboard_directory
        self._purge_step: int | None = None
        self._events: Any = None

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
        if self._tensorboard_directory is not None:
            scalars = {f"{split}/{k}": v for k, v in plain.items() if isinstance(v, int | float)}
            try:
                self._mirror(self._tensorboard_directory, step, scalars)
            except OSError as error:
                folder, self._tensorboard_directory = self._tensorboard_directory, None
                tell(f"{folder}: cannot be written ({error.strerror}); it stays as it is")

    def _mirror(self, folder: Path, step: int, scalars: Mapping[str, int | float]) -> None:
        """Writes scalars to the event file, which is opened first if there is none.

        Not by tensorboardX's `SummaryWriter`: the thread that it writes from ends with the first
        error of the disk, and all that wait for it wait for ever.
        """
        # Importing it takes longer than most commands run.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if self._events is None:
            folder.mkdir(parents=True, exist_ok=True)
            # Absolute: in a relative path it reads what is before a colon as a scheme. By itself it
            # would write over a file of the same second.
            suffix = f".{time.time_ns()}"
            self._events = EventsWriter(str(folder.absolute() / "events"), suffix)
            if self._purge_step is not None:
                # Voids what earlier files have of later steps.
                start = SessionLog(status=SessionLog.START)
                self._events.write_event(Event(step=self._purge_step, session_log=start))
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        summary = Summary(value=values)
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._events.flush()

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of the file, oldest first, without an incomplete last line.

        Raises:
          UserError: a line in the middle is not a record.
        """
        return [record for record, _ in self._read()]

    def truncate_after(self, step: int) -> None:
        """Removes all records past `step`, and an incomplete last line, by one atomic replacement.

        Raises:
          UserError: a line in the middle is not a record, or the file cannot be written.
        """
        self._purge_step = step + 1
        if self._path is None or not self._path.exists():
            return
        remaining = [line for record, line in self._read() if record["step"] <= step]
        text = "".join(f"{line}\n" for line in remaining)
        if len(text.encode()) < self._path.stat().st_size:
            write_run_file(self._path, text)

    def close(self) -> None:
        """Closes the file of TensorBoard; a later record opens another."""
        if self._events is not None:
            with contextlib.suppress(OSError):  # Each record has been written to it.
                self._events.close()
            self._events = None

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
