"""Table 6 and figure 5: what the latent code of a sentence says of its words and their order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paper import tables
from paper.experiment import Trained
from paper.language import BAG, INPUTLESS, PTB, PTB_BAG, PTB_INPUTLESS, PTB_INPUTLESS_BAG, STANDARD
from paper.measures.probe import COUNTED_WORDS, DIRECTIONS
from paper.measures.swaps import PROBABILITIES
from paper.plots import MODEL_COLOURS, new_figure
from paper.specs import GAUSSIAN, HONEST, VMF, Filled, Printed, Row
from paper.store import Run
from paper.tables import Column, Table, Values, bound, mean, with_error

_TABLE6_PRINTED = {
    (False, GAUSSIAN): Printed(code_to_bag=0.74, bag_to_code=0.74),
    (False, VMF): Printed(code_to_bag=0.77, bag_to_code=0.57),
    (True, GAUSSIAN): Printed(code_to_bag=0.32),
    (True, VMF): Printed(code_to_bag=0.23),
}


def fig5_rows(scale: str) -> list[Row]:
    """Returns the rows of tables 3 and 5 for PTB that have a latent code: the same runs."""
    return [
        replace(
            panel.row(scale, model),
            bounds=(HONEST,),
            tight_samples=0,
            extras=("swaps",),
            printed=_TABLE6_PRINTED[panel.label == BAG, model],
        )
        for panel in (PTB, PTB_BAG, PTB_INPUTLESS, PTB_INPUTLESS_BAG)
        for model in (GAUSSIAN, VMF)
    ]


def table6_rows(scale: str) -> list[Row]:
    """Returns the inputless rows of figure 5."""
    inputless = [row for row in fig5_rows(scale) if INPUTLESS in row.group]
    return [replace(row, extras=("probes",)) for row in inputless]


_KL_AND_SEEDS = mean("KL", bound(HONEST, "kl_nats"), 2), tables.SEEDS


def _probe_columns(bag: str, direction: str, printed: bool) -> list[Column]:
    def value(key: str) -> Values:
        def of(run: Run) -> float:
            (found,) = (one for one in run.probes if (one.bag, one.direction) == (bag, direction))
            return float(getattr(found, key))

        return of

    def paper(filled: Filled) -> str:
        return tables.printed_cell(getattr(filled.row.printed, direction))

    title = direction.replace("_", " ")
    return [
        *([tables.text(f"paper: {title}", paper)] if printed else []),
        mean(title, value("cosine"), 3),
        mean("constant", value("constant_cosine"), 3),
        with_error("gain", value("gain"), value("gain_standard_error"), 3),
    ]


def _table6(rows: Sequence[Filled], scale: str) -> list[Table]:
    first = (
        "Mean cosine over test between a probe's answer and its target; the bag is the mean "
        "embedding of the sentence's words in the run's own embeddings, end mark left out. "
        "*Constant*: the best answer that does not depend on the input, the mean direction of "
        "train. *Gain*: cosine less constant, ± one standard error, paired over test. Means over "
        "seeds (lowest to highest)."
    )
    second = (
        f"The same with the counts of the {COUNTED_WORDS} most frequent words as the bag, which "
        "do not depend on the run."
    )
    found = []
    for bag, printed, caption in (
        ("embeddings", scale == "full", first),
        ("counts", False, second),
    ):
        columns = [column for one in DIRECTIONS for column in _probe_columns(bag, one, printed)]
        found += tables.table(rows, [*columns, *_KL_AND_SEEDS], caption)
    return found


def _fig5(rows: Sequence[Filled], scale: str) -> list[Table]:
    def swapped(i: int, key: str) -> Values:
        return lambda run: getattr(run.swaps[i], key)

    columns = [
        with_error(f"{probability:g}", swapped(i, "mean_cosine"), swapped(i, "standard_error"), 3)
        for i, probability in enumerate(PROBABILITIES)
    ]
    caption = (
        "Cosine between the mean codes of a sentence of test before and after swapping, by the "
        "probability that a pair of neighbours is swapped: mean over sentences ± one standard "
        "error; with several seeds both are means over them. KL: nats a sentence."
    )
    return tables.table(rows, [*columns, *_KL_AND_SEEDS], caption)


def _draw_fig5(rows: Sequence[Filled]) -> Any:
    """Draws a panel for each mode; a band from the lowest to the highest seed."""
    figure, panels = new_figure(2, sharey=True, height=3.6)
    lines: dict[str, Any] = {}
    for axes, mode in zip(panels, (STANDARD, INPUTLESS), strict=True):
        plain, bagged = f"PTB, {mode}", f"PTB, {mode}, {BAG}"
        for one in rows:
            if one.row.group not in (plain, bagged) or not one.runs:
                continue
            bag, colour = one.row.group == bagged, MODEL_COLOURS[one.row.model]
            means = np.array([[s.mean_cosine for s in run.swaps] for run in one.runs])
            errors = np.array([[s.standard_error for s in run.swaps] for run in one.runs])
            axes.fill_between(
                PROBABILITIES, means.min(0), means.max(0), color=colour, alpha=0.2, linewidth=0
            )
            lines[f"{one.row.model}{', ' + BAG if bag else ''}"] = axes.errorbar(
                PROBABILITIES,
                means.mean(0),
                yerr=errors.mean(0),
                color=colour,
                linestyle="--" if bag else "-",
                marker="s" if bag else "o",
                markersize=4,
                capsize=2,
            )
        axes.set(title=plain, xlabel="probability that a pair is swapped")
        axes.set_xlim(-0.05, 1.05)
        if not axes.lines:
            axes.annotate(tables.NOT_RUN, (0.5, 0.5), xycoords="axes fraction", ha="center")
        # Cosines near 1 are written out: an offset above the axis would meet the title.
        axes.ticklabel_format(axis="y", useOffset=False)
    panels[0].set_ylabel("cosine of mean codes")
    if lines:
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    return figure


EXPERIMENTS = (
    Trained("table6", table6_rows, _table6),
    Trained("fig5", fig5_rows, _fig5, _draw_fig5),
)
