"""What is shown of a record: rows that were not run are named once, and left out of its tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.rendering.row_tables import NOT_APPLICABLE, NOT_RUN
from spherical_vae.experiments.rendering.tables import NOTHING, Table


@dataclasses.dataclass(frozen=True)
class Shown:
    """Of a record.

    Attributes:
      remarks: that were computed from it, which rows are of another record, and which were not run.
      tables: of the rows that were, and of those that the paper has a value for.
    """

    remarks: list[str]
    tables: list[Table]


def show(experiment: Experiment, record: Mapping[str, Any]) -> Shown:
    """Returns what is shown of a record of an experiment."""
    tables: list[Table] = []
    not_run: dict[str, None] = {}
    for table in experiment.tables(record):
        rows = [row for row in table.rows if not _is_empty(row)]
        not_run |= dict.fromkeys(row[0] for row in table.rows if _is_empty(row))
        if rows:
            tables.append(dataclasses.replace(table, rows=rows))
    remarks = [*experiment.remarks(record)]
    taken = {
        row["name"]: run["taken_from"]
        for row in record.get("rows", ())
        for run in row["runs"]
        if "taken_from" in run
    }
    if taken:
        listed = "; ".join(f"{row} ({name})" for row, name in taken.items())
        remarks.append(f"The same run as elsewhere, from whose record it is: {listed}.")
    if not_run:
        remarks.append(f"Not run: {'; '.join(not_run)}.")
    return Shown(remarks, tables)


def _is_empty(row: Sequence[str]) -> bool:
    """Returns whether a row says nothing but that it was not run, be it by seed."""
    said = set(row[1:]) - {NOTHING, NOT_APPLICABLE}
    return bool(said) and all(cell.endswith(NOT_RUN) for cell in said)
