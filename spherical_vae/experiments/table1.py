"""Table 1: how the KL of an inputless Gaussian NVRNN depends on layers and annealing (PTB dev)."""

from collections.abc import Mapping
from typing import Any

from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.settings import Setting, collector
from spherical_vae.experiments.rendering.row_tables import Row
from spherical_vae.experiments.rendering.sentence_tables import (
    Printed,
    sentence_tables,
    who_is_ahead,
)
from spherical_vae.experiments.rendering.tables import Table

# NLL and KL on dev; no perplexity is printed.
PAPER: dict[tuple[str, str], Printed] = {
    ("Gaussian", "3 layers, no annealing"): (135, 0.00, None),
    ("Gaussian", "1 layer, no annealing"): (129, 3.37, None),
    ("Gaussian", "3 layers, sigmoid annealing"): (132, 1.05, None),
    ("Gaussian", "1 layer, sigmoid annealing"): (125, 6.52, None),
    ("vMF", "1 layer"): (117, 18.6, None),
}
# In so few epochs the authors' weight, sigmoid(epoch / 2 - 5), would stay below 0.4.
_FAST = {"kl_weight.sigmoid_slope": 2.0}
_SCHEDULES = {"no annealing": "constant", "sigmoid annealing": "sigmoid"}


def settings(scale: str) -> list[Setting]:
    """Returns four Gaussian rows and the vMF row, measured on dev; nothing is tuned."""
    found = [
        _row(
            scale,
            "Gaussian",
            f"{layers} layer{'s' * (layers > 1)}, {annealing}",
            {
                "encoder.layers": layers,
                "decoder.layers": layers,
                "kl_weight.schedule": schedule,
                **(_FAST if schedule == "sigmoid" and scale == "cpu" else {}),
            },
        )
        for annealing, schedule in _SCHEDULES.items()
        for layers in (3, 1)
    ]
    return [*found, _row(scale, "vMF", "1 layer", {})]


def _row(scale: str, model: str, label: str, changed: dict[str, Any]) -> Setting:
    return models.setting(
        scale,
        "ptb",
        models.INPUTLESS,
        model,
        changed=changed,
        label=label,
        tuned=False,
        split="valid",
    )


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the paper's values beside ours, and ours by every protocol."""
    return sentence_tables(record, PAPER, _key, lambda row: "all")


def _key(row: Row) -> tuple[str, str]:
    return row["facts"]["model"], row["facts"]["label"]


EXPERIMENT = Experiment(
    "Collapse of the Gaussian: layers and annealing (PTB dev, inputless)",
    collector(settings),
    tables,
    settings=settings,
    remarks=lambda record: who_is_ahead(record, lambda row: "all rows"),
    notes=(
        "Measured on dev, as in the paper, where the best checkpoint was chosen too; nothing is "
        "tuned. At scale `cpu` the sigmoid rises four times as fast, to reach 1 within the ten "
        "epochs.",
    ),
)
