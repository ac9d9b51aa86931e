"""What records know of runs: a row of one table may be the same run as that of another one."""

from itertools import takewhile
from pathlib import Path
from typing import Any

from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.runs import Known, Laboratory
from spherical_vae.experiments.records import is_of, read_all


def known_runs(results: Path, scale: str) -> Known:
    """Returns what is known of the runs of all records, for rows whose own run is not here.

    Args:
      results: folder of the records.
      scale: of the records.

    Returns:
      By the address of a run: as `trained`, how it was trained, and as `SPLIT-PROTOCOL` what was
      measured. Nothing of rows that would be trained otherwise today.

    Raises:
      UserError: a file is no record.
    """
    laboratory = Laboratory(Path(), scale, 1)
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for record in read_all(results):
        if record["scale"] != scale:
            continue
        name = record["experiment"]
        settings = {setting.name: setting for setting in catalogue.load(name).settings(scale)}
        for row in record.get("rows", ()):
            setting = settings.get(row["name"])
            if setting is None or not is_of(row, setting):
                continue
            for run in row["runs"]:
                key = address(laboratory.config(setting.run(row["chosen"], run["seed"])))
                # What follows the measures is what this one table wanted to know besides.
                trained = dict(takewhile(lambda item: item[0] != "measured", run.items()))
                known.setdefault((key, "trained"), {"taken_from": name} | trained)
                for protocol, measured in run["measured"].items():
                    known.setdefault((key, f"{setting.split}-{protocol}"), measured)
    return known
