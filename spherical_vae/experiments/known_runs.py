"""What records know of runs: a row of one table may be the same run as that of another one."""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.runs import Known, Laboratory
from spherical_vae.experiments.records import Record, is_of, read_all


def known_runs(results: Path, workdir: Path, experiment: str, scale: str) -> Known:
    """Returns what the records know of runs, for an experiment whose runs are not here.

    Of several records of a run one is taken, with all of its measures: one that did not take it
    over, first that of the experiment itself.

    Args:
      results: folder of the records.
      workdir: where the runs of this scale live.
      experiment: its name; what is of another record says so under `taken_from`.
      scale: of the records.

    Returns:
      For each run `trained`, how it was trained, and `SPLIT-PROTOCOL`, what was measured.

    Raises:
      UserError: a file is no record.
    """
    laboratory = Laboratory(workdir, scale, 1)
    best: dict[str, tuple[bool, bool, str, Mapping[str, Any]]] = {}
    for record in read_all(results):
        if record["scale"] != scale:
            continue
        name = record["experiment"]
        for key, run in _runs(record, laboratory):
            candidate = ("taken_from" not in run, name == experiment, name, run)
            if key not in best or candidate[:2] > best[key][:2]:
                best[key] = candidate
    return {
        key: _known(run, {} if own else {"taken_from": name})
        for key, (_, own, name, run) in best.items()
    }


def _runs(record: Record, laboratory: Laboratory) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the runs of a record with their addresses, but for those that may be of another one.

    A row that would be trained otherwise today is left out. Of a sweep the command does not tell,
    so it must have its address written down.
    """
    settings = {s.name: s for s in catalogue.load(record["experiment"]).settings(record["scale"])}
    for row in record.get("rows", ()):
        setting = settings.get(row["name"])
        if setting is None or not is_of(row, setting):
            continue
        for run in row["runs"]:
            key = address(laboratory.config(setting.run(row["chosen"], run["seed"])))
            if run.get("address", None if "sweep" in run else key) == key:
                yield key, run


def _known(run: Mapping[str, Any], taken_from: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    # What follows the measures is what this one table or figure wanted to know besides.
    trained = dict(takewhile(lambda item: item[0] != "measured", run.items()))
    measured = run["measured"].items()
    return {
        # One that was taken over itself says from where.
        "trained": {**taken_from, **trained},
        **{f"{found['split']}-{protocol}": found for protocol, found in measured},
    }
