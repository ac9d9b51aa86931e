"""Figure 4: KL and reconstruction, stacked, over the KL weight and over the concentration."""

from collections.abc import Mapping
from typing import Any

from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.settings import HONEST, Setting, collector, mean
from spherical_vae.experiments.rendering.row_tables import (
    SENTENCE_COLUMNS,
    bounds_table,
    runs_table,
)
from spherical_vae.experiments.rendering.sentence_tables import who_is_ahead
from spherical_vae.experiments.rendering.tables import Table

# The paper prints bars; of its numbers only that kappa = 80 is the best of its vMF models.
DIMENSION = 50
KL_WEIGHTS = (0.2, 0.5, 1.0)
CONCENTRATIONS = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0)
_KEPT = {"smoke": 2, "cpu": 3, "full": None}


def settings(scale: str) -> list[Setting]:
    """Returns a row for each KL weight of the Gaussian and each concentration of the vMF."""
    kept = _KEPT[scale]
    middle = CONCENTRATIONS[1::2] if scale == "cpu" else CONCENTRATIONS
    return [
        *(
            _row(scale, "Gaussian", f"alpha={weight:g}", {"kl_weight.value": weight})
            for weight in KL_WEIGHTS[:kept]
        ),
        *(
            _row(scale, "vMF", f"kappa={kappa:g}", {"latent.concentration": kappa})
            for kappa in middle[:kept]
        ),
    ]


def _row(scale: str, model: str, label: str, changed: dict[str, Any]) -> Setting:
    return models.setting(
        scale,
        "ptb",
        models.INPUTLESS,
        model,
        changed={"latent.dimension": DIMENSION, **changed},
        label=label,
        tuned=False,
    )


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the bars as numbers, honest."""
    found = record["rows"]
    return [bounds_table(found, SENTENCE_COLUMNS, lambda row: "all"), runs_table(found)]


def draw(record: Mapping[str, Any]) -> Any:
    """Draws KL on top of reconstruction, the perplexity of the ELBO over each bar."""
    from spherical_vae.experiments.rendering.plots import GAUSSIAN, VMF, new_figure

    found = [row for row in record["rows"] if row["runs"]]
    figure, (axes,) = new_figure(1, width=8.0, height=3.8)
    for i, row in enumerate(found):
        reconstruction = mean(row, HONEST, "reconstruction_nats") or 0.0
        kl = mean(row, HONEST, "kl_nats") or 0.0
        colour = VMF if row["facts"]["model"] == "vMF" else GAUSSIAN
        axes.bar(i, reconstruction, color=colour, alpha=0.45)
        axes.bar(i, kl, bottom=reconstruction, color=colour, hatch="//")
        axes.annotate(
            f"{mean(row, HONEST, 'perplexity') or 0:.0f}",
            (i, reconstruction + kl),
            ha="center",
            va="bottom",
        )
    labels = [f"{row['facts']['model']}\n{row['facts']['label']}" for row in found]
    axes.set_xticks(range(len(found)), labels, fontsize=8)
    axes.set(ylabel="nats a sentence, test (hatched: KL)")
    axes.margins(y=0.12)
    return figure


EXPERIMENT = Experiment(
    "KL and reconstruction over KL weight and concentration (PTB, inputless, d = 50)",
    collector(settings),
    tables,
    settings=settings,
    draw=draw,
    remarks=lambda record: who_is_ahead(record, lambda row: "all rows"),
    notes=("A Gaussian is trained with KL weight alpha and measured with weight 1.",),
)
