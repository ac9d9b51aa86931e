"""A list of the experiments: their runs, and an estimate of the time from the runs in the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.catalogue import EXPERIMENTS
from paper.experiment import Computed
from paper.specs import SEEDS, Place, Row, Spec, at_scale
from paper.store import Run, Store
from paper.tables import Table
from spherical_vae.training.optimizer import Timetable

NOT_MEASURED = "not measured"
# A configuration with its variant, and the batch size: what a step costs depends on little else.
Work = tuple[str, int]
# Seconds a step by device.
Rates = Mapping[Work, Mapping[str, float]]


def listing(scale: str, seeds: int | None, results: Path) -> str:
    """Returns a table of all experiments with what they train at a scale.

    Runs that experiments share are counted in each of them. There are `seeds` of each row, or as
    many as the scale has; estimates come from the store in the folder `results`.
    """
    count = seeds or SEEDS[scale]
    rates = measured_rates(Store(results / "runs"))
    examples = _examples(results)
    body = []
    for name, experiment in EXPERIMENTS.items():
        if isinstance(experiment, Computed):
            body.append([name, experiment.title, "0", "0", "no training"])
            continue
        rows = [at_scale(row, scale) for row in experiment.rows(scale)]
        trials = sum(len(row.trials()) for row in rows)
        seconds = estimate(rows, scale, count, rates, examples)
        body.append([name, experiment.title, str(trials), str(count * len(rows)), seconds])
    head = ["name", f"what (scale {scale}, {count} seeds)", "trials", "runs", "training, estimate"]
    return Table(head, body).markdown()


def estimate(
    rows: Sequence[Row], scale: str, seeds: int, rates: Rates, examples: Mapping[str, int]
) -> str:
    """Returns the time that the trials and runs of some rows would take, one after another.

    It is steps times seconds per step for each device, with the number of runs for which these are
    known; early stopping would make it less. `examples` are those of train, by corpus.
    """
    wanted = [(spec, 1) for row in rows for spec in row.trials()]
    wanted += [(row.spec(row.alternatives[0]), seeds) for row in rows]
    total = sum(count for _, count in wanted)
    seconds: dict[str, float] = defaultdict(float)
    known: dict[str, int] = defaultdict(int)
    # The tiny corpora of smoke have no records.
    for spec, count in wanted if scale != "smoke" else ():
        config = Place(Path(), scale).config(spec)
        if config.data.name not in examples:
            continue
        steps = Timetable.of(config, examples[config.data.name]).total_steps
        for device, rate in rates.get((spec.config, config.train.batch_size), {}).items():
            seconds[device] += count * steps * rate
            known[device] += count
    said = []
    for device, value in seconds.items():
        rest = f" for {known[device]} of {total}, the others {NOT_MEASURED}"
        said.append(f"{_shown(value)} on {device}{rest if known[device] < total else ''}")
    return "; ".join(said) or NOT_MEASURED


def measured_rates(runs: "Store | Sequence[Run]") -> dict[Work, dict[str, float]]:
    """Returns the seconds a step of some runs, validation and compilation among them."""
    seconds: dict[tuple[Work, str], float] = defaultdict(float)
    steps: dict[tuple[Work, str], int] = defaultdict(int)
    for run in runs:
        device, training = run.provenance.device, run.training
        if device is None or training.seconds is None or training.last_step is None:
            continue
        config = Place(Path(), "full").config(Spec(run.config, run.overrides, run.seed))
        key = (run.config, config.train.batch_size), device
        seconds[key] += training.seconds
        steps[key] += training.last_step
    rates: dict[Work, dict[str, float]] = {}
    for (work, device), value in seconds.items():
        rates.setdefault(work, {})[device] = value / steps[work, device]
    return rates


def _examples(results: Path) -> dict[str, int]:
    """Returns the examples of train of the corpora that table 2 counted, by the corpus's name."""
    table2: Any = EXPERIMENTS["table2"]
    found = table2.read(results / "data")
    counted = found.values.corpora if found else ()
    return {one.corpus: one.train for one in counted if not hasattr(one, "missing")}


def _shown(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
