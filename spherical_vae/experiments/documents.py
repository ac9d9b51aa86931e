"""The document models that several experiments share, and what is tried for each of them.

Learning rate, batch, epochs and sizes are those of `configs/`, the same for both kinds of latent.
"""

from typing import Any

from spherical_vae.experiments.settings import Setting

BUDGET_NOTE = (
    "Both kinds of latent have the same budget: three trials on dev, with seed 0 and a quarter of "
    "the epochs (RCV1: a fifth). For vMF they are three concentrations, whose KL lies near 15, 19 "
    "and 23 nats; for the Gaussian the configuration as it is, more dropout, and a KL weight that "
    "rises over ten epochs."
)
DIMENSIONS = (25, 50, 200)
CONCENTRATIONS = {25: (70.0, 100.0, 140.0), 50: (65.0, 80.0, 100.0), 200: (85.0, 100.0, 115.0)}
TRAINING_ALTERNATIVES: tuple[dict[str, Any], ...] = (
    {},
    {"dropout_rate": 0.4},
    {"kl_weight.schedule": "linear", "kl_weight.linear_epochs": 10.0},
)
TRIAL_EPOCHS = {"news20": 15, "reuters": 15, "rcv1": 1}
CORPORA = {"news20": "20NG", "rcv1": "RCV1", "reuters": "Reuters-21578"}


def vmf(corpus: str, dimension: int) -> Setting:
    """Returns the row of a fixed concentration, chosen on dev."""
    return Setting(
        f"{CORPORA[corpus]} vMF d={dimension}",
        corpus,
        {"latent.dimension": dimension},
        tuple({"latent.concentration": kappa} for kappa in CONCENTRATIONS[dimension]),
        {"train.epochs": TRIAL_EPOCHS[corpus]},
        facts={"corpus": CORPORA[corpus], "model": "vMF NVDM", "dimension": dimension},
    )


def gaussian(corpus: str, dimension: int) -> Setting:
    """Returns the row of the baseline, tuned as much."""
    return Setting(
        f"{CORPORA[corpus]} Gaussian d={dimension}",
        f"{corpus}:gaussian",
        {"latent.dimension": dimension},
        TRAINING_ALTERNATIVES,
        {"train.epochs": TRIAL_EPOCHS[corpus]},
        facts={"corpus": CORPORA[corpus], "model": "Gaussian NVDM", "dimension": dimension},
    )
