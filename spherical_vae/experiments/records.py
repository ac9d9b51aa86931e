"""What an experiment found, as `results/NAME.json`: everything that is shown is drawn from it."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.provenance import circumstances
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.settings import Setting
from spherical_vae.experiments.rendering.shown import show
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import lock_folder

Record = Mapping[str, Any]


def make_record(name: str, laboratory: Laboratory) -> Record:
    """Runs an experiment, trains what is missing, and returns its record.

    Raises:
      Interrupted: a signal came; what was trained is kept, and the same command goes on.
    """
    begun = time.monotonic()
    found = catalogue.load(name).collect(laboratory)
    record = {
        "experiment": name,
        "scale": laboratory.scale,
        "seeds": list(range(laboratory.seeds)),
        "command": f"python -m spherical_vae.experiments {name} --scale={laboratory.scale} "
        f"--seeds={laboratory.seeds} --manual_dir=FOLDER{' --sweeps' * laboratory.sweeping}",
        "seconds_of_this_start": round(time.monotonic() - begun, 1),
        **circumstances(),
        **found,
    }
    # As it will be read: JSON has one kind of sequence, and texts as keys.
    as_read: Record = json.loads(json.dumps(record, allow_nan=False))
    return as_read


def keep(record: Record, results: Path) -> list[Path]:
    """Writes a record, with what an earlier one of its kind has on rows that this one has less of.

    Nothing that was measured is lost for a run that is not here: trained elsewhere, being trained
    by another process, of a corpus that was not given, of a seed or a row that was not asked for.

    Raises:
      UserError: the folder cannot be written, or the file that is there is no record.
    """
    # From reading to writing: processes that share the work may end together.
    with lock_folder(results, ".lock", wait=True):
        return write(with_earlier_rows(record, results), results)


def with_earlier_rows(record: Record, results: Path) -> Record:
    """Returns a record with those rows of an earlier one of its kind that it has less of.

    A row that would be trained otherwise today is not taken over.

    Args:
      record: a new one.
      results: folder of records.

    Raises:
      UserError: the file that is there is no record.
    """
    path = results / f"{file_name(record)}.json"
    if "rows" not in record or not path.exists():
        return record
    earlier = _read(path, record["experiment"])
    old, new = ({row["name"]: row for row in one["rows"]} for one in (earlier, record))
    rows = []
    for setting in catalogue.load(record["experiment"]).settings(record["scale"]):
        current = [new[setting.name]] if setting.name in new else []
        if setting.name in old and is_of(old[setting.name], setting):
            current.append(old[setting.name])
        if current:
            rows.append(max(current, key=_worth))
    seeds = max(earlier["seeds"], record["seeds"], key=len)
    command = str(record["command"]).replace(
        f"--seeds={len(record['seeds'])}", f"--seeds={len(seeds)}"
    )
    return {**record, "seeds": seeds, "command": command, "rows": rows}


def _worth(row: Mapping[str, Any]) -> tuple[int, int]:
    """Returns by what the newer of two rows is given up: more seeds, and more of its own."""
    runs = row["runs"]
    return len(runs), sum("taken_from" not in run for run in runs)


def is_of(row: Mapping[str, Any], setting: Setting) -> bool:
    """Returns whether the runs of an earlier row are those that a setting makes today."""
    tried = [dict(alternative) for alternative in setting.alternatives]
    return row["alternatives"] == tried and all(
        # Of a sweep the command has the settings of all replicas.
        "sweep" in run or run["command"] == setting.run(row["chosen"], run["seed"]).command
        for run in row["runs"]
    )


def write(record: Record, results: Path) -> list[Path]:
    """Writes NAME.json, its tables as Markdown, and its figure as PNG and SVG.

    Records of another scale have it in their name, so that none replaces another.
    """
    path = results / f"{file_name(record)}.json"
    text = json.dumps(record, indent=1, allow_nan=False)
    # Points and pairs on one line each.
    text = re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text + "\n")
    return [path, *draw(record, results)]


def draw(record: Record, results: Path) -> list[Path]:
    """Writes the tables of a record, and its figure if it has one."""
    experiment = catalogue.load(record["experiment"])
    tables = results / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    path = tables / f"{file_name(record)}.md"
    text = "\n\n".join(table.markdown() for table in show(experiment, record).tables)
    write_atomically(path, text + "\n")
    if experiment.draw is None:
        return [path]
    from spherical_vae.experiments.rendering.plots import save

    return [path, *save(experiment.draw(record), results / "figures", file_name(record))]


def file_name(record: Record) -> str:
    """Returns the name of the record's files, without their endings."""
    scale = record["scale"]
    name: str = record["experiment"]
    return f"{name}-cpu" if scale == "cpu" else name


def read_all(results: Path) -> list[Record]:
    """Returns all records of a folder, in the order of the paper, full scale first.

    Raises:
      UserError: a file is no record.
    """
    records = []
    for name in catalogue.NAMES:
        for path in (results / f"{name}.json", results / f"{name}-cpu.json"):
            if path.exists():
                records.append(_read(path, name))
    return records


def _read(path: Path, name: str) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        if record["experiment"] != name:
            raise ValueError(f"it is a record of {record['experiment']}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no record of an experiment ({error})") from error
    return record
