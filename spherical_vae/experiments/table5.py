"""Table 5: the same models on PTB when the decoder is told the bag of words of its sentence."""

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

# NLL, KL, PPL.
PAPER: dict[tuple[str, str], Printed] = {
    ("standard", "RNNLM"): (79, None, 43),
    ("standard", "Gaussian"): (79, 0.0, 43),
    ("standard", "vMF"): (73, 0.2, 33),
    ("inputless", "RNNLM"): (106, None, 152),
    ("inputless", "Gaussian"): (106, 0.4, 153),
    ("inputless", "vMF"): (93, 11.4, 82),
}


def settings(scale: str) -> list[Setting]:
    """Returns the six rows."""
    return [
        models.setting(scale, "ptb", mode, model, bag=True, label=models.BAG_LABEL)
        for mode in models.MODES
        for model in models.MODELS
    ]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the paper's values beside ours, and ours by every protocol."""
    return sentence_tables(record, PAPER, _key, lambda row: row["facts"]["mode"])


def _key(row: Row) -> tuple[str, str]:
    return row["facts"]["mode"], row["facts"]["model"]


EXPERIMENT = Experiment(
    "Language models whose decoder is told the bag of words (PTB)",
    collector(settings),
    tables,
    settings=settings,
    remarks=lambda record: who_is_ahead(record, lambda row: (row["facts"]["mode"],)),
    notes=(
        "The decoder conditions on the text that it is to write: these are no bounds on log p(x).",
        models.BUDGET_NOTE,
    ),
)
