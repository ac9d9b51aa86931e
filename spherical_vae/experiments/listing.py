"""What the experiments train, and how long that would take by the runs in the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.scales import SEEDS
from spherical_vae.experiments.laboratory.settings import Setting
from spherical_vae.experiments.records import Record, read_all
from spherical_vae.experiments.rendering.tables import Table
from spherical_vae.experiments.table2 import CORPORA
from spherical_vae.training.optimizer import Timetable

NOT_MEASURED = "not measured"
# A configuration file with its variant, and the batch size: what a step costs hangs on little else.
Work = tuple[str, int]
# Seconds a step by device.
Rates = Mapping[Work, Mapping[str, float]]


def listing(scale: str, seeds: int | None, results: Path) -> str:
    """Returns a table of all experiments with what they train at a scale.

    Runs that experiments share are counted in each of them.

    Args:
      scale: smoke, cpu or full.
      seeds: of each row; None for as many as the scale has.
      results: folder of the records that the estimates come from.
    """
    count = seeds or SEEDS[scale]
    records = read_all(results)
    rates, examples = measured_rates(records), _examples(records)
    rows = []
    for name in catalogue.NAMES:
        experiment = catalogue.load(name)
        settings = experiment.settings(scale)
        trials = [run for setting in settings for run in setting.trials(scale)]
        seconds = estimate(settings, scale, count, rates, examples) if settings else "no training"
        runs = count * len(settings)
        rows.append([name, experiment.title, str(len(trials)), str(runs), seconds])
    head = ["name", f"what (scale {scale}, {count} seeds)", "trials", "runs", "training, estimate"]
    return Table(head, rows).markdown()


def estimate(
    settings: Sequence[Setting],
    scale: str,
    seeds: int,
    rates: Rates,
    examples: Mapping[str, int],
) -> str:
    """Returns how long the trials and runs of some rows would take, one after another.

    Args:
      settings: the rows.
      scale: of the runs.
      seeds: of each row.
      rates: measured.
      examples: of train, by the corpus's name.

    Returns:
      Steps times seconds a step for each device, and for how many runs these are known. Early
      stopping would make it less.
    """
    laboratory = Laboratory(Path(), scale, seeds)
    wanted = [(run, 1) for setting in settings for run in setting.trials(scale)]
    wanted += [(setting.run(setting.alternatives[0], 0), seeds) for setting in settings]
    found: dict[str, tuple[float, int]] = {}
    # The tiny corpora of smoke have no records.
    for run, count in wanted if scale != "smoke" else ():
        config = laboratory.config(run)
        if config.data.name not in examples:
            continue
        steps = Timetable.of(config, examples[config.data.name]).total_steps
        for device, rate in rates.get((run.config, config.train.batch_size), {}).items():
            seconds, runs = found.get(device, (0.0, 0))
            found[device] = seconds + count * steps * rate, runs + count
    total = sum(count for _, count in wanted)
    said = []
    for device, (seconds, runs) in found.items():
        part = f" for {runs} of {total}, the others {NOT_MEASURED}" if runs < total else ""
        said.append(f"{_shown(seconds)} on {device}{part}")
    return "; ".join(said) or NOT_MEASURED


def measured_rates(records: Sequence[Record]) -> dict[Work, dict[str, float]]:
    """Returns the seconds a step of the runs in some records, dev and compilation among them."""
    sums: dict[tuple[Work, str], tuple[float, int]] = {}
    for record in records:
        laboratory = Laboratory(Path(), record["scale"], 1)
        settings = {
            s.name: s for s in catalogue.load(record["experiment"]).settings(record["scale"])
        }
        for row in record.get("rows", ()):
            if row["name"] not in settings or not row["runs"]:
                continue
            run: Run = settings[row["name"]].run(row["chosen"], 0)
            work = run.config, laboratory.config(run).train.batch_size
            for trained in row["runs"]:
                if trained["train_seconds"] is None:
                    continue
                replicas = trained["sweep"]["replicas"] if trained.get("sweep") else 1
                seconds, steps = sums.get((work, trained["device"]), (0.0, 0))
                seconds += trained["train_seconds"] / replicas
                sums[work, trained["device"]] = seconds, steps + trained["last_step"]
    rates: dict[Work, dict[str, float]] = {}
    for (work, device), (seconds, steps) in sums.items():
        rates.setdefault(work, {})[device] = seconds / steps
    return rates


def _examples(records: Sequence[Record]) -> dict[str, int]:
    """Returns the examples of train of the corpora that table 2 counted, by the corpus's name."""
    found: dict[str, int] = {}
    for record in records:
        laboratory = Laboratory(Path(), record["scale"], 1)
        for corpus in record.get("corpora", ()):
            if not corpus["missing"]:
                config = laboratory.config(Run(CORPORA[corpus["name"]]))
                found[config.data.name] = corpus["train"]
    return found


def _shown(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
