"""A table or figure: rows of runs, or computed numbers, and how they are shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paper import smoke
from paper.notes import read_notes
from paper.runner import Runner
from paper.specs import SAMPLES, SCALES, Filled, Row
from paper.store import Provenance, Record, read_record, write_record
from paper.tables import Table
from spherical_vae.system.provenance import circumstances
from spherical_vae.system.standard_error import tell

NOTES = read_notes()


@dataclass(frozen=True)
class Trained:
    """A table or figure of runs in the store.

    Attributes:
      name: of the command; title and notes are those of `notes.md`.
      grid: all rows at a scale.
      tables: of the filled rows at a scale, before those of trials and runs, which all have.
      draw: its figure.
    """

    name: str
    grid: Callable[[str], Sequence[Row]]
    tables: Callable[[Sequence[Filled], str], Sequence[Table]]
    draw: Callable[[Sequence[Filled]], Any] | None = None

    def rows(self, scale: str) -> list[Row]:
        """Returns the rows of a scale; at `smoke` some of them, with few trials and samples."""
        rows, kept = list(self.grid(scale)), smoke.ROWS.get(self.name)
        if scale != "smoke":
            return rows
        return [
            replace(
                row,
                overrides={key: value for key, value in row.overrides.items() if key != SAMPLES},
                alternatives=row.alternatives[: smoke.TRIALS],
                tight_samples=min(row.tight_samples, smoke.TIGHT_SAMPLES),
            )
            for row in rows
            if kept is None or row.name in kept or row.group in kept
        ]


@dataclass(frozen=True)
class Computed:
    """A table or figure of numbers that no run is needed for, kept in `results/data/NAME.json`.

    Attributes:
      name, tables, draw: as of `Trained`, but of the values.
      compute: the values, a `SimpleNamespace` of what JSON can hold.
      lacking: names of what the values have no numbers of, as its files are not here.
    """

    name: str
    compute: Callable[[Runner], SimpleNamespace]
    tables: Callable[[Any, str], Sequence[Table]]
    draw: Callable[[Any], Any] | None = None
    lacking: Callable[[Any], set[str]] = lambda values: set()

    def write(self, runner: Runner, folder: Path) -> Path:
        """Computes the values, and returns the file that they are written to.

        What is there stays, and it is told, if numbers would be lost: it is of a larger scale, or
        has what cannot be had here now.

        Raises:
          UserError: what is there is no such record.
        """
        scale, path, before = runner.place.scale, self._path(folder), self.read(folder)
        kept = f"{path}: stays as it is, for it has numbers of"
        if before is not None and SCALES.index(before.scale) > SCALES.index(scale):
            tell(f"{kept} scale {before.scale}")
            return path
        values = self.compute(runner)
        if before is not None and (lost := self.lacking(values) - self.lacking(before.values)):
            tell(f"{kept} {', '.join(sorted(lost))}")
            return path
        command = f"python -m paper {self.name} --scale={scale} --manual_dir=FOLDER"
        return write_record(path, Record(scale, Provenance(command, **circumstances()), values))

    def read(self, folder: Path) -> Record | None:
        """Returns what was computed; None if there is no file.

        Raises:
          UserError: the file is not such a record.
        """
        path = self._path(folder)
        return read_record(path, Record, f"a record of {self.name}") if path.exists() else None

    def _path(self, folder: Path) -> Path:
        return folder / f"{self.name}.json"
