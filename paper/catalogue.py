"""All tables and figures, in the order of the paper, and a list of them."""

from pathlib import Path

from paper import ablation, codes, corpora, documents, fig1, fig2, fig3, language, rates
from paper.experiment import NOTES, Computed, Trained
from paper.specs import SEEDS, Place, fill
from paper.store import Store
from paper.tables import NOTHING, Table

_MODULES = (language, codes, rates, documents, ablation, corpora, fig1, fig2, fig3)
_FOUND = {one.name: one for module in _MODULES for one in module.EXPERIMENTS}
EXPERIMENTS: dict[str, Trained | Computed] = {name: _FOUND[name] for name in NOTES}


def listing(scale: str, seeds: int | None, results: Path) -> str:
    """Returns a table: what each trains at a scale, and how much of it is in the store.

    With the seconds that runs in the store took to train; runs that experiments share are counted
    in each of them. There are `seeds` of each row, or as many as the scale has; the store is in the
    folder `results`.
    """
    count, store = seeds or SEEDS[scale], Store(results / "runs")
    body = []
    for name, experiment in EXPERIMENTS.items():
        if isinstance(experiment, Computed):
            body.append([name, NOTES[name][0], *[NOTHING] * 4])
            continue
        rows = experiment.rows(scale)
        filled = fill(rows, store, Place(Path(), scale))
        # A trial may be a run, too.
        found = {run.id: run for one in filled for run in (*one.trials, *one.runs) if run}
        seconds = [t for run in found.values() if (t := run.training.seconds) is not None]
        time = f"{sum(seconds):.0f} ({len(seconds)})" if seconds else NOTHING
        trials = sum(len(row.trials()) for row in rows)
        numbers = trials, count * len(rows), len(found)
        body.append([name, NOTES[name][0], *map(str, numbers), time])
    head = ["name", f"what (scale {scale}, {count} seeds)", "trials", "runs",
            "in the store", "training of these, s (of how many)"]  # fmt: skip
    return Table(head, body).markdown()
