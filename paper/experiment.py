"""A table or figure: rows of runs, or computed numbers, and how they are shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paper.runner import Runner
from paper.specs import Filled, Row
from paper.store import Provenance, decode, to_json
from paper.tables import Table
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.provenance import circumstances


@dataclass(frozen=True)
class Trained:
    """A table or figure of runs in the store.

    Attributes:
      name: of the command.
      title: what it shows.
      rows: at a scale.
      tables: of the filled rows at a scale; printed values are added here.
      draw: its figure.
      notes: on protocol and on differences from the paper.
    """

    name: str
    title: str
    rows: Callable[[str], Sequence[Row]]
    tables: Callable[[Sequence[Filled], str], Sequence[Table]]
    draw: Callable[[Sequence[Filled], str], Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """Where computed numbers come from, and their values, of the experiment's `kind`."""

    scale: str
    provenance: Provenance
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Computed:
    """A table or figure of numbers that no run is needed for, kept in `results/data/NAME.json`.

    Attributes:
      name, title, notes: as of `Trained`.
      kind: dataclass of the values.
      compute: the values.
      tables: of the values at a scale.
      draw: its figure.
    """

    name: str
    title: str
    kind: Any
    compute: Callable[[Runner], Any]
    tables: Callable[[Any, str], Sequence[Table]]
    draw: Callable[[Any], Any] | None = None
    notes: tuple[str, ...] = ()

    def write(self, runner: Runner, folder: Path) -> Path:
        """Computes the values, and returns the file that they are written to."""
        command = f"python -m paper {self.name} --scale={runner.place.scale} --manual_dir=FOLDER"
        provenance = Provenance(command, **circumstances())
        values = json.loads(to_json(self.compute(runner)))
        path = folder / f"{self.name}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(Record(runner.place.scale, provenance, values)))
        return path

    def read(self, folder: Path) -> tuple[Record, Any] | None:
        """Returns the record and the values, None if there is no file.

        Raises:
          UserError: the file is not such a record.
        """
        path = folder / f"{self.name}.json"
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            values = content.pop("values")
            record: Record = decode(Record, content)
            return record, decode(self.kind, values)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a record of {self.name} ({error})") from error
