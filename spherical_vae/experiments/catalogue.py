"""The experiments there are, by name."""

import importlib

from spherical_vae.experiments.experiment import Experiment

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
    "ablation",
)


def load(name: str) -> Experiment:
    """Returns an experiment by its name in `NAMES`."""
    module = importlib.import_module(f"spherical_vae.experiments.{name}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
