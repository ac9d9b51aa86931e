"""The experiments there are, by name, and what they would cost."""

import importlib

from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.scales import SEEDS
from spherical_vae.experiments.tables import Table

NAMES = (
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "fig6",
    "learned_kappa",
)


def load(name: str) -> Experiment:
    """Returns an experiment by its name in `NAMES`."""
    module = importlib.import_module(f"spherical_vae.experiments.{name}")
    experiment: Experiment = module.EXPERIMENT
    return experiment


def listing(scale: str, seeds: int | None) -> str:
    """Returns a table of all experiments with what they train at a scale.

    Runs that experiments share are counted in each of them.
    """
    count = seeds or SEEDS[scale]
    rows = []
    for name in NAMES:
        experiment = load(name)
        settings = experiment.settings(scale)
        trials = sum(len(setting.trials(scale)) for setting in settings)
        cost = experiment.costs.get(scale, "seconds") if settings else "seconds"
        rows.append([name, experiment.title, str(trials), str(count * len(settings)), cost])
    head = ["name", f"what (scale {scale}, {count} seeds)", "trials", "runs", "estimate"]
    return Table(head, rows).markdown()
