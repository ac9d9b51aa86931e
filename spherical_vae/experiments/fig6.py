"""Figure 6: perplexity of vMF over the concentration, in four settings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.settings import HONEST, Setting, collector, mean
from spherical_vae.experiments.rendering.row_tables import (
    SENTENCE_COLUMNS,
    bounds_table,
    draws,
    runs_table,
)
from spherical_vae.experiments.rendering.tables import Table, number

# The paper prints a heat map and no numbers.
DIMENSION = 50
CONCENTRATIONS = {
    "smoke": (20.0, 80.0),
    # Those of figure 4 at this scale: the same runs.
    "cpu": (40.0, 80.0, 120.0),
    "full": (20.0, 50.0, 80.0, 110.0, 150.0, 200.0),
}
# Perplexities of the ELBO and of the importance-weighted bound.
_COLUMNS = (SENTENCE_COLUMNS[1], SENTENCE_COLUMNS[3])


def settings(scale: str) -> list[Setting]:
    """Returns a row for each concentration in each of the four settings."""
    return [
        models.setting(
            scale,
            "ptb",
            mode,
            "vMF",
            bag=bag,
            changed={"latent.dimension": DIMENSION, "latent.concentration": kappa},
            label=f"{'with bag of words, ' if bag else ''}kappa={kappa:g}",
            tuned=False,
        )
        for bag in (False, True)
        for mode in models.MODES
        for kappa in CONCENTRATIONS[scale]
    ]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the map as numbers, honest."""
    found = record["rows"]
    return [bounds_table(found, SENTENCE_COLUMNS, _line), runs_table(found)]


def _line(row: Mapping[str, Any]) -> str:
    bag = ", with bag of words" if "bag" in row["facts"]["label"] else ""
    return f"{row['facts']['mode']}{bag}"


def _kappa(row: Mapping[str, Any]) -> float:
    return float(row["name"].split("kappa=")[1])


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each setting: how far its concentrations are apart."""
    said = []
    for line in dict.fromkeys(_line(row) for row in record["rows"]):
        measured = [row for row in record["rows"] if _line(row) == line and row["runs"]]
        parts = []
        for column in _COLUMNS:
            means = [mean(row, column.protocol, column.key) for row in measured]
            found = [value for value in means if value is not None]
            if len(found) < 2 or len(found) < len(means):
                continue
            listed = ", ".join(number(value) for value in found)
            parts.append(
                f"{column.title}{draws(measured, column)} {listed}, the highest "
                f"{max(found) / min(found) - 1:.1%} above the lowest"
            )
        if parts:
            kappas = ", ".join(f"{_kappa(row):g}" for row in measured)
            single = ", by one seed" if min(len(row["runs"]) for row in measured) == 1 else ""
            said.append(f"{line}, kappa = {kappas}{single}: {'; '.join(parts)}.")
    return said


def draw(record: Mapping[str, Any]) -> Any:
    """Draws the map; each line has a colour scale of its own, for they differ tenfold."""
    from spherical_vae.experiments.rendering.plots import new_figure

    lines = list(dict.fromkeys(_line(row) for row in record["rows"]))
    kappas = CONCENTRATIONS[record["scale"]]
    values = np.full((len(lines), len(kappas)), np.nan)
    for row in record["rows"]:
        found = mean(row, HONEST, "perplexity")
        place = lines.index(_line(row)), kappas.index(_kappa(row))
        values[place] = np.nan if found is None else found
    lowest = np.fmin.reduce(values, axis=1, keepdims=True)
    figure, (axes,) = new_figure(1, width=8.0, height=3.0)
    axes.grid(visible=False)
    picture = axes.imshow(values / lowest, cmap="cividis_r", aspect="auto")
    figure.colorbar(picture, ax=axes, label="over the lowest of the line")
    for (i, j), value in np.ndenumerate(values):
        text = "not run" if np.isnan(value) else f"{value:.0f}"
        patch = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.annotate(text, (j, i), ha="center", va="center", bbox=patch)
    axes.set_xticks(range(len(kappas)), [f"{kappa:g}" for kappa in kappas])
    axes.set_yticks(range(len(lines)), lines)
    axes.set(xlabel="concentration κ")
    return figure


EXPERIMENT = Experiment(
    "Perplexity over the concentration (PTB, vMF, d = 50)",
    collector(settings),
    tables,
    settings=settings,
    draw=draw,
    remarks=remarks,
    notes=("Lines with the bag of words condition on the text: no bounds on log p(x).",),
)
