"""Figures 4 and 6: PTB models over the KL weight and the concentration, in 50 dimensions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paper.experiment import Trained
from paper.language import KAPPA, PTB, PTB_BAG, PTB_INPUTLESS_BAG, PTB_INPUTLESS_SHORT, Panel
from paper.plots import MODEL_COLOURS, new_figure
from paper.specs import GAUSSIAN, HONEST, VMF, Filled, Row
from paper.tables import NOT_RUN, NOTHING, Column, Table, bound, bounds_table, mean_of

_DIMENSION = 50
_KL_WEIGHTS = (0.2, 0.5, 1.0)
_CPU_KAPPAS = (40.0, 80.0, 120.0)
_FIG4_KAPPAS = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0)
_FIG6_KAPPAS = (20.0, 50.0, 80.0, 110.0, 150.0, 200.0)


def _at(panel: Panel, scale: str, model: str, label: str, key: str, value: float) -> Row:
    row = panel.row(scale, model, {"latent.dimension": _DIMENSION, key: value}, label)
    return replace(row, tight_samples=0, printed=None)


def fig4_rows(scale: str) -> list[Row]:
    """Returns a row for each KL weight of the Gaussian and each concentration of the vMF."""
    kappas = _CPU_KAPPAS if scale == "cpu" else _FIG4_KAPPAS
    changes = [(GAUSSIAN, f"alpha={a:g}", "kl_weight.value", a) for a in _KL_WEIGHTS]
    changes += [(VMF, f"kappa={k:g}", KAPPA, k) for k in kappas]
    return [replace(_at(PTB_INPUTLESS_SHORT, scale, *one), group="all") for one in changes]


def _draw_fig4(rows: Sequence[Filled]) -> Any:
    """Draws KL on top of reconstruction, the perplexity of the ELBO over each bar."""
    filled = [one for one in rows if one.runs]
    figure, (axes,) = new_figure(1, width=8.0, height=3.8)
    for i, one in enumerate(filled):
        reconstruction, kl, perplexity = (
            mean_of(one, bound(HONEST, key)) or 0.0
            for key in ("reconstruction_nats", "kl_nats", "perplexity")
        )
        colour = MODEL_COLOURS[one.row.model]
        axes.bar(i, reconstruction, color=colour, alpha=0.45)
        axes.bar(i, kl, bottom=reconstruction, color=colour, hatch="//")
        place = (i, reconstruction + kl)
        axes.annotate(f"{perplexity:.0f}", place, ha="center", va="bottom")
    labels = [f"{one.row.model}\n{one.row.label}" for one in filled]
    axes.set_xticks(range(len(filled)), labels, fontsize=8)
    axes.set(ylabel="nats a sentence, test (hatched: KL)")
    axes.margins(y=0.12)
    return figure


def fig6_rows(scale: str) -> list[Row]:
    """Returns a row for each concentration in each of the four settings."""
    return [
        _at(panel, scale, VMF, f"kappa={kappa:g}", KAPPA, kappa)
        for panel in (PTB, PTB_INPUTLESS_SHORT, PTB_BAG, PTB_INPUTLESS_BAG)
        for kappa in (_CPU_KAPPAS if scale == "cpu" else _FIG6_KAPPAS)
    ]


def _above_lowest(title: str, key: str) -> Column:
    """Returns a column: how far a perplexity lies above the lowest of its group, in percent."""
    value = bound(HONEST, key)

    def cell(filled: Filled, rows: Sequence[Filled]) -> str:
        group = [mean_of(one, value) for one in rows if one.row.group == filled.row.group]
        levels = [level for level in group if level is not None]
        own = mean_of(filled, value)
        return NOTHING if own is None or len(levels) < 2 else f"{100 * (own / min(levels) - 1):.1f}"

    return Column(f"{title} PPL above the lowest, %", cell)


def _fig6(rows: Sequence[Filled], scale: str) -> list[Table]:
    more = _above_lowest("ELBO", "perplexity"), _above_lowest("IW", "iw_perplexity")
    return bounds_table(rows, more=more)


def _draw_fig6(rows: Sequence[Filled]) -> Any:
    """Draws the map; each line has a colour scale of its own, for they differ tenfold."""
    groups = list(dict.fromkeys(one.row.group for one in rows))
    kappas = sorted({float(one.row.overrides[KAPPA]) for one in rows})
    values = np.full((len(groups), len(kappas)), np.nan)
    for one in rows:
        place = groups.index(one.row.group), kappas.index(float(one.row.overrides[KAPPA]))
        values[place] = mean_of(one, bound(HONEST, "perplexity")) or np.nan
    lowest = np.fmin.reduce(values, axis=1, keepdims=True)
    figure, (axes,) = new_figure(1, width=8.0, height=3.0)
    axes.grid(visible=False)
    picture = axes.imshow(values / lowest, cmap="cividis_r", aspect="auto")
    figure.colorbar(picture, ax=axes, label="ELBO PPL over the lowest of its line")
    for (i, j), value in np.ndenumerate(values):
        text = NOT_RUN if np.isnan(value) else f"{value:.0f}"
        patch = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.annotate(text, (j, i), ha="center", va="center", bbox=patch)
    axes.set_xticks(range(len(kappas)), [f"{kappa:g}" for kappa in kappas])
    axes.set_yticks(range(len(groups)), groups)
    axes.set(xlabel="concentration κ")
    return figure


EXPERIMENTS = (
    Trained("fig4", fig4_rows, lambda rows, scale: bounds_table(rows), _draw_fig4),
    Trained("fig6", fig6_rows, _fig6, _draw_fig6),
)
